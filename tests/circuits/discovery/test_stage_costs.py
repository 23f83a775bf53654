"""Every stage of `discover` costs about what is foretold, and less is done where the budget is small."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest

from attribution.cones.forecast import Forecast
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.pace import Pace, Work
from attribution.runs.time_limit import LEAST
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery import deciding, paces
from circuits.discovery.choosing import Deciding
from circuits.discovery.deciding import AUTO_METHOD, BEFORE, EFFECTS, LEAST_VERIFIED, Decision, decide
from circuits.discovery.discover import COMPARED_METHODS, FORECAST, STAGES, discover
from circuits.discovery.paces import Paces, measured_paces
from circuits.discovery.selection import Selection
from circuits.discovery.stage_costs import FLOAT64, OWN_PATHS, StageCosts
from circuits.embedded.load import load_model, load_saes
from circuits.ranking.question import Question
from circuits.selection.watch import Unwatched
from circuits.tasks.prompts import prompt_pairs
from tests.worlds.counted_flops import Counted

SELECT = Selection(faithful=0.8)
FAST = Selection(faithful=0.8, drop=0.5)
FACTOR = 2.0
"""How far a stage may be from what was foretold."""


def at_rate(flops_per_second: float) -> Paces:
    """Operations cost nothing beside their FLOPs."""
    pace = Pace(0.0, 1 / flops_per_second)
    return Paces(pace, pace)


@cache
def world() -> tuple[SplicedModel, PromptPairs, PromptPairs]:
    model = load_model("embedded")
    return (
        SplicedModel(model, load_saes("jumprelu")),
        prompt_pairs("agreement", model, examples=2),
        prompt_pairs("agreement", model, examples=2, split="held_out"),
    )


class WorkOfStages(Unwatched):
    """The work of every stage, and the seconds it was expected to take."""

    def __init__(self, counter: Counted) -> None:
        self.counter, self.stage, self.before = counter, "", Work()
        self.done: dict[str, Work] = {}
        self.expected: dict[str, float | None] = {}
        self.foretold: dict[str, float] = {}

    def foretells(self, seconds: Mapping[str, float]) -> None:
        self.foretold.update(seconds)

    def enters(self, stage: str, seconds: float | None) -> None:
        now = Work(self.counter.operations, self.counter.flops)
        self.done[self.stage] = now + (-1) * self.before
        self.stage, self.before = stage, now
        self.expected[stage] = seconds


def costs(select: Selection = SELECT) -> tuple[Question, StageCosts]:
    spliced, pairs, validation = world()
    question = Question(spliced, pairs, logit_difference, "frozen")
    splits = {"validation": validation}
    text = {"text": [pair.clean_ids for pair in validation]}
    given = question, select, COMPARED_METHODS, None, None, Deciding(validation), splits, text, 10, {}
    return question, StageCosts.of(*given, scheme="role", searches=select.searches)


@pytest.mark.slow
def test_stages_cost_about_what_a_counter_sees() -> None:
    spliced, pairs, validation = world()
    question, asked = costs(FAST)
    text = {"text": [pair.clean_ids for pair in validation]}
    with Counted() as counter:
        watch = WorkOfStages(counter)
        about = {"method": "exact", "error_mode": "frozen", "validation": validation, "texts": text, "explained": 0}
        found = discover(spliced, pairs, logit_difference, select=FAST, watch=watch, **about)
        watch.enters("", None)
    asked = replace(asked, nodes=sum(node.count for node in found.circuit.strongest()) // len(pairs))
    foretold = asked.work("exact", len(found.effects) / len(pairs))
    assert set(foretold) <= set(STAGES)
    foretold["search"] = costs(FAST)[1].work("exact", len(found.effects) / len(pairs))["search"]
    del foretold["pruning"], foretold[OWN_PATHS]  # no node dangled; nobody knows how many have a wrong estimate
    wide = foretold["faithfulness in float64"]
    foretold["faithfulness in float64"] = replace(wide, flops=wide.flops / FLOAT64)
    priced = {stage: work for stage, work in foretold.items() if work.flops}
    for name in ("operations", "flops"):
        apart = {stage: getattr(watch.done[stage], name) / getattr(work, name) for stage, work in priced.items()}
        assert {stage: ratio for stage, ratio in apart.items() if not 1 / FACTOR < ratio < FACTOR} == {}, name
    assert set(watch.expected) - {""} <= set(STAGES)
    assert watch.expected[FORECAST] is None
    assert all((watch.expected[stage] or 0) > 0 for stage in (*priced, EFFECTS))
    assert set(priced) < set(watch.foretold)
    assert question.spliced is spliced


def test_less_is_done_the_less_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    known = Forecast(nodes=6_000, flops=6e12, rate=1e8, in_cones=True, pairs=2, pairs_looked_at=2)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "measured_paces", lambda _question: at_rate(1e7))
    found: list[Decision] = []
    budget = 1e6
    while len(found) < 20 and (not found or found[-1].expected <= found[-1].budget):
        found.append(decide(question, budget, verify=LEAST_VERIFIED, costs=asked))
        budget = found[-1].expected - 1.0
    done = [(one.method, one.compare, one.drop) for one in found[:-1]]
    assert done == [
        ("exact", None, None),
        ("exact", ("atp", "chord-ig"), None),
        ("exact", (), None),
        ("chord-ig", None, None),
        ("chord-ig", ("atp", "chord-ig"), None),
        ("chord-ig", (), None),
        ("chord-ig", (), 0.3),
        ("chord-ig", (), 0.5),
    ]
    last = found[-1]
    assert (last.method, last.compare, last.drop) == ("chord-ig", (), 0.5)
    assert "no less can be done" in last.sentence
    assert last.options == f"--method chord-ig --error frozen --verify {LEAST_VERIFIED} --beside none --drop 0.5"
    assert all(one.options in one.sentence for one in found[1:])


def test_what_is_left_of_the_time_verifies_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    known = Forecast(nodes=6_000, flops=6e12, rate=1e9, in_cones=True, pairs=2, pairs_looked_at=2)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "measured_paces", lambda _question: at_rate(1e10))
    least = decide(question, 1e-3, costs=replace(asked, compare=()))
    decision = decide(question, 0.5 * known.seconds, costs=replace(asked, compare=()), spent=7.0)
    assert least.verify == LEAST_VERIFIED
    assert decision.verify is not None
    assert decision.verify > 10 * LEAST_VERIFIED
    assert decision.seconds[BEFORE] >= 7.0
    assert decision.expected == pytest.approx(0.5 * known.seconds, rel=0.01)


def test_a_smaller_circuit_and_a_faster_search_cost_less() -> None:
    _, asked = costs()
    usual, faster, smaller, folded, none, learned = (
        replace(asked, **other).work("exact", 1e4)
        for other in ({}, {"drop": 0.9}, {"nodes": 20}, {"folds": 2}, {"search": None}, {"search": "learned"})
    )
    for name in ("operations", "flops"):
        assert getattr(faster["search"], name) < getattr(usual["search"], name) / 2
        assert getattr(smaller["edges"], name) < getattr(usual["edges"], name)
    assert none["search"] == Work()
    assert learned["search"].flops > usual["search"].flops
    on_one = replace(asked, question=replace(asked.question, pairs=asked.question.pairs.head(1)), splits={})
    every = usual["search"] + 2 * on_one.work("exact", 1e4)["search"]
    assert folded["search"].operations == pytest.approx(every.operations)
    assert folded["search"].flops == pytest.approx(every.flops)
    anywhere = replace(asked, scheme="none")
    assert anywhere.circuit_places > asked.circuit_places


def test_few_prompts_cost_operations_and_many_cost_flops() -> None:
    question, asked = costs()
    one = replace(asked, question=replace(question, pairs=question.pairs.head(1)), splits={}, texts=())
    many = replace(one, question=replace(question, pairs=PromptPairs(question.pairs.pairs[:1] * 16)))
    few, all_ = one.work("exact", 1e3), many.work("exact", 1e3)
    assert all_["faithfulness"] == few["faithfulness"].side_by_side(16)
    assert all_["pruning"] == few["pruning"].side_by_side(16)


def test_paces_are_those_of_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    gradients, runs = Pace(2e-5, 1e-11), Pace(5e-5, 4e-11)
    now = [0.0]

    def of(pairs: PromptPairs) -> StageCosts:
        return replace(asked, question=replace(question, pairs=pairs))

    def estimate(own: Question, method: str, *_: object) -> None:
        now[0] += gradients.seconds(of(own.pairs).sweep(method))

    def keep(_spliced: SplicedModel, pairs: PromptPairs, *_: object, **_about: object) -> None:
        now[0] += runs.seconds(asked.keeping(pairs, 2))

    monkeypatch.setattr(Question, "estimate", estimate)
    monkeypatch.setattr(paces, "metric_keeping", keep)
    monkeypatch.setattr(paces, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    found = measured_paces(question)
    for mine, true in ((found.gradients, gradients), (found.runs, runs)):
        assert (mine.operation, mine.flop) == pytest.approx((true.operation, true.flop))
    assert found.seconds("estimates beside them", Work(1e3, 1e9)) == pytest.approx(0.03)
    assert found.seconds("search", Work(1e3, 1e9)) == pytest.approx(0.09)


def test_own_paths_count_for_no_more_than_they_have_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    known = Forecast(nodes=6_000, flops=6e12, rate=1e12, in_cones=True, pairs=2, pairs_looked_at=2)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "measured_paces", lambda _question: at_rate(1e8))
    walked = decide(question, 1e9, costs=asked)
    others = sum(seconds for stage, seconds in walked.seconds.items() if stage != OWN_PATHS)
    assert walked.seconds[OWN_PATHS] > LEAST
    assert walked.expected == pytest.approx(others + LEAST)


def test_time_is_left_for_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    known = Forecast(nodes=6_000, flops=6e12, rate=1e9, in_cones=True, pairs=2, pairs_looked_at=2)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "measured_paces", lambda _question: at_rate(1e10))
    alone = decide(question, 0.5 * known.seconds, costs=replace(asked, compare=()))
    labelled = replace(asked, compare=(), after={"labels": Work(flops=1e12, seconds=20.0)})
    beside = decide(question, 0.5 * known.seconds, costs=labelled)
    assert beside.seconds["labels"] == pytest.approx(120.0)
    assert (alone.verify or 0) - (beside.verify or 0) == pytest.approx(120.0, abs=2.0)  # a second each


def test_auto_does_what_it_decided() -> None:
    spliced, pairs, _ = world()
    found = discover(spliced, pairs, logit_difference, method=AUTO_METHOD, budget=1e-3, select=SELECT, resamples=0)
    assert found.decision is not None
    assert found.decision.compare == ()
    assert found.decision.drop == 0.5
    assert found.circuit.measurement.evidence.startswith("screened")
    assert not any(node.estimates.keys() - {"chord-ig"} for node in found.circuit.nodes if node.estimates)
