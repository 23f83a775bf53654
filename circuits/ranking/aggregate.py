"""Rank nodes by their mean effect over the examples.

    effect(node) = Σ over examples of the node's effect / number of examples

A node has effect 0 in an example in which its clean and its patch value agree, and in one that lacks its position. So
mean effects add up as the effects of single examples do. An effect that rounding decides counts as 0, too, and the node
says in how many examples and what the two means are.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from attribution.effects.effects import Effects
from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import PositionScheme
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.splice.node_keys import KINDS
from circuits.ranking.averages import Averages, group_averages, group_sums
from circuits.ranking.positions import Alignment, align_positions
from graphs import ErrorNode, FeatureNode, Node, Position, TokenNode, WeightedNode


@dataclass(frozen=True)
class Ranking:
    """All nodes of one measurement, averaged over its examples, the largest |effect| first.

    `undecided` are nodes whose effect rounding decides in every example in which they change: they have no rank.

    A node's position is an index into `positions`, as in a `CircuitGraph`; `positions_vary` says whether these stand in
    another order in some prompts.
    """

    method: str
    sites: tuple[str, ...]
    positions: tuple[Position, ...]
    nodes: tuple[WeightedNode, ...]
    positions_vary: bool = False
    undecided: tuple[WeightedNode, ...] = ()

    def __repr__(self) -> str:
        places = f"{len(self.sites)} sites and {len(self.positions)} positions"
        return f"Ranking({self.method}: {len(self.nodes):,} nodes at {places})"

    def top(self, count: int) -> "Ranking":
        """The ranking of its first `count` nodes."""
        return replace(self, nodes=self.nodes[:count])

    def only(self, nodes: Container[Node]) -> "Ranking":
        """The ranking of the given nodes, in the same order."""
        return replace(self, nodes=tuple(w for w in self.nodes if w.node in nodes))


def rank_nodes(
    effects: Effects,
    pairs: PromptPairs,
    model: LanguageModel,
    exact: np.ndarray | None = None,
    *,
    scheme: PositionScheme | None = None,
) -> Ranking:
    """Average effects over their pairs, positions aligned by name, and sort by |mean effect|, the largest first.

    Without positions, a node's effect in an example is the sum over the positions where it changes.

    Args:
        effects: of any method, one for each example and node.
        pairs, model: what the effects were measured on.
        exact: marks the effects that exact patching measured. By default all of them if that is the method, else none.
        scheme: which positions share a column; by default roles where all pairs have them, else distances.

    Raises:
        ValueError: there are no effects: no node differs between the clean and the patch run.

    >>> ranking = rank_nodes(exact_patching(spliced, pairs, logit_difference), pairs, model)
    >>> abs(ranking.nodes[0].effect) >= abs(ranking.nodes[1].effect), len(ranking.top(10).nodes)
    (True, 10)
    """
    refuse_other_types(pairs)
    if len(effects) == 0:
        raise ValueError("No node differs between clean and patch run: there is no circuit to find.")
    if exact is None:
        exact = np.full(len(effects), effects.method == "exact_patching")
    alignment = align_positions(pairs, model, scheme)
    nodes = sorted(_nodes(effects, alignment, exact), key=lambda w: -abs(w.effect))
    ranked, undecided = (tuple(w for w in nodes if (w.undecided < w.count) == own) for own in (True, False))
    return Ranking(effects.method, effects.sites[1:], alignment.positions, ranked, alignment.vary, undecided)


def effects_by_pair(
    effects: Effects,
    pairs: PromptPairs,
    model: LanguageModel,
    nodes: Sequence[Node],
    scheme: PositionScheme | None = None,
) -> Float[np.ndarray, "pair node"]:
    """The effect of each of these nodes in every pair, as `rank_nodes` averages them; 0 where none is decided."""
    alignment = align_positions(pairs, model, scheme)
    column = alignment.columns_of(effects.example, effects.position)
    place = {node: n for n, node in enumerate(nodes)}
    different, group = np.unique(
        np.stack([effects.site, effects.kind, column, effects.index]), axis=1, return_inverse=True
    )
    named = (node_at(effects.sites[site], KINDS[kind], *rest) for site, kind, *rest in different.T.tolist())
    number = np.array([place.get(node, -1) for node in named])[group.reshape(-1)]
    found = np.zeros((len(pairs), len(nodes)))
    wanted = number >= 0
    np.add.at(found, (effects.example[wanted], number[wanted]), np.where(effects.undecided, 0, effects.effect)[wanted])
    return found


def _nodes(effects: Effects, alignment: Alignment, exact: np.ndarray) -> list[WeightedNode]:
    column = alignment.columns_of(effects.example, effects.position)
    keys = np.stack([effects.example, effects.site, effects.kind, column, effects.index])
    own, place = np.unique(keys, axis=1, return_inverse=True)
    place, count = place.reshape(-1), own.shape[1]
    size = np.bincount(place, minlength=count)
    undecided = group_sums(place, effects.undecided, count) > 0
    effect = np.where(undecided, 0, group_sums(place, effects.effect, count))
    clean, patch = (group_sums(place, values, count) / size for values in (effects.clean, effects.patch))
    nodes, group = np.unique(own[1:], axis=1, return_inverse=True)
    group, groups = group.reshape(-1), nodes.shape[1]
    found = group_averages(group, effect, groups, len(alignment.columns))
    ends = [group_sums(group, values, groups) / found.count for values in (clean, patch)]
    verified = group_sums(group, group_sums(place, exact, count) == size, groups)
    named = [node_at(effects.sites[site], KINDS[kind], *rest) for site, kind, *rest in nodes.T.tolist()]
    weighted = [weighted_node(node, n, found, ends, int(verified[n])) for n, node in enumerate(named)]
    if not undecided.any():
        return weighted
    number = group_sums(group, undecided, groups)
    both = [
        group_averages(group, group_sums(place, values, count), groups, len(alignment.columns)).mean
        for values in (effects.effect, effects.open_effect)
    ]
    return [
        replace(w, undecided=int(number[n]), closed_effect=float(both[0][n]), open_effect=float(both[1][n]))
        if number[n]
        else w
        for n, w in enumerate(weighted)
    ]


def weighted_node(
    node: Node, n: int, found: Averages, ends: Sequence[np.ndarray] | None, verified: int
) -> WeightedNode:
    """The node with the n-th averages. `ends` are the mean clean and patch values; a token has neither."""
    clean, patch = (None, None) if ends is None or isinstance(node, TokenNode) else (float(end[n]) for end in ends)
    return WeightedNode(
        node=node,
        effect=float(found.mean[n]),
        mean_absolute=float(found.mean_absolute[n]),
        standard_error=found.error(n),
        count=int(found.count[n]),
        clean=clean,
        patch=patch,
        verified=verified,
    )


def node_at(site: str, kind: str, position: int, index: int) -> Node:
    """The node of a graph with these columns; `index` is used for features only."""
    if kind == "token":
        return TokenNode(position)
    return ErrorNode(site, position) if kind == "error" else FeatureNode(site, position, index)
