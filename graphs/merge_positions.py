"""A circuit without positions: every feature, error and token once, its effects and edges added up over positions.

    effect(feature) = Σ over positions of its mean effect        weight(edge) = Σ over pairs of positions

Joint attributions and edges add up so; exact effects of single nodes need not: patching all positions at once may do
more or less than their sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from graphs.circuit_graph import CircuitGraph, Position, WeightedNode
from graphs.edges import Edge
from graphs.nodes import MetricNode, Node

EVERYWHERE: Final = "all positions"
_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


def merge_positions(circuit: CircuitGraph) -> CircuitGraph:
    """One column for all positions.

    Standard errors are unknown then, and the certificate, which is of nodes at their positions, is left out. `count`
    and `verified` are of examples and positions.
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
    )


def _one_edge(source: Node, target: Node, own: Sequence[Edge]) -> Edge:
    if len(own) == 1:
        return replace(own[0], source=source, target=target)
    return Edge(source, target, sum(e.weight for e in own), _sum([e.mean_absolute for e in own]))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
