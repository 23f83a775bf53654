"""Generated circuits of a given size with labels, for measuring the page. They are seeded, and shaped like real ones.

Effects and weights are heavy-tailed, with both signs. Nodes crowd at the last positions. Every feature has a label with
five contexts and promoted tokens, made of 100 invented words.
"""

from typing import Final

import numpy as np

from graphs import (
    CircuitGraph,
    Context,
    Edge,
    ErrorNode,
    FeatureLabel,
    FeatureNode,
    Labels,
    Measurement,
    MetricNode,
    Node,
    Position,
    TokenNode,
    WeightedNode,
)

LAYERS: Final = 26
POSITIONS: Final = 20
PARTS: Final = ("attn_out", "mlp_out", "resid_post")
WIDTH: Final = 16_384
_STEMS: Final = ("ar", "bel", "con", "dra", "el", "fin", "gor", "hal", "in", "jun")
_ENDS: Final = ("", "a", "der", "en", "ing", "le", "on", "s", "th", "ton")
_WORDS: Final = tuple(stem + end for stem in _STEMS for end in _ENDS)


def generated_circuit(nodes: int, edges: int, *, parts: int = 3, seed: int = 0) -> tuple[CircuitGraph, Labels]:
    """A circuit with exactly `nodes` nodes and `edges` edges, and labels of all its features.

    Args:
        nodes: number of nodes: 20 tokens, the metric, and features and errors. At least 21.
        edges: number of edges.
        parts: SAEs in every layer, from 1 (resid_post) to 3 (also mlp_out and attn_out).
        seed: seed of the generator.

    Raises:
        ValueError: fewer than 21 nodes, or more edges than there are pairs of nodes that an edge can join.
    """
    if nodes <= POSITIONS:
        raise ValueError(
            f"A generated circuit has {POSITIONS} tokens and the metric among its nodes. Ask for at least "
            f"{POSITIONS + 1} nodes; got {nodes}."
        )
    random = np.random.default_rng(seed)
    sites = tuple(f"blocks.{layer}.hook_{part}" for layer in range(LAYERS) for part in PARTS[-parts:])
    positions = tuple(_position(random, n) for n in range(POSITIONS))
    metric = MetricNode("logit_difference")
    chosen = [*(TokenNode(n) for n in range(POSITIONS)), *_inner(random, sites, nodes - POSITIONS - 1), metric]
    weighted = tuple(_weighted(random, node) for node in chosen)
    measurement = Measurement(
        method="exact_patching",
        metric="logit_difference",
        unit="logits",
        metric_unit="logits",
        sign="positive: the metric rises when the node takes its patch value",
        error_mode="live",
        patch_value="counterfactual",
        examples=100,
        total_effect=-4.31,
        residual_median=None,
        residual_max=None,
        residual_law="none",
    )
    circuit = CircuitGraph(sites, positions, weighted, _edges(random, chosen, sites, edges), measurement)
    return circuit, _labels(random, chosen)


def _position(random: np.random.Generator, n: int) -> Position:
    clean, patch = (" " + _WORDS[i] for i in random.integers(len(_WORDS), size=2))
    return Position(f"p{n}", clean, patch if n % 5 == 2 else clean)


def _inner(random: np.random.Generator, sites: tuple[str, ...], count: int) -> list[Node]:
    """Features, and about one error in twenty nodes. Later positions have more nodes."""
    crowding = np.linspace(1, 4, POSITIONS)
    found: dict[Node, None] = {}
    while len(found) < count:
        site = sites[random.integers(len(sites))]
        position = int(random.choice(POSITIONS, p=crowding / crowding.sum()))
        error = random.random() < 0.05
        found[ErrorNode(site, position) if error else FeatureNode(site, position, int(random.integers(WIDTH)))] = None
    return list(found)


def _weighted(random: np.random.Generator, node: Node) -> WeightedNode:
    effect = 0.0 if isinstance(node, MetricNode) else float(random.standard_t(2) * 0.05)
    inner = isinstance(node, FeatureNode | ErrorNode)
    estimates = {name: effect + float(random.normal() * size) for name, size in (("atp", 0.03), ("ig", 0.02))}
    values = random.gamma(2.0, 1.0, 2)
    return WeightedNode(
        node,
        effect,
        abs(effect) * 1.2,
        abs(effect) * 0.1,
        100,
        float(values[0]) if inner else None,
        float(values[1]) if inner else None,
        verified=100,
        estimates={**estimates, "chord-ig": effect} if inner else {},
    )


def _edges(random: np.random.Generator, nodes: list[Node], sites: tuple[str, ...], count: int) -> tuple[Edge, ...]:
    """Edges that go forward in the pass and not back in the text. Most of them join neighbours in depth.

    Raises:
        ValueError: `count` is larger than the number of pairs of nodes that an edge can join.
    """
    depth_of = {site: 1 + n for n, site in enumerate(sites)}
    depth = np.array([depth_of.get(getattr(node, "site", ""), 0) for node in nodes])
    depth[-1] = len(sites) + 1
    place = np.array([getattr(node, "position", POSITIONS) for node in nodes])
    possible = int(((depth[:, None] < depth) & (place[:, None] <= place)).sum())
    if count > possible:
        raise ValueError(
            f"An edge goes to a later site, at the same or a later position, so these {len(nodes)} nodes can have "
            f"{possible} edges, not {count}. Ask for at most {possible} edges, or for more nodes."
        )
    found: set[tuple[int, int]] = set()
    while len(found) < count:
        source, target = random.integers(len(nodes), size=(2, 50_000))
        near = np.exp(-(depth[target] - depth[source]) / 25)
        fits = (depth[source] < depth[target]) & (place[source] <= place[target]) & (random.random(50_000) < near)
        for pair in zip(source[fits].tolist(), target[fits].tolist(), strict=True):
            if len(found) < count:
                found.add(pair)
    weights = random.standard_t(2, count) * 0.02
    return tuple(
        Edge(nodes[s], nodes[t], float(w), abs(float(w)), abs(float(w)) * 0.1, 100)
        for (s, t), w in zip(sorted(found), weights, strict=True)
    )


def _labels(random: np.random.Generator, nodes: list[Node]) -> Labels:
    features = sorted({(node.site, node.index) for node in nodes if isinstance(node, FeatureNode)})
    return Labels(tuple(_label(random, site, index) for site, index in features), "generated text", 1_000_000)


def _label(random: np.random.Generator, site: str, index: int) -> FeatureLabel:
    words = [_WORDS[i] for i in random.integers(len(_WORDS), size=8)]
    contexts = tuple(_context(random, words[n % 3]) for n in range(5))
    weights = np.sort(random.gamma(2.0, 1.0, 5))[::-1].round(3).tolist()
    promoted = tuple((f" {word}", weight) for word, weight in zip(words[3:], weights, strict=True))
    return FeatureLabel(
        site,
        index,
        f"fires on: {words[0]}, {words[1]}, {words[2]} | promotes: {words[3]}, {words[4]}",
        "contexts",
        contexts,
        promoted,
        tuple((token, -weight) for token, weight in promoted),
        round(float(random.beta(1, 200)), 5),
        round(float(random.gamma(2.0, 1.0)), 3),
    )


def _context(random: np.random.Generator, word: str) -> Context:
    tokens = [f" {_WORDS[i]}" for i in random.integers(len(_WORDS), size=25)]
    tokens[12] = f" {word}"
    return Context(tuple(tokens), 12, round(float(random.gamma(3.0, 2.0)), 2))
