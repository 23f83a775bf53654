"""Positions of different prompts, by name: which of them belong together, and where a circuit's nodes are in a prompt.

A position's name is its role where the task gives roles. Otherwise it is the distance from the end of the prompt, where
the metric is read; so prompts of any length share names. A node of a circuit is in every prompt that has a position of
that name, and in no other prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS, node_keys
from attribution.splice.spliced_model import TOKENS
from graphs import FeatureNode, MetricNode, Node, Position, TokenNode


@dataclass(frozen=True)
class Alignment:
    """`columns[example][position]` is the index in `positions` of that position's name."""

    positions: tuple[Position, ...]
    columns: tuple[tuple[int, ...], ...]

    def columns_of(self, example: np.ndarray, position: np.ndarray) -> np.ndarray:
        """The index in `positions` of each given position of an example."""
        starts = np.concatenate([[0], np.cumsum([len(own) for own in self.columns])[:-1]])
        return np.concatenate([np.array(own) for own in self.columns])[starts[example] + position]


def align_positions(pairs: PromptPairs, model: LanguageModel) -> Alignment:
    """One column for each name of a position, in the order of the text."""
    names = position_names(pairs)
    order = order_of_names(names)
    place = {name: column for column, name in enumerate(order)}
    tokens: dict[str, tuple[int, int]] = {}
    for pair, own in zip(pairs, names, strict=True):
        for name, clean, patch in zip(own, pair.clean_ids, pair.patch_ids, strict=True):
            tokens.setdefault(name, (clean, patch))
    return Alignment(
        tuple(Position(name, *(model.token_text(t) for t in tokens[name])) for name in order),
        tuple(tuple(place[name] for name in own) for own in names),
    )


def order_of_names(names: Sequence[tuple[str, ...]]) -> list[str]:
    """All names in an order that agrees with every prompt; if there is none, by mean distance from the end."""
    distances: dict[str, list[int]] = {}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for own in names:
        nx.add_path(graph, own)
        for position, name in enumerate(own):
            distances.setdefault(name, []).append(position - len(own))
    mean = {name: sum(d) / len(d) for name, d in distances.items()}
    if nx.is_directed_acyclic_graph(graph):
        return list(nx.lexicographical_topological_sort(graph, key=mean.__getitem__))
    return sorted(mean, key=lambda name: (mean[name], name))


def member_keys(
    nodes: Iterable[Node], positions: Sequence[Position], pairs: PromptPairs, sites: Sequence[str]
) -> np.ndarray:
    """The keys (as in `Effects.keys`, sorted) of a circuit's nodes in every pair that has their positions.

    Args:
        nodes: of a circuit or a ranking; the metric is ignored.
        positions: of the circuit; the nodes' positions are indices into it.
        pairs: any prompts.
        sites: the spliced sites, in the order of the forward pass.

    Raises:
        LookupError: a node at a site that is not spliced.
    """
    places = {name: n for n, name in enumerate((TOKENS, *sites))}
    at: dict[str, list[tuple[int, int, int]]] = {}
    for node in nodes:
        if isinstance(node, MetricNode):
            continue
        site = TOKENS if isinstance(node, TokenNode) else node.site
        if site not in places:
            raise LookupError(f"No SAE is spliced in at {site!r}. Spliced sites: {', '.join(sites)}.")
        column = places[site], KINDS.index(node.kind), node.index if isinstance(node, FeatureNode) else -1
        at.setdefault(positions[node.position].label, []).append(column)
    standing = _standing(pairs)
    parts = [_everywhere(np.array(own), *standing[label]) for label, own in at.items() if label in standing]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _everywhere(nodes: np.ndarray, example: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The keys of every node (site, kind, index) at each of these examples and positions."""
    site, kind, index = (np.repeat(column, len(example)) for column in nodes.T)
    example, position = (np.tile(places, len(nodes)) for places in (example, position))
    return node_keys(example, position, index, site=site, kind=kind)


def _standing(pairs: PromptPairs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each name of a position, the examples and positions that have it."""
    found: dict[str, list[tuple[int, int]]] = {}
    for example, names in enumerate(position_names(pairs)):
        for position, name in enumerate(names):
            found.setdefault(name, []).append((example, position))
    return {name: (np.array(places)[:, 0], np.array(places)[:, 1]) for name, places in found.items()}
