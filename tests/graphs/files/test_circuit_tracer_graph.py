"""Graphs as circuit-tracer writes them open as circuits, and say that nothing in them was patched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphs import (
    CircuitGraph,
    ErrorNode,
    FeatureNode,
    MetricNode,
    Position,
    TokenNode,
    circuit_figure,
    load_circuit,
    save_circuit,
)
from graphs.files.neuronpedia_read import read_neuronpedia
from graphs.files.neuronpedia_rules import broken_rules
from graphs.files.neuronpedia_write import write_neuronpedia
from graphs.nodes import short_site
from tests.worlds.traced_graph import AUSTIN, TEXAS, traced


def read(content: dict[str, Any], folder: Path) -> CircuitGraph:
    (folder / "g.json").write_text(json.dumps(content), encoding="utf-8")
    return read_neuronpedia(folder / "g.json").circuit


CITIES, CAPITALS = FeatureNode("blocks.0.mlp", 1, 253), FeatureNode("blocks.2.mlp", 2, 7)
AUSTIN_NODE, TEXAS_NODE = MetricNode(AUSTIN), MetricNode(TEXAS)


def test_layers_are_sites_and_logits_are_metrics(tmp_path: Path) -> None:
    circuit = read(traced(), tmp_path)
    assert [short_site(site) for site in circuit.sites] == ["L0 mlp", "L1 mlp", "L2 mlp"]
    assert circuit.sites == ("blocks.0.mlp", "blocks.1.mlp", "blocks.2.mlp")
    assert circuit.positions[1] == Position("1", "Dallas", "Dallas")
    assert [w.node for w in circuit.nodes] == [
        CITIES,
        CAPITALS,
        ErrorNode("blocks.1.mlp", 2),
        *map(TokenNode, range(3)),
        AUSTIN_NODE,
        TEXAS_NODE,
    ]
    assert [edge.weight for edge in circuit.edges] == [2.0, -6.0, 3.0, 1.0, 4.0, -1.0, -2.0]
    assert circuit.node("blocks.0.mlp/253@1").clean == 5.0
    assert "Dallas" in str(circuit_figure(circuit).to_dict())


def test_the_effect_is_the_share_of_the_logits_input(tmp_path: Path) -> None:
    circuit = read(traced(), tmp_path)
    effects = {w.node: w.effect for w in circuit.nodes}
    assert effects[AUSTIN_NODE] == pytest.approx(0.75)
    assert effects[CAPITALS] == pytest.approx(0.75 * 4 / 5 + 0.25)
    assert effects[CITIES] == pytest.approx(0.75 * 1 / 5 + effects[CAPITALS] * 3 / 4)
    assert effects[TokenNode(0)] == pytest.approx(effects[CITIES] * 6 / 8)
    assert effects[TokenNode(2)] == 0
    sources = [w.effect for w in circuit.nodes if isinstance(w.node, TokenNode | ErrorNode)]
    assert sum(sources) == pytest.approx(1.0) == pytest.approx(circuit.measurement.total_effect)


def test_it_says_that_nothing_was_measured(tmp_path: Path) -> None:
    circuit = read(traced(), tmp_path)
    assert circuit.measurement.evidence.startswith("not measured")
    assert circuit.certificate is None
    assert all(w.verified == 0 for w in circuit.nodes)
    assert circuit.measurement.inputs["scan"] == "gemma-2-2b"


def test_labels_pins_and_supernodes_are_read(tmp_path: Path) -> None:
    content = traced(pinnedIds=["2_7_2", "20_1_1"], supernodes=[["cities", "0_253_1"], ["gone", "20_1_1"]])
    content["qParams"]["clickedId"] = "4_90_2"
    (tmp_path / "g.json").write_text(json.dumps(content), encoding="utf-8")
    graph = read_neuronpedia(tmp_path / "g.json")
    assert graph.labels is not None
    assert [(label.name, label.text) for label in graph.labels] == [("blocks.0.mlp/253", "Texas cities")]
    assert graph.labels.tokens == 0
    assert graph.pinned == ("blocks.2.mlp/7@2",)
    assert graph.supernodes == (("cities", ("blocks.0.mlp/253@1",)),)
    assert graph.clicked == f"metric/{AUSTIN}"


def test_it_can_be_saved_and_written_again(tmp_path: Path) -> None:
    circuit = read(traced(), tmp_path)
    save_circuit(circuit, tmp_path / "c.json")
    assert load_circuit(tmp_path / "c.json") == circuit
    write_neuronpedia(circuit, tmp_path / "again.json", slug="again", scan="gemma-2-2b")
    assert read_neuronpedia(tmp_path / "again.json").circuit == circuit
    written = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert broken_rules(written) == []
    assert [n["clerp"] for n in written["nodes"] if n["feature_type"] == "logit"] == [AUSTIN, TEXAS]


def test_older_names_of_errors_are_read(tmp_path: Path) -> None:
    """They were `0_<layer>_<position>`."""
    content = json.loads(json.dumps(traced()).replace("1_-1_2", "0_1_2"))
    assert ErrorNode("blocks.1.mlp", 2) in {w.node for w in read(content, tmp_path).nodes}


def test_a_name_that_two_nodes_share_is_an_error(tmp_path: Path) -> None:
    content = json.loads(json.dumps(traced()).replace("1_-1_2", "0_253_1"))
    with pytest.raises(ValueError, match=r"g.json: not a graph of Neuronpedia: the node_id '0_253_1' occurs 2 times"):
        read(content, tmp_path)


def test_logits_of_one_label_stay_two(tmp_path: Path) -> None:
    content = traced()
    content["nodes"][-1]["clerp"] = AUSTIN
    circuit = read(content, tmp_path)
    assert [w.node for w in circuit.nodes][-2:] == [AUSTIN_NODE, MetricNode(f"{AUSTIN} [4_91_2]")]


def test_p_is_read_from_the_label_where_the_node_has_none(tmp_path: Path) -> None:
    content = traced()
    for row in content["nodes"][-2:]:
        del row["token_prob"]
    assert read(content, tmp_path) == read(traced(), tmp_path)
    for row in content["nodes"][-2:]:
        row["clerp"] = row["node_id"]
    assert [w.effect for w in read(content, tmp_path).nodes][-2:] == [0.5, 0.5]


def test_graphs_that_are_no_circuit_are_refused(tmp_path: Path) -> None:
    backwards = traced()
    backwards["links"].append({"source": "2_7_2", "target": "0_253_1", "weight": 1.0})
    with pytest.raises(ValueError, match=r"blocks.2.mlp/7@2 -> blocks.0.mlp/253@1 does not go forward"):
        read(backwards, tmp_path)
    aimless = traced()
    aimless["nodes"], aimless["links"] = aimless["nodes"][:-2], aimless["links"][:-3]
    with pytest.raises(ValueError, match="the graph has no logit node: there is nothing that its nodes act on"):
        read(aimless, tmp_path)
    twins = traced()
    twins["nodes"].append(twins["nodes"][2] | {"node_id": "1_-1_2b"})
    with pytest.raises(ValueError, match="'1_-1_2b' and '1_-1_2' are the same node"):
        read(twins, tmp_path)
    (tmp_path / "g.json").write_text("{")
    with pytest.raises(ValueError, match=r"g.json: not valid JSON"):
        read_neuronpedia(tmp_path / "g.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d["qParams"].update(clickedId=["x"]), r"qParams\.clickedId is \['x'\]; expected text"),
        (lambda d: d.update(nodes=[], links=[]), r"nodes is \[\]; expected a list with at least 1 item"),
        (lambda d: d["nodes"][6].update(token_prob=float("nan")), "NaN is no number of JSON"),
        (lambda d: d["nodes"][6].update(token_prob="x"), r"nodes\[6\]\.token_prob is 'x'; expected a number"),
        (lambda d: d["links"][0].update(weight=4e38), "too large for a float of 32 bits"),
        (lambda d: d["links"][0].update(weight=10**400), "more than 38 digits"),
        (lambda d: d["nodes"][0].update(layer="9" * 5000), "a layer is a number or 'E'"),
    ],
)
def test_values_of_another_kind_are_named(change: Callable[[Any], object], match: str, tmp_path: Path) -> None:
    content = traced()
    change(content)
    with pytest.raises(ValueError, match=rf"g\.json: .*{match}"):
        read(content, tmp_path)
