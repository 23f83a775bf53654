"""Pruning ends at a fixed point: what is left lies on paths from a source to the metric."""

from dataclasses import replace

import pytest

from graphs import Edge, ErrorNode, FeatureNode, MetricNode, prune
from tests.graphs.test_circuit_graph import CIRCUIT, ERROR, FEATURE, LATER, METRIC, MLP, POST, TOKEN, weighted

DEAD_END, ORPHAN, CHAIN = FeatureNode(MLP, 0, 1), FeatureNode(MLP, 1, 2), FeatureNode(POST, 1, 9)
SINK = FeatureNode(POST, 0, 4)
LARGER = replace(
    CIRCUIT,
    nodes=(*CIRCUIT.nodes, *map(weighted, (DEAD_END, ORPHAN, CHAIN))),
    edges=(*CIRCUIT.edges, Edge(TOKEN, DEAD_END, 9.0), Edge(ORPHAN, CHAIN, 9.0), Edge(CHAIN, METRIC, 9.0)),
)


def test_nodes_that_lead_nowhere_go_and_what_only_led_to_them() -> None:
    """DEAD_END leads nowhere, and BEFORE only to it; ORPHAN is an entry: nothing enters it, it leads to the metric."""
    before = ErrorNode(MLP, 0)
    nodes = (*LARGER.nodes, weighted(before), weighted(SINK))
    found = prune(replace(LARGER, nodes=nodes, edges=(*LARGER.edges, Edge(before, SINK, 5.0))))
    assert {w.node for w in found.nodes} == {TOKEN, FEATURE, LATER, ERROR, METRIC, ORPHAN, CHAIN}
    assert set(found.edges) == {*CIRCUIT.edges, Edge(ORPHAN, CHAIN, 9.0), Edge(CHAIN, METRIC, 9.0)}
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
    assert all(any(e.source == w.node for e in once.edges) for w in once.nodes if not isinstance(w.node, MetricNode))


def test_the_metric_stays_when_everything_goes() -> None:
    assert [w.node for w in prune(replace(CIRCUIT, edges=())).nodes] == [METRIC]
