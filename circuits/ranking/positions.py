"""Positions of different prompts, by name: which of them belong together, and where a circuit's nodes are in a prompt.

A scheme (`attribution/prompts/position_names.py`) says what positions share a column: those with one role, those at one
distance from the end, or all of them. A node of a circuit stands in a prompt wherever its column's name is, whatever
scheme the prompts are measured with: a circuit of roles is in prompts with these roles, one of distances in prompts
that are long enough, one without positions in all.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import PositionScheme, column_names, places_by_label
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS, columns_of_keys, node_keys
from attribution.splice.spliced_model import TOKENS
from graphs import FeatureNode, MetricNode, Node, Position, TokenNode
from graphs.nodes import EVERYWHERE, VARIOUS


@dataclass(frozen=True)
class Alignment:
    """`columns[example][position]` is the index in `positions` of that position's name.

    `vary` says whether the positions stand in another order in some prompts.
    """

    positions: tuple[Position, ...]
    columns: tuple[tuple[int, ...], ...]
    vary: bool = False

    def columns_of(self, example: np.ndarray, position: np.ndarray) -> np.ndarray:
        """The index in `positions` of each given position of an example."""
        starts = np.concatenate([[0], np.cumsum([len(own) for own in self.columns])[:-1]])
        return np.concatenate([np.array(own) for own in self.columns])[starts[example] + position]


def align_positions(pairs: PromptPairs, model: LanguageModel, scheme: PositionScheme | None = None) -> Alignment:
    """One column for each name of a position, in the order of the text."""
    names = column_names(pairs, scheme)
    order = [EVERYWHERE] if scheme == "none" else order_of_names(names)
    place = {name: column for column, name in enumerate(order)}
    tokens: dict[str, tuple[Counter[str], Counter[str]]] = {name: (Counter(), Counter()) for name in order}
    for pair, own in zip(pairs, names, strict=True):
        texts = model.shown_tokens(pair.clean_ids), model.shown_tokens(pair.patch_ids)
        for name, clean, patch in zip(own, *texts, strict=True):
            tokens[name][0][clean] += 1
            tokens[name][1][patch] += 1
    return Alignment(
        tuple(Position(name, *(token_in_words(seen) for seen in tokens[name])) for name in order),
        tuple(tuple(place[name] for name in own) for own in names),
        scheme != "none" and any(place[a] > place[b] for own in names for a, b in pairwise(own)),
    )


def token_in_words(seen: Counter[str]) -> str:
    """The text of the only token seen; else the commonest with its share, or `various` where none makes up half."""
    (token, count), *_ = seen.most_common(1)
    share = count / seen.total()
    if share == 1:
        return token
    return f"{token} ({share:.0%})" if share >= 0.5 else VARIOUS


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
    nodes: Iterable[Node],
    positions: Sequence[Position],
    pairs: PromptPairs,
    sites: Sequence[str],
    unspliced: int | None = None,
) -> np.ndarray:
    """The keys (as in `Effects.keys`, sorted) of a circuit's nodes in every pair that has their positions.

    Features and errors stand at spliced positions only.

    Args:
        nodes: of a circuit or a ranking; the metric is ignored.
        positions: of the circuit; the nodes' positions are indices into it.
        pairs: any prompts.
        sites: the spliced sites, in the order of the forward pass.
        unspliced: the token that is not spliced where a prompt opens with it (`SplicedModel.unspliced_bos`).

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
    standing = places_by_label(pairs)
    parts = [_everywhere(np.array(own), *standing[label]) for label, own in at.items() if label in standing]
    keys = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    opening = np.flatnonzero([pair.clean_ids[0] == unspliced for pair in pairs])
    columns = columns_of_keys(keys)
    outside = np.isin(columns["example"], opening) & (columns["position"] == 0) & (columns["site"] > 0)
    return keys[~outside]


def _everywhere(nodes: np.ndarray, example: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The keys of every node (site, kind, index) at each of these examples and positions."""
    site, kind, index = (np.repeat(column, len(example)) for column in nodes.T)
    example, position = (np.tile(places, len(nodes)) for places in (example, position))
    return node_keys(example, position, index, site=site, kind=kind)
