"""Unions and intersections are circuits: certified, ablated, exported and drawn like any other."""

from dataclasses import replace
from pathlib import Path

import pytest

from attribution.prompts.metrics import logit_difference
from attribution.splice.edits import KEEP_ONLY
from circuits.ablation.ablation import ablate
from circuits.ablation.edits import Ablation
from circuits.comparing.combine import intersection_of, union_of
from circuits.discovery.export import export
from circuits.faithfulness.faithfulness import faithfulness_report
from graphs import MetricNode, load_circuit, merge_positions
from tests.circuits.comparing.conftest import Trial
from tests.graphs.page.page_circuits import small_circuit


def test_a_union_has_the_nodes_of_either_and_an_intersection_those_of_both(trial: Trial) -> None:
    names = [{circuit.name(w.node) for w in circuit.nodes} for circuit in trial.circuits]
    union, both = union_of(trial.circuits), intersection_of(trial.circuits)
    assert {union.name(w.node) for w in union.nodes} == names[0] | names[1]
    assert {both.name(w.node) for w in both.nodes} == names[0] & names[1]
    assert len(names[0] & names[1]) < len(names[0] | names[1])
    joined = [{(c.name(e.source), c.name(e.target)) for e in c.edges} for c in trial.circuits]
    assert {(both.name(e.source), both.name(e.target)) for e in both.edges} == joined[0] & joined[1]
    assert union.measurement.inputs["combined"]["how"] == "union"
    assert [own["nodes"] for own in union.measurement.inputs["combined"]["of"]] == [20, 20]
    assert union.measurement.examples == 6


def test_a_certificate_is_measured_and_never_inherited(trial: Trial) -> None:
    assert all(circuit.certificate is not None for circuit in trial.circuits)
    assert union_of(trial.circuits).certificate is None
    union = union_of(
        trial.circuits, spliced=trial.spliced, pairs=trial.found_on[0], splits={"judging": trial.judging[0]}
    )
    assert union.certificate is not None
    judged = union.certificate.faithfulness[0]
    given = trial.spliced, {"judging": trial.judging[0]}, logit_difference
    assert (judged,) == faithfulness_report(*given, union)
    assert judged != faithfulness_report(*given, trial.circuits[0])[0]


def test_a_union_is_ablated_exported_and_drawn_like_any_circuit(trial: Trial, tmp_path: Path) -> None:
    union = union_of(trial.circuits)
    names = [union.name(w.node) for w in union.nodes if w.node.kind in ("feature", "error")]
    given = trial.spliced, trial.judging[0]
    kept = ablate(*given, logit_difference, Ablation.named(names, *given, operation=KEEP_ONLY))
    (report,) = faithfulness_report(trial.spliced, {"own": trial.judging[0]}, logit_difference, union)
    assert kept.after.mean() == pytest.approx(report.m_circuit, abs=1e-4)
    for name in ("union.json", "union.graphml", "union.html", "union.neuronpedia.json", "tables"):
        assert export(union, tmp_path / name).exists()
    assert load_circuit(tmp_path / "union.json") == union


def test_the_union_of_one_circuit_with_itself_is_that_circuit(trial: Trial) -> None:
    own = trial.circuits[0]
    again = union_of([own, own])
    assert [(w.node, w.effect) for w in again.nodes] == [(w.node, pytest.approx(w.effect)) for w in own.nodes]
    assert [(e.source, e.target) for e in again.edges] == [(e.source, e.target) for e in own.edges]
    assert union_of([union_of([own, own]), own]).measurement.examples == 9


def test_circuits_that_are_no_one_circuit_are_refused(trial: Trial) -> None:
    small = small_circuit()

    def found_on(model: str, sae: str) -> dict[str, object]:
        return {"hashes": {"model": model, "saes": {small.sites[0]: sae}}}

    one = small_circuit(inputs=found_on("m", "s"))
    with pytest.raises(ValueError, match=r"different SAEs at blocks\.0\.hook_mlp_out"):
        union_of([one, small_circuit(inputs=found_on("m", "t"))])
    with pytest.raises(ValueError, match="found on different models"):
        union_of([one, small_circuit(inputs=found_on("n", "s"))])
    with pytest.raises(ValueError, match="Some of the circuits have positions and others have none"):
        union_of([small, merge_positions(small)])
    with pytest.raises(ValueError, match="different values of error_mode: frozen, live"):
        union_of([small, small_circuit(error_mode="frozen")])
    with pytest.raises(ValueError, match="different values of from_layer: 1, None"):
        union_of([small, small_circuit(from_layer=1)])
    with pytest.raises(ValueError, match="No circuits"):
        union_of([])
    metric = tuple(w for w in small.nodes if isinstance(w.node, MetricNode))
    with pytest.raises(ValueError, match="their intersection is empty"):
        intersection_of([small, replace(small, nodes=metric, edges=())])
