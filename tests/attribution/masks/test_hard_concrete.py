"""Hard-concrete gates are what their formula says, and are open as often as their distribution says."""

import math

import numpy as np
import pytest
import torch

from attribution.masks.hard_concrete import chance_open, gates

FLOAT = torch.float64
LOG_ALPHA = (-6.0, -2.5, -1.0, 0.0, 0.7, 3.0)


def by_hand(log_alpha: float, u: float) -> float:
    """The gate of one node from the formula, with the constants of the paper."""
    s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / (2 / 3)))
    return min(1.0, max(0.0, s * 1.2 - 0.1))


def test_gates_are_those_of_the_formula() -> None:
    for u in (0.001, 0.2, 0.5, 0.83, 0.999):
        found = gates(torch.tensor(LOG_ALPHA, dtype=FLOAT), torch.full((len(LOG_ALPHA),), u, dtype=FLOAT))
        assert found.tolist() == pytest.approx([by_hand(a, u) for a in LOG_ALPHA], abs=1e-12)


def test_the_chance_that_a_gate_is_open_is_the_share_of_draws_in_which_it_is() -> None:
    draws = 40_000
    log_alpha = torch.tensor(LOG_ALPHA, dtype=FLOAT)
    uniform = torch.from_numpy(np.random.default_rng(0).uniform(1e-9, 1 - 1e-9, draws * len(LOG_ALPHA)))
    found = gates(log_alpha.repeat(draws), uniform).unflatten(0, (draws, -1))
    expected = chance_open(log_alpha)
    assert (found > 0).double().mean(0).tolist() == pytest.approx(expected.tolist(), abs=4 * 0.5 / math.sqrt(draws))
    assert ((found == 0) | (found == 1)).double().mean() > 0.5, "most gates are open or closed"


def test_the_chance_is_the_distribution_function_at_which_the_gate_leaves_zero() -> None:
    """P(λ > 0) = 1 − the u at which s · 1.2 − 0.1 is 0, that is s = 1/12."""
    chances = chance_open(torch.tensor(LOG_ALPHA, dtype=FLOAT)).tolist()
    for a, chance in zip(LOG_ALPHA, chances, strict=True):
        leaves = 1 / (1 + math.exp(-(math.log((1 / 12) / (11 / 12)) * (2 / 3) - a)))
        assert by_hand(a, leaves * (1 - 1e-6)) == 0
        assert by_hand(a, leaves + 1e-3 * (1 - leaves)) > 0
        assert chance == pytest.approx(1 - leaves, abs=1e-12)
