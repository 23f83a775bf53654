"""Prune a circuit to its fixed point: no edge too weak to show, and no dangling node.

A node dangles where no path of kept edges leads from it to the metric, or none from a source (a token or an error) to
it. What is left lies on paths from a source to the metric, so that nothing dangles again.
"""

from dataclasses import replace

import networkx as nx

from graphs.circuit_graph import CircuitGraph
from graphs.node import ErrorNode, MetricNode, TokenNode


def prune(circuit: CircuitGraph, *, least: float = 0.0) -> CircuitGraph:
    """Drop edges with |weight| < `least`, then dangling nodes with their edges; `measurement.pruned` counts them."""
    edges = [edge for edge in circuit.edges if abs(edge.weight) >= least]
    graph = nx.DiGraph((edge.source, edge.target) for edge in edges)
    graph.add_nodes_from(weighted.node for weighted in circuit.nodes)
    goals = [w.node for w in circuit.nodes if isinstance(w.node, MetricNode)]
    sources = [w.node for w in circuit.nodes if isinstance(w.node, TokenNode | ErrorNode)]
    before = set(goals).union(*(nx.ancestors(graph, goal) for goal in goals))
    after = set(sources).union(*(nx.descendants(graph, source) for source in sources))
    kept = before & after | set(goals)
    return replace(
        circuit,
        nodes=tuple(w for w in circuit.nodes if w.node in kept),
        edges=tuple(e for e in edges if e.source in kept and e.target in kept),
        measurement=replace(circuit.measurement, pruned=len(circuit.nodes) - len(kept)),
    )
