"""The audit's bound equals brute force with exact fractions, and its coverage is at least what it states."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from attribution.checking.audit import most_large
from attribution.checking.check import check
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from graphs import Verdict
from graphs.verdict import CHOSEN_BY
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import PAIRS, World


def chance_of_at_most(found: int, population: int, large: int, audited: int) -> Fraction:
    """P(X <= found): draws of `audited` nodes with at most `found` large ones, counted."""
    ways = sum(math.comb(large, x) * math.comb(population - large, audited - x) for x in range(found + 1))
    return Fraction(ways, math.comb(population, audited))


def brute_force(population: int, audited: int, found: int, confidence: Fraction) -> int:
    possible = range(found, population - (audited - found) + 1)
    return max(k for k in possible if chance_of_at_most(found, population, k, audited) > 1 - confidence)


@pytest.mark.parametrize("confidence", [Fraction(53, 100), Fraction(19, 20), Fraction(99, 100)])
def test_the_bound_equals_brute_force_by_exact_fractions(confidence: Fraction) -> None:
    for population in (1, 2, 3, 7, 12, 20):
        for audited in range(population + 1):
            for found in range(audited + 1):
                expected = brute_force(population, audited, found, confidence)
                assert most_large(population, audited, found, float(confidence)) == expected


@pytest.mark.parametrize(
    ("population", "audited", "found"), [(300, 40, 0), (300, 40, 3), (500, 450, 449), (200, 20, 20)]
)
def test_the_bound_equals_brute_force_in_larger_populations(population: int, audited: int, found: int) -> None:
    expected = brute_force(population, audited, found, Fraction(19, 20))
    assert most_large(population, audited, found) == expected


def test_an_audit_of_all_knows_the_number_and_an_audit_of_none_knows_nothing() -> None:
    assert [most_large(30, 30, found) for found in (0, 7, 30)] == [0, 7, 30]
    assert most_large(30, 0, 0) == 30


def test_the_bound_is_finite_work_in_populations_of_millions() -> None:
    """The rule of three: nothing found among n leaves at most about 3 / n of the population."""
    bound = most_large(5_000_000, 3000, 0)
    assert bound == pytest.approx(5_000_000 * -math.log(0.05) / 3000, rel=0.01)


@pytest.mark.parametrize(
    ("population", "audited", "large"), [(50, 10, 0), (50, 10, 5), (400, 60, 8), (400, 60, 200), (1000, 30, 90)]
)
def test_the_bound_covers_the_truth_as_often_as_it_says(population: int, audited: int, large: int) -> None:
    found = np.random.default_rng(large).hypergeometric(large, population - large, audited, 2000)
    bounds = {int(x): most_large(population, audited, int(x)) for x in np.unique(found)}
    covered = np.mean([bounds[int(x)] >= large for x in found])
    assert covered >= 0.93
    assert max(bounds.values()) < population, "it says something"


def test_impossible_audits_are_errors() -> None:
    for population, audited, found in ((10, 11, 0), (10, 5, 6), (10, 5, -1)):
        with pytest.raises(ValueError, match=f"An audit of {audited} of {population} nodes cannot find {found}"):
            most_large(population, audited, found)
    for confidence in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
            most_large(10, 5, 1, confidence)


@cache
def mixed() -> World:
    return every_kind_world()


@cache
def measured() -> tuple[Effects, Effects]:
    """Estimate and exact effects in live mode, where choosing nodes takes no model run."""
    spliced = mixed().spliced
    return tuple(m(spliced, PAIRS, logit_difference) for m in (attribution_patching, exact_patching))  # pyright: ignore


def audited(estimate: Effects, exact: Effects, *, threshold: float, seed: int) -> Verdict:
    return check(
        mixed().spliced,
        PAIRS,
        logit_difference,
        estimate,
        exact=exact,
        verify=60,
        threshold=threshold,
        seed=seed,
        explained=0,
    )


@pytest.mark.parametrize("share_large", [pytest.param(0.03, marks=pytest.mark.slow), 0.2])
def test_the_checkers_bound_covers_the_unverified_nodes_as_often_as_it_says(share_large: float) -> None:
    """Exact effects that are known and independent of the estimate; audits with 250 seeds."""
    estimate, exact = measured()
    rng = np.random.default_rng(1)
    effect = np.where(rng.random(len(exact)) < share_large, 1.0, 0.1) * rng.choice([-1.0, 1.0], len(exact))
    truth = replace(exact, effect=effect)
    covered: list[bool] = []
    for seed in range(250):
        verdict = audited(estimate, truth, threshold=0.5, seed=seed)
        assert verdict.bound is not None
        assert verdict.verified == 60
        large = int((np.abs(effect) >= 0.5).sum()) - int((np.abs(verdict.exact) >= 0.5).sum())
        assert verdict.bound.unverified == len(estimate) - 60
        assert verdict.bound.audited_large == int(
            (np.abs(verdict.exact[verdict.chosen_by == CHOSEN_BY.index("audit")]) >= 0.5).sum()
        )
        assert verdict.bound.most_large < verdict.bound.unverified
        covered.append(verdict.bound.most_large >= large)
    assert np.mean(covered) >= 0.93


def test_a_bound_is_not_loosened_by_the_strongest_nodes() -> None:
    """Only audited nodes are evidence for the unverified; large effects among the strongest change nothing."""
    estimate, exact = measured()
    order = np.argsort(-np.abs(estimate.effect), kind="stable")
    effect = np.zeros(len(exact))
    effect[order[:30]] = 9.0
    with_large = audited(estimate, replace(exact, effect=effect), threshold=0.5, seed=3)
    without = audited(estimate, replace(exact, effect=0 * effect), threshold=0.5, seed=3)
    assert with_large.bound == without.bound
    assert with_large.overall.large == 30
