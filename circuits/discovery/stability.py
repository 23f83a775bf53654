"""How stable a circuit is: the share of resamples of the pairs whose circuit has each of its nodes and edges.

Pairs are drawn with replacement. Where they come from several templates, whole templates are drawn too, which asks
more: would a node be there if the task had been put in other words? What each resample's circuit has:

    features, errors   those that its own search keeps (`circuits/selection/resampled.py`), or that rank first
    tokens             as for the circuit, by its own mean effect
    edges              both ends are there, and its own mean weight is large enough, or the largest of either end
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from attribution.prompts.prompt_pairs import PromptPairs
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.ranking.aggregate_edges import AveragedFlow
from graphs import CircuitGraph, Edge, ErrorNode, FeatureNode, Node, TokenNode
from graphs.certificate import STABLE, Stability

PAIRS: Final = "pairs"
TEMPLATES: Final = "templates"
DEFAULT_RESAMPLES: Final = 100
TOGETHER: Final = 16
"""Resamples whose edges are held in memory at once."""


@dataclass(frozen=True)
class Resamples:
    """How often each pair is drawn, as a share of all draws, by what is resampled: `pairs` or `templates`."""

    weights: Mapping[str, Float[np.ndarray, "resample pair"]]

    @classmethod
    def of(cls, pairs: PromptPairs, count: int, seed: int = 0) -> "Resamples | None":
        """`count` resamples of the pairs, and of their templates where each pair names one and there are several.

        None without resamples, and for a single pair.
        """
        if count == 0 or len(pairs) < 2:
            return None
        draws = Bootstrap(count, seed=seed)
        weights = {PAIRS: draws.weights(len(pairs))}
        names = [pair.template for pair in pairs]
        different = list(dict.fromkeys(names))
        if None not in different and len(different) > 1:
            member = np.array([[own == name for own in names] for name in different], float)
            times = draws.weights(len(different), stream=1) @ member
            weights[TEMPLATES] = times / times.sum(1, keepdims=True)
        return cls(weights)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return next(iter(self.weights.values())).shape[1]

    @property
    def stacked(self) -> Float[np.ndarray, "resample pair"]:
        """All of them, one kind after the other."""
        return np.concatenate(list(self.weights.values()))

    def rows(self) -> dict[str, slice]:
        """Where the resamples of each kind are in `stacked`."""
        ends = np.cumsum([0, *(len(own) for own in self.weights.values())]).tolist()
        return {kind: slice(a, b) for kind, a, b in zip(self.weights, ends, ends[1:], strict=False)}


@dataclass(frozen=True)
class ResampledNodes:
    """Which of the nodes of a ranking each resample's circuit has."""

    resamples: Resamples
    nodes: Sequence[Node]
    sets: Bool[np.ndarray, "resample node"]

    def rates(self, kind: str = PAIRS) -> Float[np.ndarray, " node"]:
        """The share of the resamples of one kind that have each node."""
        return self.sets[self.resamples.rows()[kind]].mean(0)


def with_tokens(
    found: ResampledNodes, tokens: Sequence[TokenNode], effects: Float[np.ndarray, "pair token"], least: float
) -> ResampledNodes:
    """The same with tokens, which a resample has if its own |mean effect| is at least `least`."""
    has = np.abs(found.resamples.stacked @ effects) >= least
    return replace(found, nodes=[*found.nodes, *tokens], sets=np.concatenate([found.sets, has], axis=1))


def first_of_rankings(
    resamples: Resamples, nodes: Sequence[Node], effects: Float[np.ndarray, "pair node"], count: int
) -> ResampledNodes:
    """The `count` nodes with the largest |mean effect| of every resample."""
    order = np.argsort(-np.abs(resamples.stacked @ effects), axis=1, kind="stable")[:, :count]
    sets = np.zeros((len(order), len(nodes)), bool)
    np.put_along_axis(sets, order, True, 1)
    return ResampledNodes(resamples, nodes, sets)


@dataclass(frozen=True)
class _Rates:
    """The share of resamples that have each node and each edge, by its ends."""

    nodes: Mapping[Node, float]
    edges: Mapping[tuple[Node, Node], float]


_FIELDS: Final = {PAIRS: "inclusion", TEMPLATES: "inclusion_templates"}
"""Where `WeightedNode` and `Edge` hold the rates of each kind of resamples."""


def with_inclusion(
    circuit: CircuitGraph, found: ResampledNodes, flow: AveragedFlow, *, least: float, kept_from: float | None = None
) -> CircuitGraph:
    """The circuit with the inclusion rate of every node and edge, and `Stability` in its certificate.

    Args:
        circuit: certified.
        found: which nodes each resample has.
        flow: all edges between the chosen nodes, before pruning.
        least: an edge with a smaller |mean weight| is kept only where it is the largest of a node.
        kept_from: the rate from which nodes were kept; None where all were.
    """
    assert circuit.certificate is not None
    by_pair = flow.by_pair(found.resamples.pairs)
    rates: dict[str, _Rates] = {}
    stability: list[Stability] = []
    for kind, rows in found.resamples.rows().items():
        sets, drawn = found.sets[rows], found.resamples.weights[kind]
        kept = np.zeros(len(flow.edges))
        for few in np.array_split(np.arange(len(sets)), math.ceil(len(sets) / TOGETHER)):
            kept += edges_kept(flow.edges, found.nodes, sets[few], drawn[few] @ by_pair, least).sum(0)
        ends = [(edge.source, edge.target) for edge in flow.edges]
        rates[kind] = _Rates(
            dict(zip(found.nodes, sets.mean(0).tolist(), strict=True)),
            dict(zip(ends, (kept / len(sets)).tolist(), strict=True)),
        )
        overlap = _overlap(circuit, found.nodes, sets)
        stability.append(_stability(kind, circuit, rates[kind], overlap, len(sets), kept_from))
    fields = {kind: _FIELDS[kind] for kind in rates}
    return replace(
        circuit,
        nodes=tuple(
            replace(w, **{name: rates[kind].nodes.get(w.node) for kind, name in fields.items()}) for w in circuit.nodes
        ),
        edges=tuple(
            replace(e, **{name: rates[kind].edges.get((e.source, e.target)) for kind, name in fields.items()})
            for e in circuit.edges
        ),
        certificate=replace(circuit.certificate, stability=tuple(stability)),
    )


def edges_kept(
    edges: Sequence[Edge],
    nodes: Sequence[Node],
    sets: Bool[np.ndarray, "resample node"],
    weights: Float[np.ndarray, "resample edge"],
    least: float,
) -> Bool[np.ndarray, "resample edge"]:
    """Which edges each resample's circuit has; the metric is in all of them."""
    place = {node: n for n, node in enumerate(nodes)}
    present = np.concatenate([sets, np.ones((len(sets), 1), bool)], axis=1)
    source, target = (
        np.array([place.get(getattr(edge, end), len(nodes)) for edge in edges], int) for end in ("source", "target")
    )
    possible = present[:, source] & present[:, target]
    size = np.where(possible, np.abs(weights), -1.0)
    largest = np.zeros_like(possible)
    for end in (source, target):
        best = np.full(present.shape, -1.0)
        for own, of in zip(size, best, strict=True):
            np.maximum.at(of, end, own)
        largest |= size == best[:, end]
    return possible & ((size >= least) | largest)


def _overlap(circuit: CircuitGraph, nodes: Sequence[Node], sets: Bool[np.ndarray, "resample node"]) -> float:
    """Mean Jaccard index of the circuit's and each resample's features and errors."""
    own = {w.node for w in circuit.nodes}
    counted = np.array([isinstance(node, FeatureNode | ErrorNode) for node in nodes])
    circuit_has = np.array([node in own for node in nodes])[counted]
    both, either = (of(sets[:, counted], circuit_has).sum(1) for of in (np.logical_and, np.logical_or))
    return float((both / np.maximum(either, 1)).mean())


def _stability(
    kind: str, circuit: CircuitGraph, rates: _Rates, overlap: float, resamples: int, kept_from: float | None
) -> Stability:
    nodes = [rates.nodes[w.node] for w in circuit.nodes if w.node in rates.nodes]
    edges = [rates.edges[e.source, e.target] for e in circuit.edges if (e.source, e.target) in rates.edges]
    return Stability(
        over=kind,
        resamples=resamples,
        nodes=len(nodes),
        stable_nodes=sum(rate >= STABLE for rate in nodes),
        edges=len(edges),
        stable_edges=sum(rate >= STABLE for rate in edges),
        mean=float(np.mean(nodes)) if nodes else 0.0,
        overlap=overlap,
        kept_from=kept_from,
    )
