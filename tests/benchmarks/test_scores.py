"""Methods against the programs' truth."""

from collections.abc import Mapping
from typing import Any

import pytest

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.dictionaries import JumpReLU, ReLU
from attribution.edges.chord_edges import chord_edges
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import logit_difference
from benchmarks.programs.compiled_model import load_compiled
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.rasp import Place
from benchmarks.programs.scores import Measured, Question, auroc
from benchmarks.programs.truth import contrasts

LINEAR = ("reverse", "frac_prevs", "pair_balance")
"""Programs that are linear in what changes."""


def question_about(name: str, count: int) -> Question:
    compiled = load_compiled(name)
    return Question(compiled, contrasts(compiled, count))


@pytest.mark.parametrize("name", PROGRAMS)
def test_exact_patching_of_variables_finds_every_true_node_and_edge_and_no_other(name: str) -> None:
    question = question_about(name, 2)
    variables = Measured(question, JumpReLU, "frozen").variables(question)
    nodes, edges = question.nodes(), question.edges()
    assert_right(nodes, variables.nodes(list(nodes)))
    assert_right(edges, variables.links(list(edges)))


def assert_right(truth: Mapping[Any, bool], found: Mapping[Any, float]) -> None:
    assert any(truth.values())
    assert not all(truth.values())
    wrong = [
        (candidate, found[candidate]) for candidate, true in truth.items() if (abs(found[candidate]) > 1e-2) != true
    ]
    assert not wrong


@pytest.mark.parametrize("name", LINEAR)
def test_chord_ig_is_right_about_linear_programs_and_atp_is_not(name: str) -> None:
    question = question_about(name, 2)
    measured = Measured(question, JumpReLU, "frozen")
    arguments = (measured.spliced, question.pairs, logit_difference)
    chords = chord_integrated_gradients(*arguments)
    assert auroc(question.nodes(), measured.grouping.nodes(chords)) == 1
    edges = chord_edges(*arguments, chords)
    assert auroc(question.edges(), measured.grouping.of_edges(edges)) == 1
    found = auroc(question.nodes(), measured.grouping.nodes(attribution_patching(*arguments, error_mode="frozen")))
    assert found is not None
    assert (found < 0.95) == (name != "reverse"), "what is off at the clean run has no gradient"


def test_dimensions_of_one_value_do_not_add_up_and_the_value_as_a_whole_is_right() -> None:
    question = question_about("dyck", 2)
    measured = Measured(question, ReLU, "frozen")
    truth = question.nodes()
    summed = auroc(truth, measured.grouping.nodes(measured.exact))
    whole = auroc(truth, measured.variables(question).nodes(list(truth)))
    assert summed is not None
    assert summed < 1
    assert whole == 1


def test_auroc_counts_ties_half_and_rounding_as_nothing() -> None:
    a, b, c, d = ((0, Place(name, 0)) for name in "abcd")
    truth = {a: True, b: True, c: False, d: False}
    assert auroc(truth, {a: -2.0, b: 1.0, c: 0.5}) == 1
    assert auroc(truth, {a: 1.0, b: 1e-9, c: 1e-8}) == 0.75
    assert auroc(truth, {}) == 0.5
    assert auroc({a: True}, {a: 1.0}) is None
