"""Every stage of `discover` costs about what is foretold, and less is done where the budget is small."""

from dataclasses import replace
from functools import cache

import pytest

from attribution.cones.forecast import Forecast
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery import deciding
from circuits.discovery.choosing import Deciding
from circuits.discovery.deciding import AUTO_METHOD, BEFORE, EFFECTS, LEAST_VERIFIED, Decision, decide
from circuits.discovery.discover import COMPARED_METHODS, FORECAST, STAGES, discover
from circuits.discovery.selection import Selection
from circuits.discovery.stage_costs import StageCosts, rate_of_passes
from circuits.embedded.load import load_model, load_saes
from circuits.ranking.question import Question
from circuits.selection.watch import Unwatched
from circuits.tasks.prompts import prompt_pairs
from tests.worlds.counted_flops import Counted

SELECT = Selection(faithful=0.8)
FACTOR = 3.0
"""How far a stage may be from what was foretold."""


@cache
def world() -> tuple[SplicedModel, PromptPairs, PromptPairs]:
    model = load_model("embedded")
    return (
        SplicedModel(model, load_saes("jumprelu")),
        prompt_pairs("agreement", model, examples=6),
        prompt_pairs("agreement", model, examples=4, split="held_out"),
    )


class FlopsOfStages(Unwatched):
    """FLOPs of every stage, and the seconds it was expected to take."""

    def __init__(self, counter: Counted) -> None:
        self.counter, self.stage, self.before = counter, "", 0
        self.flops: dict[str, int] = {}
        self.expected: dict[str, float | None] = {}

    def enters(self, stage: str, seconds: float | None) -> None:
        self.flops[self.stage] = self.counter.flops - self.before
        self.stage, self.before = stage, self.counter.flops
        self.expected[stage] = seconds


def costs(select: Selection = SELECT) -> tuple[Question, StageCosts]:
    spliced, pairs, validation = world()
    question = Question(spliced, pairs, logit_difference, "frozen")
    splits = {"validation": validation}
    text = {"text": [pair.clean_ids for pair in validation]}
    given = question, select, COMPARED_METHODS, None, None, Deciding(validation), splits, text
    return question, StageCosts.of(*given, searches=select.searches)


def test_stages_cost_about_what_a_counter_sees() -> None:
    spliced, pairs, validation = world()
    question, asked = costs()
    text = {"text": [pair.clean_ids for pair in validation]}
    with Counted() as counter:
        watch = FlopsOfStages(counter)
        about = {"method": "exact", "error_mode": "frozen", "validation": validation, "texts": text}
        found = discover(spliced, pairs, logit_difference, select=SELECT, watch=watch, **about)
        watch.enters("", None)
    foretold = asked.flops("exact", len(found.effects) / len(pairs))
    assert set(foretold) <= set(STAGES)
    foretold["edges"] *= len(found.circuit.nodes) / asked.circuit_nodes
    del foretold["pruning"]  # none of the nodes dangled
    apart = {stage: watch.flops[stage] / flops for stage, flops in foretold.items() if flops}
    assert {stage: ratio for stage, ratio in apart.items() if not 1 / FACTOR < ratio < FACTOR} == {}
    assert set(watch.expected) - {""} <= set(STAGES)
    assert watch.expected[FORECAST] is None
    assert all((watch.expected[stage] or 0) > 0 for stage in (*apart, EFFECTS))
    assert question.spliced is spliced


def test_less_is_done_the_less_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    question, asked = costs()
    known = Forecast(nodes=6_000, flops=6e12, rate=1e8, in_cones=True, pairs=6, pairs_looked_at=6)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "rate_of_passes", lambda _question: 1e7)
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
    known = Forecast(nodes=6_000, flops=6e12, rate=1e9, in_cones=True, pairs=6, pairs_looked_at=6)
    monkeypatch.setattr(deciding, "forecast", lambda *_a, **_k: known)
    monkeypatch.setattr(deciding, "rate_of_passes", lambda _question: 1e10)
    least = decide(question, 1e-3, costs=replace(asked, compare=()))
    decision = decide(question, 0.5 * known.seconds, costs=replace(asked, compare=()), spent=7.0)
    assert least.verify == LEAST_VERIFIED
    assert decision.verify is not None
    assert decision.verify > 10 * LEAST_VERIFIED
    assert decision.seconds[BEFORE] >= 7.0
    assert decision.expected == pytest.approx(0.5 * known.seconds, rel=0.01)


def test_a_smaller_circuit_and_a_faster_search_cost_less() -> None:
    _, asked = costs()
    faster = replace(asked, drop=0.5).flops("exact", 1e4)
    smaller = replace(asked, nodes=20).flops("exact", 1e4)
    folded = replace(asked, folds=4).flops("exact", 1e4)
    usual = asked.flops("exact", 1e4)
    assert faster["search"] < usual["search"] / 3
    assert smaller["edges"] < usual["edges"]
    assert folded["search"] == 4 * usual["search"]
    assert replace(asked, search=None).flops("exact", 1e4)["search"] == 0
    assert replace(asked, search="learned").flops("exact", 1e4)["search"] > usual["search"]


def test_the_rate_is_that_of_whole_passes() -> None:
    question, _ = costs()
    assert 1e7 < rate_of_passes(question) < 1e14


def test_auto_does_what_it_decided() -> None:
    spliced, pairs, _ = world()
    found = discover(spliced, pairs, logit_difference, method=AUTO_METHOD, budget=1e-3, select=SELECT, resamples=0)
    assert found.decision is not None
    assert found.decision.compare == ()
    assert found.decision.drop == 0.5
    assert found.circuit.measurement.evidence.startswith("screened")
    assert not any(node.estimates.keys() - {"chord-ig"} for node in found.circuit.nodes if node.estimates)
