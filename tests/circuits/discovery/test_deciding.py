"""Exact by default where it fits the time: forecasts that come true, and decisions that can be made again."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import attribution.cones.exact_engine as exact_engine
import attribution.cones.forecast as forecasting
from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.cones.forecast import forecast
from attribution.cones.sweep_cost import PRICED_METHODS, sweep_work
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.models.architectures import UnknownArchitecture
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_store import kept_in
from attribution.runs.pace import Pace
from attribution.splice.patch_values import zero
from circuits.discovery.deciding import LEAST_VERIFIED, decide
from circuits.discovery.paces import Paces
from circuits.discovery.selection import Selection
from circuits.ranking.question import Question
from circuits.terminal.amounts import bytes_of, seconds_of
from tests.attribution.cones.test_cone import spliced_model
from tests.circuits.discovery.test_discover import found, world
from tests.worlds.counted_flops import Counted
from tests.worlds.tiny_models import PAIRS

SWEPT = {
    "atp": attribution_patching,
    "ig": integrated_gradients,
    "ig-input": input_path_integrated_gradients,
    "chord-ig": chord_integrated_gradients,
}


@pytest.mark.parametrize("in_cones", [True, False])
def test_a_forecast_comes_true(in_cones: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spliced, pairs = spliced_model("neox"), PromptPairs(PAIRS.pairs * 4)
    if not in_cones:

        def unknown(_model: LanguageModel) -> None:
            raise UnknownArchitecture("not to be known here")

        for module in (forecasting, exact_engine):
            monkeypatch.setattr(module, "plain_model", unknown)
        monkeypatch.setattr("warnings.warn", lambda *_a, **_k: None)
    predicted = forecast(spliced, pairs, logit_difference)
    start = time.process_time()
    effects = exact_patching(spliced, pairs, logit_difference)
    spent = time.process_time() - start
    assert predicted.nodes == len(effects)
    assert predicted.in_cones == in_cones
    assert spent / 8 < predicted.seconds < spent * 8


def test_of_many_pairs_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = PromptPairs((PAIRS.pairs[1],) * 40)
    every = forecast(spliced_model("neox"), pairs, logit_difference)
    monkeypatch.setattr(forecasting, "MOST_PAIRS", 10)
    some = forecast(spliced_model("neox"), pairs, logit_difference)
    assert (every.pairs_looked_at, some.pairs_looked_at, some.pairs) == (40, 10, 40)
    assert some.nodes == every.nodes
    assert some.flops == pytest.approx(every.flops, rel=0.02)


@pytest.mark.parametrize("method", PRICED_METHODS)
def test_sweeps_cost_about_what_a_counter_sees(method: str) -> None:
    spliced = spliced_model("gpt2")
    with Counted() as counter:
        effects = SWEPT[method](spliced, PAIRS, logit_difference, error_mode="zero")
    points = int(dict(effects.settings).get("points", 1))
    positions = len(PAIRS) * max(len(pair) for pair in PAIRS)
    predicted = sweep_work(method, spliced, len(PAIRS), positions, "zero", points)
    assert counter.flops / 2 < predicted.flops < counter.flops * 2
    assert counter.operations / 2 < predicted.operations < counter.operations * 2


def test_exact_where_it_fits_else_screened_with_what_fits() -> None:
    question = Question(world().spliced, PAIRS, logit_difference, "frozen")
    roomy, tight = decide(question, 1e6), decide(question, 1e-6)
    assert (roomy.method, roomy.verify) == ("exact", None)
    assert (tight.method, tight.verify) == ("chord-ig", LEAST_VERIFIED)
    assert decide(question, 1e-6, verify=7).verify == 7
    assert decide(replace(question, patch_value=zero), 1e-6).method == "ig"
    assert tight.options == f"--method chord-ig --error frozen --verify {LEAST_VERIFIED}"
    assert tight.options in tight.sentence
    assert "every effect will be exact" in roomy.sentence
    assert json.loads(json.dumps(tight.record()))["repeat_with"] == tight.options


def effects_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other stages take no time."""
    pace = Pace(0.0, 1e-18)
    monkeypatch.setattr("circuits.discovery.deciding.measured_paces", lambda _question: Paces(pace, pace))


def test_more_time_verifies_more(monkeypatch: pytest.MonkeyPatch) -> None:
    effects_alone(monkeypatch)
    question = Question(world().spliced, PAIRS, logit_difference, "live")
    known = forecast(world().spliced, PAIRS, logit_difference)
    slow = replace(known, nodes=100_000, flops=1e12, rate=1e9)
    monkeypatch.setattr("circuits.discovery.deciding.forecast", lambda *_a, **_k: slow)
    half = decide(question, slow.seconds / 2)
    assert half.verify == pytest.approx(slow.nodes / 2, rel=0.02)
    assert decide(question, 1.01 * slow.seconds).verify is None


def test_where_chunks_are_kept_a_decision_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    effects_alone(monkeypatch)
    question = Question(world().spliced, PAIRS, logit_difference, "live")
    known = replace(forecast(world().spliced, PAIRS, logit_difference), nodes=100_000, flops=1e12, rate=1e9)
    rates = iter((1e9, 5e8, 2e8, 1e8))
    monkeypatch.setattr("circuits.discovery.deciding.forecast", lambda *_a, **_k: replace(known, rate=next(rates)))
    alone = decide(question, 500.0)
    with kept_in(tmp_path):
        first = decide(question, 500.0)
        assert decide(question, 500.0) == first
        other = decide(question, 400.0)
    assert alone.verify == pytest.approx(50_000, rel=0.02)
    assert first.verify == pytest.approx(25_000, rel=0.05)
    assert other.verify == pytest.approx(8_000, rel=0.1)
    with kept_in(tmp_path, reuse=False):
        assert decide(question, 500.0).verify == pytest.approx(5_000, rel=0.2)


def test_what_auto_chose_can_be_asked_for_by_name() -> None:
    options = {"error_mode": "live", "select": Selection(nodes=12), "compare": ()}
    automatic = found(method="auto", budget=1e-6, verify=60, **options)
    assert automatic.decision is not None
    assert automatic.decision.options == "--method chord-ig --error live --verify 60"
    named = found(method="chord-ig", verify=60, **options)
    assert named.decision is None
    np.testing.assert_array_equal(automatic.effects.effect, named.effects.effect)
    assert automatic.circuit.nodes == named.circuit.nodes
    assert found(method="auto", **options).effects.method == "exact_patching"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("45", 45), ("1.5m", 90)])
def test_times_are_written_with_s_m_or_h(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "5d", "5 minutes"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        seconds_of(text)


def test_sizes_are_written_with_m_g_or_t() -> None:
    assert (bytes_of("500M"), bytes_of("2G"), bytes_of("1.5GiB")) == (500 * 2**20, 2**31, 3 * 2**29)
    with pytest.raises(ValueError, match="'2' is no amount of memory"):
        bytes_of("2")
