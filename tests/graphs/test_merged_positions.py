"""Without positions: every node once, and what enters a node is still the sum of what entered it."""

from dataclasses import replace

from graphs import Edge, ErrorNode, FeatureNode, TokenNode, merge_positions
from tests.graphs.test_circuit_graph import CIRCUIT, FEATURE, METRIC, MLP, POST, TOKEN, weighted
from tests.graphs.words.test_certificate_words import CERTIFICATE

AGAIN, LATER_TOKEN = FeatureNode(MLP, 1, 7), TokenNode(1)
LARGER = replace(
    CIRCUIT,
    nodes=(
        *CIRCUIT.nodes,
        replace(weighted(AGAIN, 1.0), estimates={"atp": 0.5}, carried=0.25, flags={"missed": 1}),
        weighted(LATER_TOKEN, 0.3),
    ),
    edges=(*CIRCUIT.edges, Edge(TOKEN, AGAIN, 0.25, 0.3), Edge(LATER_TOKEN, AGAIN, -1.0), Edge(AGAIN, METRIC, 2.0)),
    certificate=CERTIFICATE,
)


def test_effects_and_edges_are_added_up_over_positions() -> None:
    merged = merge_positions(LARGER)
    by_node = {w.node: w for w in merged.nodes}
    feature, token, later, error = FeatureNode(MLP, 0, 7), TokenNode(0), FeatureNode(POST, 0, 3), ErrorNode(POST, 0)
    assert set(by_node) == {feature, token, later, error, METRIC}
    assert by_node[feature].effect == -0.25 + 1.0
    assert by_node[feature].count == 4
    assert (by_node[feature].estimates, by_node[feature].carried, by_node[feature].flags) == (
        {"atp": 0.5},
        0.25,
        {"missed": 1},
    )
    assert by_node[token].effect == 0.1 + 0.3
    weights = {(e.source, e.target): e.weight for e in merged.edges}
    assert weights == {
        (token, feature): 0.5 + 0.25 - 1.0,
        (feature, later): -1 / 3,
        (later, METRIC): 0.1,
        (error, METRIC): 2.0,
        (feature, METRIC): 2.0,
    }
    assert merged.certificate is None
    assert [p.label for p in merged.positions] == ["everywhere"]


def test_a_circuit_at_one_position_stays_what_it_is() -> None:
    once = merge_positions(LARGER)
    assert merge_positions(once) == once
    assert FEATURE in {w.node for w in once.nodes}
