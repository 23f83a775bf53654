"""Pursuits equal their twin, find planted supports, and break ties as they say; refitted codes are optimal."""

import itertools
from collections.abc import Callable
from typing import Any, Final

import pytest
import torch
from torch import Tensor

from attribution.dictionaries.pursuits.gradient_pursuit import gradient_pursuit
from attribution.dictionaries.pursuits.greedy import Code
from attribution.dictionaries.pursuits.matching_pursuit import matching_pursuit
from attribution.dictionaries.pursuits.novelty import novelty
from attribution.dictionaries.pursuits.refitting import refitted
from tests.twins.pursuit_twin import pursuit

RULES: Final[dict[str, Callable[..., Code]]] = {"gradient": gradient_pursuit, "matching": matching_pursuit}
both = pytest.mark.parametrize("rule", RULES)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of four features each of a nearly orthogonal decoder: the vectors, the decoder, the coefficients."""
    directions = draw(60, 400, seed=seed)
    code = torch.zeros(30, 60, dtype=torch.float64)
    for n in range(30):
        code[n, torch.randperm(60, generator=torch.Generator().manual_seed(n))[:4]] = 1 + draw(4, seed=n).abs()
    return code @ directions, directions, code


@both
@pytest.mark.parametrize(("k", "tolerance"), [(6, None), (9, 0.5), (40, 0.3)])
def test_pursuits_equal_their_twin(rule: str, k: int, tolerance: float | None) -> None:
    x, directions = draw(2, 4, 7, seed=1), draw(20, 7, seed=2) * (0.5 + draw(20, 1, seed=3).abs())
    directions[5], directions[11] = 0, 3 * directions[3]  # one without length, and one that is the same as another
    found = RULES[rule](x, directions, k=k, tolerance=tolerance)
    for row in range(2):
        for pos in range(4):
            a, chosen = pursuit(x[row, pos].tolist(), directions.tolist(), rule, k, tolerance)
            assert found.coefficients[row, pos].tolist() == pytest.approx(a, abs=1e-9)
            steps = found.chosen[row, pos]
            assert steps[steps >= 0].tolist() == chosen
            assert (steps[len(chosen) :] == -1).all()


@both
def test_planted_supports_are_found_and_gradient_pursuit_finds_their_size(rule: str) -> None:
    x, directions, code = planted()
    found = RULES[rule](x, directions, k=4)
    assert torch.equal(found.coefficients > 0, code > 0)
    if rule == "gradient":
        exact = gradient_pursuit(x, directions, tolerance=1e-6).coefficients
        torch.testing.assert_close(exact, code, rtol=0, atol=1e-5)


@both
def test_each_vector_may_have_its_own_most(rule: str) -> None:
    x, directions, _ = planted()
    most = torch.arange(30) % 5
    found = RULES[rule](x, directions, k=most)
    assert ((found.chosen >= 0).sum(1) == most).all()
    for n in range(30):
        alone = RULES[rule](x[n], directions, k=int(most[n])).coefficients
        torch.testing.assert_close(found.coefficients[n], alone)


@both
def test_a_code_scales_with_its_vector_and_against_its_directions(rule: str) -> None:
    x, directions = draw(5, 7, seed=1), draw(20, 7, seed=2)
    code = RULES[rule](x, directions, k=5).coefficients
    lengths = 1 + draw(20, seed=3).abs()
    torch.testing.assert_close(RULES[rule](3 * x, directions * lengths[:, None], k=5).coefficients, 3 * code / lengths)


@both
def test_of_directions_that_rounding_tells_apart_the_first_is_chosen(rule: str) -> None:
    one = torch.nn.functional.normalize(draw(1, 7, seed=4), dim=1).float()
    directions = torch.cat([-one, one * (1 + 1e-7), one, 5 * one])
    found = RULES[rule](one + 1e-8, directions, k=1)
    assert found.chosen.tolist() == [[1]]
    assert found.slack > 1e-6  # more than rounding


@both
def test_a_choice_that_is_nearly_another_has_little_slack(rule: str) -> None:
    directions = torch.eye(3, dtype=torch.float64)
    near = torch.tensor([[1.0, 1 + 2.1e-6 * 2**0.5, 0], [1.0, 1.2, 0]], dtype=torch.float64)
    slack = RULES[rule](near, directions, k=1).slack
    assert slack[0] == pytest.approx(0.1e-6 * 2**0.5, rel=1e-2)
    assert slack[1] == pytest.approx(2e-6 * near[1].norm().item(), rel=1e-4)
    ends = RULES[rule](
        torch.tensor([[1.0, 0.5001]], dtype=torch.float64), directions[:2, :2], tolerance=0.5001 / 1.25**0.5
    )
    assert ends.slack < 1e-4


def test_the_residual_of_matching_pursuit_never_grows() -> None:
    x, directions = draw(30, 7, seed=1), draw(20, 7, seed=2)
    left = [(x - matching_pursuit(x, directions, k=k).coefficients @ directions).norm(dim=1) for k in range(8)]
    for more, less in itertools.pairwise(left):
        assert (less <= more + 1e-12).all()


@both
def test_nothing_is_found_in_nothing_and_against_every_direction(rule: str) -> None:
    directions = draw(20, 7, seed=2).abs()
    for x in (torch.zeros(3, 7).double(), -directions[:3]):
        found = RULES[rule](x, directions, k=5)
        assert found.chosen.shape == (3, 0)
        assert not found.coefficients.any()
        assert (found.slack == torch.inf).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "A pursuit needs an end: give k"),
        ({"k": -1}, "k is the most features of a code, at least 0; got -1"),
        ({"tolerance": 1.0}, "tolerance is the share of"),
        ({"tolerance": float("nan")}, "tolerance is the share of"),
    ],
)
def test_a_pursuit_without_an_end_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradient_pursuit(draw(3, 7), draw(20, 7), **options)


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="The directions are 7 wide, and the vectors 6"):
        matching_pursuit(draw(3, 6), draw(20, 7), k=1)


def test_refitted_codes_are_optimal_on_their_support() -> None:
    """Least squares with a >= 0: no slope along a used direction, none that would help along an unused one."""
    x, directions = draw(40, 12, seed=1), draw(30, 12, seed=2) * (0.5 + draw(30, 1, seed=3).abs())
    support = draw(40, 30, seed=4) > 0.8
    a = refitted(x, directions, support)
    assert not a[~support].any()
    slope = (x - a @ directions) @ directions.T / directions.norm(dim=1) / x.norm(dim=1, keepdim=True)
    assert slope[a > 0].abs().max() < 1e-4
    assert slope[support & (a == 0)].max() < 1e-4
    assert (a >= 0).all()
    assert (a[support] == 0).any()


def test_supports_whose_directions_depend_on_each_other_are_refitted_too() -> None:
    x, directions = draw(200, 8, seed=1), draw(40, 8, seed=2)
    directions[20:30] = directions[:10] * (1 + 1e-7 * draw(10, 1, seed=3))
    support = draw(200, 40, seed=4) > -0.5
    a = refitted(x, directions, support)
    slope = (x - a @ directions) @ directions.T / directions.norm(dim=1) / x.norm(dim=1, keepdim=True)
    assert slope[a > 0].abs().max() < 1e-4
    assert slope[support].max() < 1e-4


def test_refitting_a_planted_support_finds_the_code() -> None:
    x, directions, code = planted()
    torch.testing.assert_close(refitted(x, directions, code > 0), code, rtol=0, atol=1e-4)


def test_novelty_is_the_sine_of_the_angle_to_those_before() -> None:
    directions = torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 3, 0], [0, 0, 1]])
    found = novelty(directions, torch.tensor([[0, 1, 2, 3], [3, 0, -1, -1], [1, 2, 0, 3]]))
    expected = torch.tensor([[1, 0.5**0.5, 0, 1], [1, 1, 0, 0], [1, 0.5**0.5, 0, 1]])
    torch.testing.assert_close(found, expected)
