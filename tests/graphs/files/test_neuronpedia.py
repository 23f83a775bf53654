"""Neuronpedia's graph files: they keep its rules, mark what a reader marked, and say what their numbers are."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from graphs import CircuitGraph, Context, Edge, FeatureLabel, Labels, MetricNode, WeightedNode
from graphs.files.neuronpedia_read import read_neuronpedia
from graphs.files.neuronpedia_rules import MOST_BYTES, broken_rules
from graphs.files.neuronpedia_write import node_ids, write_neuronpedia
from graphs.strongest_edges import keep_edges
from tests.graphs.files.test_circuit_files import FULL
from tests.graphs.test_circuit_graph import CIRCUIT, ERROR, FEATURE, LATER, METRIC, MLP, TOKEN
from tests.graphs.words.test_certificate_words import CERTIFICATE
from tests.worlds.generated_circuits import HOSTILE, circuits

SCHEMA = Path(__file__).resolve().parents[4] / "shared" / "design" / "neuronpedia_schema.json"
NAME = CIRCUIT.name
LABEL = FeatureLabel(MLP, 7, HOSTILE, "yours", (Context((" a", HOSTILE), 1, 2.0),), ((" is", 1.5),), None, 0.5, 1.0)
OTHER = replace(LABEL, index=8)
LABELS = Labels((LABEL, OTHER), "some text", 100, {"corpus": "abc"})


def document(path: Path, circuit: CircuitGraph = FULL, **options: Any) -> dict[str, Any]:
    options = {"slug": "a-graph", "scan": "a_model.1"} | options
    write_neuronpedia(circuit, path, **options)
    return json.loads(path.read_text(encoding="utf-8"))


def node_of(content: dict[str, Any], node_id: str) -> dict[str, Any]:
    return next(node for node in content["nodes"] if node["node_id"] == node_id)


@settings(max_examples=40, deadline=None)
@given(circuit=circuits())
def test_every_circuit_keeps_the_rules(circuit: CircuitGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = document(tmp_path_factory.mktemp("a") / "g.json", circuit)
    assert broken_rules(content) == []


def test_the_file_is_valid_against_neuronpedias_schema(tmp_path: Path) -> None:
    if not SCHEMA.is_file():
        pytest.skip("Neuronpedia's schema is no part of the project; it is not beside it here.")
    jsonschema = pytest.importorskip("jsonschema", reason="checks a schema; our own rules are always checked")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    content = document(tmp_path / "g.json", labels=LABELS, pinned=[NAME(FEATURE)])
    jsonschema.validate(content, schema)
    content["links"][0]["weight"] = "heavy"
    with pytest.raises(jsonschema.ValidationError, match="'heavy' is not of type 'number'"):
        jsonschema.validate(content, schema)


def test_labels_pins_supernodes_and_the_clicked_node_are_read_back(tmp_path: Path) -> None:
    marks: dict[str, Any] = {
        "pinned": (NAME(FEATURE), NAME(TOKEN)),
        "supernodes": ((HOSTILE, (NAME(FEATURE), NAME(LATER))), ("errors", (NAME(ERROR),))),
        "clicked": NAME(METRIC),
    }
    content = document(tmp_path / "g.json", labels=LABELS, **marks)
    assert content["qParams"]["pinnedIds"] == ["0_7_0", "E_0_0"]
    read = read_neuronpedia(tmp_path / "g.json")
    assert {name: getattr(read, name) for name in marks} == marks
    assert read.labels == replace(LABELS, labels=(LABEL,))
    assert read.circuit == FULL
    document(tmp_path / "bare.json")
    bare = read_neuronpedia(tmp_path / "bare.json")
    assert (bare.labels, bare.pinned, bare.supernodes, bare.clicked) == (None, (), (), None)


@pytest.mark.parametrize(
    "mark", [{"pinned": ["nothing"]}, {"clicked": "nothing"}, {"supernodes": [("a", ["nothing"])]}]
)
def test_marking_a_node_that_is_not_there_is_an_error(mark: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"no node 'nothing' to pin or group. It has, among others: token@noun"):
        document(tmp_path / "g.json", **mark)


def test_every_site_is_a_layer_and_every_kind_a_feature_type(tmp_path: Path) -> None:
    content = document(tmp_path / "g.json", labels=LABELS)
    assert node_ids(FULL) == {TOKEN: "E_0_0", FEATURE: "0_7_0", LATER: "1_3_1", ERROR: "1_-1_1", METRIC: "3_0_1"}
    rows = {node["node_id"]: (node["layer"], node["ctx_idx"], node["feature_type"]) for node in content["nodes"]}
    assert rows == {
        "E_0_0": ("E", 0, "embedding"),
        "0_7_0": ("0", 0, "cross layer transcoder"),
        "1_3_1": ("1", 1, "cross layer transcoder"),
        "1_-1_1": ("1", 1, "mlp reconstruction error"),
        "3_0_1": ("3", 1, "logit"),
    }
    assert node_of(content, "1_3_1")["feature"] == (1 + 3) * (1 + 3 + 1) // 2 + 3
    assert node_of(content, "0_7_0")["clerp"] == f"{HOSTILE} (L0 mlp_out/7)"
    assert node_of(content, "1_3_1")["clerp"] == "L0 resid_post/3"
    assert node_of(content, "E_0_0")["clerp"] == " cat →  dogs"
    assert node_of(content, "1_3_1")["activation"] == 1 / 3
    assert node_of(content, "0_7_0")["jumpwire"]["effect"] == -0.25
    assert content["metadata"]["prompt_tokens"] == [" cat", " sits"]
    assert content["metadata"]["prompt"] == " cat sits"


def test_influence_is_the_cumulative_share_of_effects(tmp_path: Path) -> None:
    content = document(tmp_path / "g.json")
    total = 2 / 3 + 0.25 + 0.1 + 1e-17
    expected = {"1_-1_1": 2 / 3 / total, "0_7_0": (2 / 3 + 0.25) / total, "E_0_0": 1.0, "1_3_1": 1.0, "3_0_1": None}
    assert {n["node_id"]: n["influence"] for n in content["nodes"]} == pytest.approx(expected)
    assert content["metadata"]["node_threshold"] == 1.0
    none = replace(FULL, nodes=tuple(replace(w, effect=0.0) for w in FULL.nodes))
    content = document(tmp_path / "g.json", none)
    assert {n["influence"] for n in content["nodes"]} == {None}
    assert "node_threshold" not in content["metadata"]


OWN = replace(CERTIFICATE.faithfulness[0], split="own")


@pytest.mark.parametrize(
    ("metric", "p", "words"),
    [
        ("logit_difference", 1 / (1 + math.exp(-OWN.m_full)), "the sigmoid of their mean logit difference"),
        ("kl_divergence", 1.0, "not a probability: a weight of 1 makes the metric the only output"),
    ],
)
def test_p_of_the_output_is_a_probability_only_where_one_is_known(
    metric: str, p: float, words: str, tmp_path: Path
) -> None:
    measured = replace(FULL.measurement, metric=metric)
    certificate = replace(CERTIFICATE, faithfulness=(OWN,))
    content = document(tmp_path / "g.json", replace(FULL, measurement=measured, certificate=certificate))
    assert node_of(content, "3_0_1")["clerp"] == f"logit_difference (p={p:.3f})"
    assert node_of(content, "3_0_1")["token_prob"] == round(p, 3)
    assert words in content["metadata"]["info"]["description"]


def test_an_output_that_has_its_p_keeps_it(tmp_path: Path) -> None:
    node = WeightedNode(MetricNode('Output " is" (p=0.412)'), 0.0, 0.0, None, 1, None, None)
    content = document(tmp_path / "g.json", replace(FULL, nodes=(*FULL.nodes, node)))
    assert node_of(content, "3_1_1")["clerp"] == 'Output " is" (p=0.412)'
    assert (node_of(content, "3_1_1")["token_prob"], node_of(content, "3_1_1")["is_target_logit"]) == (0.412, False)


def test_the_description_says_what_columns_and_layers_are(tmp_path: Path) -> None:
    thin, left_out = keep_edges(replace(FULL, edges=(*FULL.edges, Edge(TOKEN, LATER, 0.01))), 1)
    text = document(tmp_path / "g.json", thin)["metadata"]["info"]["description"]
    assert "noun (' cat', patch ' dogs'), verb (' sits', patch ' sits')" in text
    assert f"0 {MLP}, 1 blocks.0.hook_resid_post" in text
    assert "means over 2 examples, in logits; positive: the metric rises" in text
    assert "not verified" in text
    assert left_out.sentence in text


BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no links": (lambda d: d.pop("links"), "links is missing"),
    "no tokens": (lambda d: d["metadata"].pop("prompt_tokens"), "metadata.prompt_tokens is missing"),
    "bad slug": (lambda d: d["metadata"].update(slug="a b"), "slug 'a b' is not made of"),
    "no prompt": (lambda d: d["metadata"].update(prompt=None), "metadata.prompt is not a string"),
    "id twice": (lambda d: d["nodes"].append(d["nodes"][1]), "the node_id '0_7_0' occurs 2 times"),
    "no clerp": (lambda d: d["nodes"][1].pop("clerp"), r"nodes\[1\].clerp is missing"),
    "no number": (
        lambda d: d["nodes"][1].update(influence=math.nan),
        r"influence is nan; expected a finite number",
    ),
    "true is no index": (
        lambda d: d["nodes"][1].update(feature=True),
        r"feature is True; expected a whole number",
    ),
    "layer": (lambda d: d["nodes"][1].update(layer="mlp"), "has layer 'mlp'; a layer is a number or 'E'"),
    "column": (lambda d: d["nodes"][1].update(ctx_idx=2), "has ctx_idx 2; the prompt has 2 tokens"),
    "type": (
        lambda d: d["nodes"][1].update(feature_type="sae"),
        "has feature_type 'sae'; Neuronpedia shows cross layer",
    ),
    "no p": (lambda d: d["nodes"][4].update(clerp="out"), "the clerp 'out' of the logit '3_0_1' lacks its weight"),
    "influence alone": (lambda d: d["metadata"].pop("node_threshold"), "must either both be present or both be absent"),
    "threshold alone": (lambda d: d["nodes"][1].update(influence=None), "'0_7_0': influence and node_threshold"),
    "loose end": (lambda d: d["links"][0].update(target="x"), r"links\[0\] has target 'x', which is not a node"),
    "no weight": (lambda d: d["links"][0].update(weight=None), r"links\[0\].weight is None; expected a number"),
    "pinned nothing": (lambda d: d["qParams"].update(pinnedIds=["x"]), "'x' is pinned or in a supernode"),
    "a pin that is no text": (
        lambda d: d["qParams"].update(pinnedIds=[7]),
        r"qParams.pinnedIds\[0\] is 7; expected text",
    ),
    "supernode without a name": (
        lambda d: d["qParams"].update(supernodes=[[]]),
        r"\[0\] is \[\]; expected a list with at least",
    ),
    "empty supernode": (lambda d: d["qParams"].update(supernodes=[["a"]]), r"the supernode \['a'\] has no nodes"),
}


@pytest.mark.parametrize(("change", "match"), BROKEN.values(), ids=BROKEN)
def test_each_broken_rule_is_found(change: Callable[[Any], Any], match: str, tmp_path: Path) -> None:
    content = document(tmp_path / "g.json")
    change(content)
    assert re.search(match, " ".join(broken_rules(content)))


def test_what_is_no_object_is_no_graph() -> None:
    assert broken_rules([]) == ["the content is []; expected an object."]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = document(tmp_path / "g.json")
    assert broken_rules(content, size=MOST_BYTES) == []
    assert broken_rules(content, size=123_000_000) == ["the file has 123 MB; Neuronpedia accepts at most 100 MB."]
    monkeypatch.setattr("graphs.files.neuronpedia_rules.MOST_BYTES", 1000)
    with pytest.raises(
        ValueError, match=r"Neuronpedia would not take this graph. The file has .* MB; Neuronpedia accepts at most"
    ):
        document(tmp_path / "large.json")
    assert not (tmp_path / "large.json").exists()


def test_a_bad_slug_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"would not take this graph. Slug 'a graph' is not made of A-Z"):
        document(tmp_path / "g.json", slug="a graph")
    assert not (tmp_path / "g.json").exists()


def test_nodes_of_another_tool_in_our_file_are_an_error(tmp_path: Path) -> None:
    content = document(tmp_path / "g.json")
    del content["nodes"][1]["jumpwire"]
    (tmp_path / "g.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"g.json: '0_7_0' was added by another tool: it has no jumpwire key"):
        read_neuronpedia(tmp_path / "g.json")
