"""What the checker verifies for a budget, how it bounds what it did not verify, and what it refuses."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from attribution.checking.check import check
from attribution.effects.effects import Effects
from attribution.methods.activation_difference import activation_difference
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.prompts.metrics import log_probability, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import zero
from attribution.splice.spliced_model import ErrorMode
from graphs import Verdict
from graphs.verdict import CHOSEN_BY
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import BOS, PAIRS, World

TWO = PromptPairs(PAIRS.pairs[1:])


@cache
def mixed() -> World:
    return every_kind_world()


@cache
def estimate_of(mode: ErrorMode) -> Effects:
    return attribution_patching(mixed().spliced, TWO, logit_difference, error_mode=mode)


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(mixed().spliced, TWO, logit_difference, error_mode=mode)


@cache
def budgeted(mode: ErrorMode, budget: int | None, seed: int = 0) -> Verdict:
    return check(
        mixed().spliced,
        TWO,
        logit_difference,
        estimate_of(mode),
        verify=budget,
        seed=seed,
        threshold=1e-2,
        explained=0,
    )


def keys_of(verdict: Verdict, reason: str) -> set[int]:
    """The verified nodes with that reason, by the estimate's keys."""
    like = replace(
        estimate_of("frozen"),
        **{name: getattr(verdict, name) for name in ("example", "site", "position", "kind", "index")},
        clean=verdict.exact,
        patch=verdict.exact,
        effect=verdict.exact,
    )
    return set(like.keys()[verdict.chosen_by == CHOSEN_BY.index(reason)].tolist())


@pytest.mark.parametrize(("mode", "budget"), [("frozen", 40), ("zero", 41), ("live", 43), ("frozen", 1), ("frozen", 2)])
def test_a_budget_is_spent_on_the_strongest_those_at_risk_and_an_audit(mode: ErrorMode, budget: int) -> None:
    verdict, estimate = budgeted(mode, budget), estimate_of(mode)
    strongest, at_risk, audit = (keys_of(verdict, reason) for reason in ("strongest", "at_risk", "audit"))
    assert len(strongest) == budget // 2
    assert len(at_risk) == (0 if mode == "live" else budget // 4)
    assert len(strongest) + len(at_risk) + len(audit) == verdict.verified == budget, "no node is chosen twice"
    size = dict(zip(estimate.keys().tolist(), np.abs(estimate.effect).tolist(), strict=True))
    others = [s for key, s in size.items() if key not in strongest]
    assert min((size[key] for key in strongest), default=np.inf) >= max(others)
    assert verdict.bound is not None
    assert verdict.bound.audited == len(audit)
    assert verdict.bound.unverified == verdict.nodes - budget
    exact_by_key = dict(zip(exact_of(mode).keys().tolist(), exact_of(mode).effect.tolist(), strict=True))
    all_keys = estimate.keys()[np.isin(estimate.keys(), list(strongest | at_risk | audit))]
    expected = [exact_by_key[key] for key in all_keys.tolist()]
    np.testing.assert_allclose(verdict.exact, expected, rtol=1e-9, atol=1e-14)


def test_those_at_risk_have_the_largest_risks_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Risks that are planted on weak nodes select exactly these; a node without risk is left to the audit."""
    estimate = estimate_of("frozen")
    weakest = estimate.keys()[np.argsort(np.abs(estimate.effect), kind="stable")[:6]].tolist()
    planted = {key: 1.0 + n for n, key in enumerate(weakest)}
    monkeypatch.setattr("attribution.checking.verification._risks", lambda *_: planted)
    check_with = {"threshold": 1e-2, "explained": 0, "exact": exact_of("frozen")}
    few = check(mixed().spliced, TWO, logit_difference, estimate, verify=16, **check_with)
    assert keys_of(few, "at_risk") == set(weakest[-4:])
    many = check(mixed().spliced, TWO, logit_difference, estimate, verify=40, **check_with)
    assert keys_of(many, "at_risk") == set(weakest)
    assert len(keys_of(many, "audit")) == 40 - 20 - 6, "the audit takes what is left"


def test_the_audit_is_the_same_for_a_seed_and_another_for_another() -> None:
    first, other = budgeted("frozen", 40, 0), budgeted("frozen", 40, 1)
    budgeted.cache_clear()
    again = budgeted("frozen", 40, 0)
    assert again is not first
    assert keys_of(first, "audit") == keys_of(again, "audit") != keys_of(other, "audit")
    for reason in ("strongest", "at_risk"):
        assert keys_of(first, reason) == keys_of(other, reason)
    assert (first.seed, other.seed) == (0, 1)


def test_a_budget_for_all_nodes_leaves_nothing_to_bound() -> None:
    count = len(estimate_of("zero"))
    for budget in (None, count, count + 5):
        verdict = budgeted("zero", budget)
        assert (verdict.verified, verdict.bound) == (count, None)
        assert (verdict.chosen_by == CHOSEN_BY.index("all")).all()
    assert budgeted("zero", count - 1).bound is not None


def test_unchanged_nodes_cost_nothing_of_a_budget() -> None:
    estimate = input_path_integrated_gradients(mixed().spliced, TWO, logit_difference, error_mode="path")
    still = estimate.of_kind("feature") & (estimate.clean == estimate.patch)
    assert still.sum() > 0
    verdict = check(mixed().spliced, TWO, logit_difference, estimate, verify=20, threshold=1e-2)
    assert verdict.verified == 20 + still.sum()
    assert len(keys_of(verdict, "unchanged")) == still.sum()
    assert verdict.bound is not None
    assert verdict.bound.unverified == len(estimate) - verdict.verified


def refused(match: str, estimate: Effects, pairs: PromptPairs = TWO, error: type[Exception] = ValueError, **more: Any):
    settings: dict[str, Any] = {"metric": logit_difference, "threshold": 1e-2} | more
    with pytest.raises(error, match=match):
        check(mixed().spliced, pairs, settings.pop("metric"), estimate, **settings)


def test_effects_that_are_exact_already_are_refused() -> None:
    refused("These effects are exact already", exact_of("live"))


def test_estimates_of_something_else_are_refused() -> None:
    estimate = estimate_of("frozen")
    sites = ("hook_embed", "blocks.1.hook_mlp_out")
    refused(
        r"measured at other sites \(blocks\.1\.hook_mlp_out\) than those of the SAEs", replace(estimate, sites=sites)
    )
    refused("measured on 2 pairs, but 3 were given", estimate, PAIRS)
    refused(
        "of logit_difference with patch value counterfactual, but log_probability with",
        estimate,
        metric=log_probability,
    )
    refused("counterfactual, but logit_difference with patch value zero was given", estimate, patch_value=zero)


def test_effects_in_other_units_are_refused() -> None:
    difference = activation_difference(mixed().spliced, TWO, logit_difference)
    refused("activation_difference is in activation, not in units of the metric, so it cannot be compared", difference)


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_no_node_is_refused(budget: int) -> None:
    refused(f"At least 1 node must be verified; got {budget}", estimate_of("frozen"), verify=budget)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_not_positive_is_refused(threshold: float) -> None:
    refused("The threshold must be positive, in units of the metric", estimate_of("frozen"), threshold=threshold)


def test_exact_effects_of_another_mode_method_or_measurement_are_refused() -> None:
    frozen = estimate_of("frozen")
    refused(
        "in error mode frozen is checked against exact_patching in mode frozen, but effects of exact_patching "
        "in mode zero were given",
        frozen,
        exact=exact_of("zero"),
    )
    refused("but effects of attribution_patching in mode frozen were given", frozen, exact=frozen)
    walked = input_path_integrated_gradients(mixed().spliced, TWO, logit_difference, error_mode="path")
    refused("in error mode path is checked against exact_patching in mode frozen", walked, exact=exact_of("live"))
    exact = exact_of("frozen")
    other = replace(exact, total_effect=exact.total_effect[::-1])
    refused("The exact effects were measured at other sites or on other pairs than the estimate", frozen, exact=other)
    refused("at other sites or on other pairs", frozen, exact=replace(exact, sites=exact.sites[::-1]))


def test_exact_effects_of_another_number_of_pairs_are_refused() -> None:
    three = exact_patching(mixed().spliced, PAIRS, logit_difference, error_mode="frozen")
    refused("The exact effects were measured at other sites or on other pairs", estimate_of("frozen"), exact=three)


def test_exact_effects_of_another_metric_are_refused() -> None:
    other = exact_patching(mixed().spliced, TWO, log_probability, error_mode="frozen")
    refused("The exact effects are of log_probability", estimate_of("frozen"), exact=other)


def test_exact_effects_that_lack_nodes_are_refused() -> None:
    exact = exact_of("frozen")
    lacking = len(exact) - 5
    refused(f"The exact effects lack {lacking} nodes", estimate_of("frozen"), exact=exact.subset(np.arange(5)))


def test_pairs_without_any_effect_need_a_threshold() -> None:
    same = PromptPairs((PromptPair((BOS, 5, 9), (BOS, 5, 9), 4, 7),))
    nothing = attribution_patching(mixed().spliced, same, logit_difference)
    refused(r"The median \|total effect\| is 0, so there is no default threshold", nothing, same, threshold=None)


def test_an_estimate_of_other_prompts_is_refused() -> None:
    other = PromptPairs(tuple(reversed(tuple(PAIRS))))
    assert len(other) == len(PAIRS)
    estimate = attribution_patching(mixed().spliced, other, logit_difference, error_mode="frozen")
    with pytest.raises(ValueError, match="measured on other prompts or another model"):
        check(mixed().spliced, PAIRS, logit_difference, estimate)
