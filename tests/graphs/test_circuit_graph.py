"""Circuit graphs: checked when made, the same after networkx and after JSON, byte for byte."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.edges import Edge
from graphs.files.circuit_json import load_circuit, save_circuit
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode

MLP, POST = "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post"
TOKEN, FEATURE, LATER = TokenNode(0), FeatureNode(MLP, 0, 7), FeatureNode(POST, 1, 3)
ERROR, METRIC = ErrorNode(POST, 1), MetricNode("logit_difference")


def weighted(node: Node, effect: float = 0.1) -> WeightedNode:
    return WeightedNode(node, effect, abs(effect), None, 2, 1 / 3, None)


MEASUREMENT = Measurement(
    method="attribution_patching",
    metric="logit_difference",
    unit="logits",
    metric_unit="logits",
    sign="positive: the metric rises",
    error_mode="live",
    patch_value="counterfactual",
    examples=2,
    total_effect=-1.7,
    residual_median=None,
    residual_max=None,
    residual_law="none",
    inputs={"seed": 0, "words": ["β", "ε"]},
)
CIRCUIT = CircuitGraph(
    sites=(MLP, POST),
    positions=(Position("noun", " cat", " dogs"), Position("verb", " sits", " sits")),
    nodes=tuple(
        weighted(node, effect)
        for node, effect in ((TOKEN, 0.1), (FEATURE, -0.25), (LATER, 1e-17), (ERROR, 2 / 3), (METRIC, 0.0))
    ),
    edges=(Edge(TOKEN, FEATURE, 0.5), Edge(FEATURE, LATER, -1 / 3), Edge(LATER, METRIC, 0.1), Edge(ERROR, METRIC, 2.0)),
    measurement=MEASUREMENT,
)


def test_networkx_and_back_is_the_same_circuit() -> None:
    graph = CIRCUIT.to_networkx()
    assert isinstance(graph, nx.DiGraph)
    assert set(graph.nodes) == {
        "token@noun",
        f"{MLP}/7@noun",
        f"{POST}/3@verb",
        f"{POST}/error@verb",
        "metric/logit_difference",
    }
    assert graph.edges[f"{MLP}/7@noun", f"{POST}/3@verb"]["weight"] == -1 / 3
    assert graph.nodes[f"{MLP}/7@noun"]["effect"] == -0.25
    assert CircuitGraph.from_networkx(graph) == CIRCUIT


def test_json_and_back_is_the_same_circuit_and_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    save_circuit(CIRCUIT, first)
    loaded = load_circuit(first)
    assert loaded == CIRCUIT
    save_circuit(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def test_the_file_says_its_schema(tmp_path: Path) -> None:
    save_circuit(CIRCUIT, tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["schema_version"]) == ("jumpwire.circuit", 2)
    assert content["measurement"]["evidence"].startswith("not verified")


def damaged(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "c.json"
    save_circuit(CIRCUIT, path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return path


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a circuit file of jumpwire"):
        load_circuit(damaged(tmp_path, schema="other"))
    with pytest.raises(ValueError, match="schema version 1; this version of jumpwire reads 2"):
        load_circuit(damaged(tmp_path, schema_version=1))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="not a circuit file of jumpwire"):
        load_circuit(tmp_path / "list.json")


def test_a_file_with_an_edge_to_nowhere_is_refused(tmp_path: Path) -> None:
    edge = {"source": "token@noun", "target": "nowhere", "weight": 1.0}
    with pytest.raises(ValueError, match="an edge ends in 'nowhere', which is not a node of the file"):
        load_circuit(damaged(tmp_path, edges=[edge]))


def test_a_node_of_unknown_kind_is_refused() -> None:
    graph = CIRCUIT.to_networkx()
    graph.nodes["token@noun"]["kind"] = "neuron"
    with pytest.raises(
        ValueError, match="Node 'token@noun' has kind 'neuron'; expected one of feature, error, token, metric"
    ):
        CircuitGraph.from_networkx(graph)


NODES = CIRCUIT.nodes
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a node twice": ({"nodes": (*NODES, weighted(TOKEN, 0.7))}, "A node occurs twice"),
    "a site not listed": ({"sites": (MLP,)}, "lies at a site that the graph does not list"),
    "a position too large": ({"positions": CIRCUIT.positions[:1]}, "lies at a position that the graph does not have"),
    "a negative position": ({"nodes": (*NODES, weighted(TokenNode(-1)))}, "lies at a position"),
    "an effect that is no number": (
        {"nodes": (weighted(TOKEN, math.nan), *NODES[1:])},
        "effect of token@noun is nan",
    ),
    "an edge to an unknown node": (
        {"edges": (Edge(TOKEN, FeatureNode(MLP, 0, 99), 1.0),)},
        "An edge ends in FeatureNode.*99.*not a node of the graph",
    ),
    "an edge twice": (
        {"edges": (Edge(TOKEN, FEATURE, 1.0), Edge(TOKEN, FEATURE, 2.0))},
        f"The edge token@noun -> {MLP}/7@noun occurs twice",
    ),
    "a weight that is no number": (
        {"edges": (Edge(TOKEN, FEATURE, math.inf),)},
        "weight of token@noun -> .* is inf",
    ),
    "an edge back in the pass": ({"edges": (Edge(LATER, FEATURE, 1.0),)}, "does not go forward in the pass"),
    "an edge within a site": ({"edges": (Edge(LATER, ERROR, 1.0),)}, "does not go forward in the pass"),
    "an edge out of the metric": ({"edges": (Edge(METRIC, FEATURE, 1.0),)}, "does not go forward in the pass"),
    "an edge back in the text": (
        {
            "nodes": (*NODES, weighted(FeatureNode(MLP, 1, 2)), weighted(FeatureNode(POST, 0, 2))),
            "edges": (Edge(FeatureNode(MLP, 1, 2), FeatureNode(POST, 0, 2), 1.0),),
        },
        "goes backward in the text",
    ),
}


@pytest.mark.parametrize(("changes", "match"), WRONG.values(), ids=WRONG)
def test_an_inconsistent_circuit_is_an_error(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(CIRCUIT, **changes)


def test_two_positions_of_one_name_are_an_error() -> None:
    """Names of nodes are made of names of positions: twins would be one node in networkx and in files."""
    same = (Position("noun", " cat", " dogs"), Position("noun", " sits", " sits"))
    nodes = (weighted(TokenNode(0), 0.1), weighted(TokenNode(1), 0.2))
    with pytest.raises(ValueError, match=r"noun"):
        replace(CIRCUIT, positions=same, nodes=nodes, edges=())


def test_two_sites_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match=MLP):
        replace(CIRCUIT, sites=(MLP, POST, MLP))


def test_a_node_is_found_by_its_name() -> None:
    assert CIRCUIT.node(f"{POST}/error@verb").node == ERROR
    with pytest.raises(LookupError, match=r"no node 'token@verb'. It has, among others: token@noun, "):
        CIRCUIT.node("token@verb")


def test_the_strongest_nodes_come_by_size_of_effect_without_the_metric() -> None:
    assert [w.node for w in CIRCUIT.strongest()] == [ERROR, FEATURE, TOKEN, LATER]
    assert [w.node for w in CIRCUIT.strongest(2)] == [ERROR, FEATURE]


def test_a_number_that_json_cannot_hold_is_an_error(tmp_path: Path) -> None:
    broken = replace(CIRCUIT, measurement=replace(MEASUREMENT, total_effect=math.nan))
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        save_circuit(broken, tmp_path / "c.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"effect": 1e39}, r"effect of .* is 1e\+39; expected a finite number that 32 bits hold"),
        ({"clean": float("nan")}, "clean of .* is nan; expected a finite number"),
        ({"estimates": {"atp": float("inf")}}, "estimates of .* is inf; expected a finite number"),
        ({"count": -1}, "count of .* is -1; expected a whole number from 0 to 4,294,967,295"),
        ({"flags": {"missed": 2**40}}, "flags of .* is 1099511627776; expected a whole number"),
    ],
)
def test_a_number_that_no_page_can_hold_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(CIRCUIT, nodes=(replace(CIRCUIT.nodes[0], **change), *CIRCUIT.nodes[1:]))
