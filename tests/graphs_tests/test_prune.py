"""Pruning ends at a fixed point: what is left lies on paths from a source to the metric."""

from dataclasses import replace

import networkx as nx
import pytest
from test_graphs import CIRCUIT, ERROR, FEATURE, LATER, METRIC, MLP, POST, TOKEN, weighted

from graphs import Edge, ErrorNode, FeatureNode, MetricNode, TokenNode, prune

DEAD_END, ORPHAN, CHAIN = FeatureNode(MLP, 0, 1), FeatureNode(MLP, 1, 2), FeatureNode(POST, 1, 9)
LARGER = replace(
    CIRCUIT,
    nodes=(*CIRCUIT.nodes, *map(weighted, (DEAD_END, ORPHAN, CHAIN))),
    edges=(*CIRCUIT.edges, Edge(TOKEN, DEAD_END, 9.0), Edge(ORPHAN, CHAIN, 9.0), Edge(CHAIN, METRIC, 9.0)),
)


def test_nodes_that_reach_no_metric_or_that_nothing_reaches_go() -> None:
    """DEAD_END leads nowhere; ORPHAN is a feature that nothing enters, and with it CHAIN, which only it enters."""
    found = prune(LARGER)
    assert {w.node for w in found.nodes} == {TOKEN, FEATURE, LATER, ERROR, METRIC}
    assert set(found.edges) == set(CIRCUIT.edges)
    assert found.measurement.pruned == 3


def test_weak_edges_go_and_take_no_node_with_them() -> None:
    """Of TOKEN's edges the strongest stays, and the strongest into LATER; ERROR has two ways to the metric."""
    more = (Edge(TOKEN, LATER, 0.01), Edge(TOKEN, METRIC, -0.02))
    found = prune(replace(CIRCUIT, edges=(*CIRCUIT.edges, *more)), least=0.4)
    assert {w.node for w in found.nodes} == {w.node for w in CIRCUIT.nodes}
    assert set(found.edges) == set(CIRCUIT.edges)
    assert found.measurement.pruned == 0


@pytest.mark.parametrize("least", [0.0, 0.2, 0.4])
def test_pruning_again_changes_nothing(least: float) -> None:
    once = prune(LARGER, least=least)
    again = prune(once, least=least)
    assert (again.nodes, again.edges) == (once.nodes, once.edges)
    assert again.measurement.pruned == 0
    graph = nx.DiGraph((e.source, e.target) for e in once.edges)
    for node in graph:
        assert isinstance(node, MetricNode) or graph.out_degree(node) > 0
        assert isinstance(node, TokenNode | ErrorNode) or graph.in_degree(node) > 0


def test_the_metric_stays_when_everything_goes() -> None:
    assert [w.node for w in prune(replace(CIRCUIT, edges=())).nodes] == [METRIC]
