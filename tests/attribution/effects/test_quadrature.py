"""Quadrature rules integrate what they promise to, and their steps match their weights."""

import math
from collections.abc import Callable

import pytest

from attribution.effects.quadrature import RULES, Quadrature, gauss_legendre, midpoint


def integral(rule: Quadrature, power: int) -> float:
    return sum(w * a**power for a, w in zip(rule.points, rule.weights, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_gauss_legendre_is_exact_up_to_degree_2q_minus_1_and_not_beyond(count: int) -> None:
    rule = gauss_legendre(count)
    for power in range(2 * count):
        assert integral(rule, power) == pytest.approx(1 / (power + 1), rel=1e-12)
    assert abs(integral(rule, 2 * count) - 1 / (2 * count + 1)) > 1e-13


def test_two_gauss_points_stand_where_they_should() -> None:
    assert gauss_legendre(2).points == pytest.approx((0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)))


def test_midpoints_are_the_middles_of_equal_steps() -> None:
    assert midpoint(4).points == (0.125, 0.375, 0.625, 0.875)
    assert midpoint(4).weights == (0.25, 0.25, 0.25, 0.25)
    assert integral(midpoint(7), 1) == pytest.approx(0.5, rel=1e-14)


def test_the_midpoint_error_falls_with_the_square_of_the_points() -> None:
    errors = [abs(integral(midpoint(q), 3) - 0.25) for q in (10, 20)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 32])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_steps_run_from_0_to_1_and_hold_their_points(rule: Callable[[int], Quadrature], count: int) -> None:
    made = rule(count)
    edges = made.edges
    assert (edges[0], edges[-1], len(edges)) == (0.0, 1.0, count + 1)
    for low, point, high, weight in zip(edges, made.points, edges[1:], made.weights, strict=False):
        assert low < point < high
        assert high - low == pytest.approx(weight, abs=1e-12)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_path_without_points_is_an_error(rule: Callable[[int], Quadrature]) -> None:
    with pytest.raises(ValueError, match="at least 1 point; got 0"):
        rule(0)
