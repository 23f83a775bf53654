"""Prune a circuit: drop dangling nodes, then weak edges that neither of their ends needs.

A node dangles if no path of edges leads from it to the metric. Of the weak edges, the strongest one out of every node
and the strongest one into every node are kept, so that dropping edges leaves no further node dangling. A feature
without incoming edges stays: what it carries comes from outside the circuit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from graphs.circuit_graph import CircuitGraph
from graphs.edges import Edge
from graphs.nodes import MetricNode, Node


def prune(circuit: CircuitGraph, *, least: float = 0.0, keep_dangling: bool = False) -> CircuitGraph:
    """Drop dangling nodes, then edges with |weight| < `least`; `measurement.pruned` counts the dropped nodes.

    `least` is in units of the edges. With `keep_dangling`, only edges are dropped: those that would be, except the
    strongest out of and into every node.
    """
    import networkx as nx

    graph = nx.DiGraph((edge.source, edge.target) for edge in circuit.edges)
    graph.add_nodes_from(weighted.node for weighted in circuit.nodes)
    goals = [w.node for w in circuit.nodes if isinstance(w.node, MetricNode)]
    before = set(goals).union(*(nx.ancestors(graph, goal) for goal in goals))
    kept = before | set(goals)
    edges = [edge for edge in circuit.edges if edge.source in kept and edge.target in kept]
    needed = needed_edges(edges)
    if keep_dangling:
        kept, edges, needed = set(graph), circuit.edges, needed | needed_edges(circuit.edges)
    return replace(
        circuit,
        nodes=tuple(w for w in circuit.nodes if w.node in kept),
        edges=tuple(edge for edge in edges if abs(edge.weight) >= least or (edge.source, edge.target) in needed),
        measurement=replace(circuit.measurement, pruned=len(circuit.nodes) - len(kept)),
    )


def needed_edges(edges: Sequence[Edge]) -> set[tuple[Node, Node]]:
    """The strongest edge out of every node and the strongest into every node."""
    return _strongest(edges, lambda edge: edge.source) | _strongest(edges, lambda edge: edge.target)


def _strongest(edges: Iterable[Edge], end: Callable[[Edge], Node]) -> set[tuple[Node, Node]]:
    """For every node that is this end of an edge, the strongest such edge."""
    found: dict[Node, Edge] = {}
    for edge in edges:
        best = found.get(end(edge))
        if best is None or abs(edge.weight) > abs(best.weight):
            found[end(edge)] = edge
    return {(edge.source, edge.target) for edge in found.values()}
