"""Merge the positions of a circuit: every feature and error once, with effects and edges summed over positions.

    effect(feature) = Σ over positions of its mean effect        weight(edge) = Σ over pairs of positions

The sum is exact for joint attributions and for edges. Exact effects of single nodes need not add up: patching all
positions at once may have more or less effect than their sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from graphs.circuit_graph import CircuitGraph, Position, WeightedNode
from graphs.edges import Edge
from graphs.nodes import EVERYWHERE, MetricNode, Node

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


def merge_positions(circuit: CircuitGraph) -> CircuitGraph:
    """The circuit with one column for all positions.

    A merged node or edge has no standard error, and its `count` and `verified` count examples and positions. The
    certificate is dropped, since it is about nodes at their positions.
    """
    nodes = _grouped((_merged_node(w.node), w) for w in circuit.nodes)
    edges = _grouped(((_merged_node(e.source), _merged_node(e.target)), e) for e in circuit.edges)
    return replace(
        circuit,
        positions=(Position(EVERYWHERE, "", ""),),
        nodes=tuple(_one_node(node, own) for node, own in nodes.items()),
        edges=tuple(_one_edge(source, target, own) for (source, target), own in edges.items()),
        certificate=None,
    )


def _merged_node(node: Node) -> Node:
    return node if isinstance(node, MetricNode) else replace(node, position=0)


def _grouped(items: Iterable[tuple[_Key, _Item]]) -> dict[_Key, list[_Item]]:
    found: dict[_Key, list[_Item]] = {}
    for key, item in items:
        found.setdefault(key, []).append(item)
    return found


def _one_node(node: Node, own: Sequence[WeightedNode]) -> WeightedNode:
    if len(own) == 1:
        return replace(own[0], node=node)
    names = dict.fromkeys(name for w in own for name in w.estimates)
    flags = dict.fromkeys(flag for w in own for flag in w.flags)
    return WeightedNode(
        node=node,
        effect=sum(w.effect for w in own),
        mean_absolute=sum(w.mean_absolute for w in own),
        standard_error=None,
        count=sum(w.count for w in own),
        clean=None,
        patch=None,
        verified=sum(w.verified for w in own),
        estimates={name: sum(w.estimates.get(name, 0.0) for w in own) for name in names},
        carried=_sum([w.carried for w in own]),
        undivided=_sum([w.undivided for w in own]),
        flags={flag: sum(w.flags.get(flag, 0) for w in own) for flag in flags},
        **_undecided(own),
    )


def _undecided(own: Sequence[WeightedNode]) -> dict[str, Any]:
    """In how many examples and positions the effect is undecided, and its two values; nothing where none is."""
    count = sum(w.undecided for w in own)
    if not count:
        return {}
    closed, opened = (sum(values) for values in zip(*(w.both_effects for w in own), strict=True))
    return {"undecided": count, "closed_effect": closed, "open_effect": opened}


def _one_edge(source: Node, target: Node, own: Sequence[Edge]) -> Edge:
    if len(own) == 1:
        return replace(own[0], source=source, target=target)
    return Edge(source, target, sum(e.weight for e in own), _sum([e.mean_absolute for e in own]))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
