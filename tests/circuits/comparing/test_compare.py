"""Two circuits held against each other: the sets, the effects, and F of each on each task."""

from dataclasses import replace

import pytest
import torch

from attribution.prompts.metrics import logit_difference
from attribution.splice.spliced_model import SplicedModel
from circuits.comparing.compare import compare
from circuits.comparing.side import Side
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.faithfulness.faithfulness import faithfulness_report
from graphs import CircuitGraph, ErrorNode, Node, merge_positions
from tests.circuits.comparing.conftest import Trial, circuit_of
from tests.graphs.page.page_circuits import ALONE, LATER, MIDDLE, NOUN, POSITIONS, small_circuit


def with_effects(circuit: CircuitGraph, **effects: float) -> CircuitGraph:
    """The small circuit with other effects of the nodes that are named, and without those that are 0."""
    named: dict[str, Node] = {"noun": NOUN, "middle": MIDDLE, "later": LATER, "alone": ALONE}
    changed = {named[name]: effect for name, effect in effects.items()}
    nodes = tuple(replace(w, effect=changed.get(w.node, w.effect)) for w in circuit.nodes)
    gone = {node for node, effect in changed.items() if effect == 0}
    return replace(
        circuit,
        nodes=tuple(w for w in nodes if w.node not in gone),
        edges=tuple(e for e in circuit.edges if not {e.source, e.target} & gone),
    )


def test_numbers_are_what_the_formulas_give_by_hand() -> None:
    # A: NOUN .8, MIDDLE −.6, LATER .4, ALONE .3, an error −.1; B lacks ALONE and turns MIDDLE
    b = with_effects(small_circuit(), noun=0.4, middle=0.2, later=0.3, alone=0.0)
    found = compare(small_circuit(), b)
    assert (found.node_overlap.shared, found.node_overlap.only_a, found.node_overlap.only_b) == (4, 1, 0)
    assert found.node_overlap.jaccard == 4 / 5
    a_shares, b_shares = [x / 2.2 for x in (0.8, 0.6, 0.4, 0.3, 0.1)], [x / 1.0 for x in (0.4, 0.2, 0.3, 0.0, 0.1)]
    ruzicka = sum(map(min, a_shares, b_shares)) / sum(map(max, a_shares, b_shares))
    assert found.node_overlap.weighted_jaccard == pytest.approx(ruzicka)
    # ranks of A: NOUN 4, MIDDLE 1, LATER 3, error 2; of B: NOUN 4, MIDDLE 2, LATER 3, error 1
    assert found.spearman == pytest.approx(1 - 6 * (0 + 1 + 0 + 1) / (4 * (16 - 1)))
    assert found.same_sign == 3 / 4
    assert (found.edge_overlap.shared, found.edge_overlap.only_a) == (6, 1)
    assert [n.b is None for n in found.nodes] == [False] * 4 + [True]
    assert found.nodes[0].a == small_circuit().name(NOUN)
    assert set(found.missing) == {f"F of {c} on the task of {t}" for c in "AB" for t in "AB"}


def test_a_circuit_without_positions_is_compared_without_them() -> None:
    small = small_circuit()
    for found in (compare(small, merge_positions(small)), compare(merge_positions(small), small)):
        assert found.node_overlap.jaccard == 1.0
        assert "those of" in found.notes[0]
        assert "were merged" in found.notes[0]
    assert sorted(compare(small, merge_positions(small)).merged) == [False, True]
    renamed = small_circuit(tuple(replace(p, label=f"other {p.label}") for p in POSITIONS))
    apart = compare(small, renamed)
    assert (apart.merged, apart.node_overlap.jaccard) == ((True, True), 1.0)
    assert apart.notes[0].startswith("The circuits have no name of a position in common")


def test_positions_that_only_some_share_are_matched_by_name() -> None:
    renamed = small_circuit((POSITIONS[0], replace(POSITIONS[1], label="adverb")))
    found = compare(small_circuit(), renamed)
    assert [n.a for n in found.nodes if n.a is not None and n.b is not None] == ["blocks.0.hook_mlp_out/7@noun"]
    assert found.edge_overlap.shared == 1


@pytest.mark.parametrize(("name", "value"), [("unit", "nats"), ("metric", "log_probability"), ("patch_value", "zero")])
def test_effects_of_other_kinds_are_not_compared_but_sets_are(name: str, value: str) -> None:
    found = compare(small_circuit(), small_circuit(POSITIONS, **{name: value}))
    assert (found.spearman, found.same_sign, found.node_overlap.weighted_jaccard) == (None, None, None)
    assert found.node_overlap.jaccard == 1.0
    assert f"{name.replace('_', ' ')} " in found.notes[-1]
    assert found.notes[-1].startswith("Effects are not compared, only sets")


def test_a_lower_boundary_is_named() -> None:
    found = compare(small_circuit(), small_circuit(from_layer=1))
    assert found.notes[-1] == "B was found and is judged with everything below layer 1 as it is."


def test_circuits_that_cannot_be_compared_are_refused() -> None:
    small = small_circuit()
    elsewhere = replace(small, sites=("blocks.7.hook_z",), nodes=small.nodes[:1], edges=())
    with pytest.raises(ValueError, match="has no feature and no error"):
        compare(small, elsewhere)
    error = replace(small.nodes[-2], node=ErrorNode("blocks.7.hook_z", 0))
    with pytest.raises(ValueError, match=r"no site in common: A has .*; B has blocks\.7\.hook_z"):
        compare(small, replace(elsewhere, nodes=(error,)))
    one, two = (small_circuit(inputs={"hashes": {"saes": {s: f"{n}{s}" for s in small.sites}}}) for n in (1, 2))
    with pytest.raises(ValueError, match=r"A and B have different SAEs at blocks\.0\.hook_mlp_out"):
        compare(one, two)


def test_f_on_the_others_task_is_that_of_a_faithfulness_report(trial: Trial) -> None:
    found = compare(*trial.sides())
    assert [(f.circuit, f.model, f.task) for f in found.faithfulness] == [
        ("a", "a", "a"),
        ("b", "b", "a"),
        ("a", "a", "b"),
        ("b", "b", "b"),
    ]
    for got in found.faithfulness:
        circuit, task = trial.circuits["ab".index(got.circuit)], "ab".index(got.task)
        split = {("one", "two")[task]: trial.judging[task]}
        assert (got.measured,) == faithfulness_report(trial.spliced, split, logit_difference, circuit)
    assert found.missing == {}


def test_pairs_that_have_found_the_other_circuit_are_counted(trial: Trial) -> None:
    one, two = trial.sides()
    found = compare(one, replace(two, found_on=trial.judging[0]))
    assert "3 of 3 pairs that judge one have found two." in found.notes
    assert compare(one, replace(two, judging=two.found_on)).notes[-1].startswith("No other pairs judge two")


def test_features_of_other_saes_are_compared_by_their_match(trial: Trial) -> None:
    relu = SplicedModel(trial.spliced.model, embedded_saes("relu"))
    pairs = trial.found_on[0]
    other = Side(circuit_of(relu, pairs), relu, trial.judging[0], pairs, "relu")
    found = compare(trial.sides()[0], other, least_cosine=0.4, least_correlation=0.4)
    assert found.other_saes == trial.spliced.sites
    shared = [n for n in found.nodes if n.a is not None and n.b is not None and n.kind == "feature"]
    assert shared
    for node in shared:
        assert node.b is not None
        assert node.b.startswith(f"{node.twin}@")
        assert min(node.cosine or 0, node.correlation or 0) >= 0.4
    features = [n for n in found.nodes if n.kind == "feature"]
    own = sum(n.a is not None for n in features)
    matched = sum(n.a is not None and n.twin is not None for n in features)
    words = f"Of the {own} features of one there, {matched} have a match in the SAEs of relu, {len(shared)} in its"
    assert any(note.startswith(words) for note in found.notes), found.notes
    errors = {n.a.partition("@")[0] for n in found.nodes if n.kind == "error" and n.a is not None and n.b is not None}
    assert all(name.endswith("/error") for name in errors)


def test_a_tuned_model_is_compared_by_name_and_each_circuit_is_kept_in_the_others_model(trial: Trial) -> None:
    tuned = embedded_model()
    with torch.no_grad():
        for parameter in tuned.module.parameters():
            parameter.mul_(1.002)
    spliced = SplicedModel(tuned, embedded_saes("topk"))
    pairs = trial.found_on[0]
    other = Side(circuit_of(spliced, pairs), spliced, trial.judging[0], pairs, "tuned")
    found = compare(trial.sides()[0], other)
    assert found.other_saes == ()
    assert 0 < (found.node_overlap.jaccard or 0) <= 1
    crossed = [(f.circuit, f.model, f.task) for f in found.faithfulness if f.circuit != f.model]
    assert crossed == [("a", "b", "b"), ("b", "a", "a")]
    one = next(f.measured for f in found.faithfulness if (f.circuit, f.model, f.task) == ("a", "b", "b"))
    assert (one,) == faithfulness_report(spliced, {"tuned": trial.judging[0]}, logit_difference, trial.circuits[0])
