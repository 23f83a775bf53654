"""The strongest edges stay, no node loses its way to the metric, and what is left out is told."""

from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import CircuitGraph, Edge, certificate_lines, load_circuit, prune, save_circuit
from graphs.strongest_edges import keep_edges, left_out_of
from tests.graphs.test_circuit_graph import CIRCUIT, ERROR, FEATURE, LATER, METRIC, TOKEN
from tests.graphs.words.test_certificate_words import CERTIFICATE
from tests.worlds.generated_circuits import circuits

WEAK = (Edge(TOKEN, LATER, 0.25), Edge(FEATURE, METRIC, -0.125), Edge(TOKEN, METRIC, 0.0625))
WHOLE = replace(
    CIRCUIT,
    edges=(*CIRCUIT.edges, *WEAK),
    measurement=replace(CIRCUIT.measurement, total_effect=4.0),
    certificate=replace(CERTIFICATE, flow_shown=0.5),
)
ALL_WEIGHT = 0.5 + 1 / 3 + 0.1 + 2.0 + 0.25 + 0.125 + 0.0625
FLOW = 0.1 + 2.0 - 0.125 + 0.0625


def test_the_strongest_stay_and_the_rest_is_told() -> None:
    thin, left_out = keep_edges(WHOLE, 5)
    assert [(e.source, e.target) for e in thin.edges] == [(e.source, e.target) for e in (*CIRCUIT.edges, WEAK[0])]
    assert thin.nodes == WHOLE.nodes
    assert (left_out.edges, left_out.all_edges) == (2, 7)
    assert left_out.weight_share == pytest.approx((0.125 + 0.0625) / ALL_WEIGHT)
    assert left_out.flow_share == pytest.approx((-0.125 + 0.0625) / FLOW)
    assert left_out.sentence == (
        "5 of 7 edges are kept, including the strongest of every node; the 2 left out carry 5.6% of Σ|weight| and "
        "-3.1% of the flow into the metric (-0.0625 of 2.04)."
    )


def test_the_certificate_says_the_flow_of_the_edges_that_are_shown() -> None:
    thin, _ = keep_edges(WHOLE, 5)
    assert thin.certificate is not None
    assert thin.certificate.flow_shown == pytest.approx((0.1 + 2.0) / 4.0)
    assert replace(thin.certificate, flow_shown=0.5) == WHOLE.certificate


def test_what_was_left_out_is_stored_and_adds_up(tmp_path: Path) -> None:
    thin, left_out = keep_edges(keep_edges(WHOLE, 6)[0], 4)
    assert (thin, left_out) == keep_edges(WHOLE, 4)
    save_circuit(thin, tmp_path / "c.json")
    assert left_out_of(load_circuit(tmp_path / "c.json")) == left_out
    assert left_out_of(WHOLE) is None


def test_the_certificate_has_a_line_for_it() -> None:
    thin, left_out = keep_edges(WHOLE, 5)
    for circuit in (thin, replace(thin, certificate=None)):
        found = [line for line in certificate_lines(circuit) if line.name == "edges left out"]
        assert [(line.value, line.reading) for line in found] == [("5.6% of Σ|weight|", left_out.sentence)]
    assert "edges left out" not in {line.name for line in certificate_lines(WHOLE)}
    assert certificate_lines(replace(WHOLE, certificate=None)) == ()


def test_enough_edges_leave_the_circuit_as_it_is() -> None:
    same, left_out = keep_edges(WHOLE, 7)
    assert same == WHOLE
    assert left_out.sentence == "All 7 edges are kept."


def test_fewer_than_every_node_needs_are_not_kept() -> None:
    assert len(keep_edges(WHOLE, 1)[0].edges) == 4
    assert ERROR in {edge.source for edge in keep_edges(WHOLE, 1)[0].edges}
    with pytest.raises(ValueError, match="A circuit keeps at least 1 edge; got 0"):
        keep_edges(WHOLE, 0)


@given(circuit=circuits(), count=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_every_node_that_leads_to_the_metric_still_does(circuit: CircuitGraph, count: int) -> None:
    whole = prune(circuit)
    thin, left_out = keep_edges(whole, count)
    assert _leading(thin) == _leading(whole) == {whole.name(w.node) for w in whole.nodes} - {f"metric/{METRIC.name}"}
    assert left_out.edges == len(whole.edges) - len(thin.edges)
    assert len(thin.edges) >= min(count, len(whole.edges))


def _leading(circuit: CircuitGraph) -> set[str]:
    """Nodes from which a path of edges leads to the metric."""
    return set(nx.ancestors(circuit.to_networkx(), f"metric/{METRIC.name}"))
