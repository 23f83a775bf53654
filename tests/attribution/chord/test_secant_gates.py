"""Secants of single gates, by hand: Δf = a Δp + b Δμ + undivided, for every encoder kind."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attribution.chord.secant_gates import SecantGates, secant_gates
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.dictionaries.kinds.topk_threshold import threshold_shares
from tests.twins import chord_twin

FULL = torch.ones(1, 1, dtype=torch.bool)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def sae_of(kind: type[SAE], d_sae: int = 1, **tensors: Any) -> SAE:
    """An SAE that reads its features off the first entries of x."""
    eye = torch.eye(d_sae, dtype=torch.float64)
    rest: dict[str, Any] = {n: v if n == "k" else torch.tensor(v, dtype=torch.float64) for n, v in tensors.items()}
    return kind(W_enc=eye, W_dec=eye, b_dec=torch.zeros(d_sae, dtype=torch.float64), **rest)


def secants(sae: SAE, clean: Tensor, patch: Tensor, cap: float = math.inf) -> SecantGates:
    f_c, f_p = (features(sae, p) for p in (clean, patch))
    return secant_gates(sae, clean, patch, f_c, f_p, cap)


def features(sae: SAE, p: Tensor) -> Tensor:
    value, margin = sae.value_and_margin(p)
    return value if margin is None else torch.where(margin > 0, value, 0)


JUMPRELU = sae_of(JumpReLU, b_enc=[0.1], threshold=[0.5])
"""z = p + 0.1, open above 0.5."""

BY_HAND: list[tuple[str, SAE, float, float, float, float, float]] = [
    # name, SAE, p_c, p_p, value slope a, gate slope b, jump v̄ Δg
    ("relu across its kink", sae_of(ReLU, b_enc=[-0.2]), -0.8, 1.2, 0.5, 0, 0),
    ("jumprelu opens", JUMPRELU, 0.1, 0.7, 0.5, 0.5 / 0.6, 0.5),
    ("jumprelu closes", JUMPRELU, 0.7, 0.1, 0.5, 0.5 / 0.6, -0.5),
    ("jumprelu stays open", JUMPRELU, 0.7, 0.9, 1, 0, 0),
    ("jumprelu stays closed", JUMPRELU, 0.1, 0.3, 0, 0, 0),
    ("jumprelu opens from below 0", JUMPRELU, -0.9, 1.1, 0.5 * 0.6, 0.6 / 2, 0.6),
    ("batchtopk opens", sae_of(BatchTopK, b_enc=[0.1], threshold=[0.5]), 0.1, 0.7, 0.5, 0.5 / 0.6, 0.5),
    ("prolu opens", sae_of(ProLU, b_enc=[-0.4]), 0.2, 0.6, 0.5, 1, 0.4),
    ("prolu with b >= 0 is a ReLU", sae_of(ProLU, b_enc=[0.4]), 0.2, 0.6, 1, 0, 0),
    (
        "gated opens with slope 2 and value 0.8, 1.6",
        sae_of(Gated, b_gate=[-0.4], b_mag=[0.4], r_mag=[math.log(2)]),
        0.2,
        0.6,
        0.5 * 2,
        1.2 / 0.4,
        1.2,
    ),
]


@pytest.mark.parametrize(
    ("sae", "clean", "patch", "a", "b", "jump"), [c[1:] for c in BY_HAND], ids=[c[0] for c in BY_HAND]
)
def test_uncapped_secants_are_those_worked_out_by_hand(
    sae: SAE, clean: float, patch: float, a: float, b: float, jump: float
) -> None:
    gates = secants(sae, row(clean), row(patch))
    assert gates.value_slope.item() == pytest.approx(a)
    assert gates.gate_slope.item() == pytest.approx(b)
    assert gates.jump.item() == pytest.approx(jump)
    assert gates.undivided.item() == pytest.approx(0, abs=1e-15)
    assert gates.opened.item() == (jump > 0) - (jump < 0)
    assert gates.threshold_shares is None


def test_the_cap_leaves_what_it_cuts_off_as_undivided() -> None:
    """p from 0.35 to 0.45: Δf = 0.55 over 0.1, a slope of 5.5, of which 4 (or 2) are kept."""
    for cap, kept in ((4.0, 0.4), (2.0, 0.2), (1.0, 0.1), (6.0, 0.55)):
        gates = secants(JUMPRELU, row(0.35), row(0.45), cap)
        assert (gates.value_slope + gates.gate_slope).item() * 0.1 == pytest.approx(kept)
        assert gates.undivided.item() == pytest.approx(0.55 - kept)


def test_the_cap_counts_in_slopes_of_an_open_gate() -> None:
    """A gated feature that is three times as steep may have a secant of 4 · 3."""
    sae = sae_of(Gated, b_gate=[-0.4], b_mag=[0.4], r_mag=[math.log(3)])
    gates = secants(sae, row(0.399), row(0.401), 4.0)
    assert (gates.value_slope + gates.gate_slope).item() == pytest.approx(12)


def test_a_gate_that_flips_on_a_margin_within_rounding_stays_finite() -> None:
    for gap in (1e-9, 1e-15, 5e-324):
        gates = secants(JUMPRELU, row(0.4 - gap), row(0.4 + 1e-16), 4.0)
        assert torch.isfinite(gates.gate_slope).all()
        assert gates.gate_slope.item() <= 4.0
    moved = secant_gates(JUMPRELU, row(0.4), row(0.4), row(0.0), row(0.5), 4.0)
    assert moved.undivided.item() == moved.jump.item() == pytest.approx(0.5), "no p moved: all of the jump stays"


@pytest.mark.parametrize("kind", ["relu", "jumprelu"])
def test_a_feature_at_rest_passes_on_inputs_whose_changes_cancel(kind: str) -> None:
    sae = JUMPRELU if kind == "jumprelu" else sae_of(ReLU, b_enc=[0.0])
    open_one, shut_one = (secants(sae, row(p), row(p)) for p in (0.7, -0.7))
    assert (open_one.value_slope.item(), shut_one.value_slope.item()) == (1, 0), "the slope is the derivative there"
    assert open_one.gate_slope.item() == open_one.undivided.item() == 0


def test_the_smooth_sweep_leaves_out_the_gates_flow_and_nothing_else() -> None:
    gates = secants(JUMPRELU, row(0.1), row(0.7))
    both = gates.pull_back(row(2.0).expand(2, 1, 1), torch.tensor([True, False])[:, None, None])
    assert both.flatten().tolist() == pytest.approx([2 * (0.5 + 0.5 / 0.6), 2 * 0.5])


def test_topk_swap_by_hand() -> None:
    """k = 1: z (2, 1) becomes (2, 3). t goes from 1.5 to 2.5: each feature is k-th or (k+1)-th all along."""
    sae = sae_of(TopK, 2, b_enc=[0.0, 0.0], k=1)
    gates = secants(sae, row(2, 1), row(2, 3))
    assert gates.threshold_shares is not None
    assert gates.threshold_shares.tolist() == [[0.5, 0.5]]
    assert gates.jump.tolist() == [[-2.0, 2.0]]
    assert gates.value_slope.tolist() == [[0.0, 0.5]]
    assert gates.gate_slope.tolist() == [[2.0, 2.0]], "2 over a change of margin of −1 and of +1"
    multiplier = row(1.0, 10.0)
    flow = gates.pull_back(multiplier, FULL)
    assert flow.tolist() == [[2 - 0.5 * 22, 5 + 20 - 0.5 * 22]]
    assert (flow * (row(2, 3) - row(2, 1))).sum().item() == pytest.approx(1 * -2 + 10 * 3)


def test_topk_with_every_feature_chosen_has_no_gate() -> None:
    gates = secants(sae_of(TopK, 2, b_enc=[0.0, 0.0], k=2), row(2, -1), row(-2, 3))
    assert gates.threshold_shares is None
    assert not gates.opened.any()
    assert gates.value_slope.tolist() == [[0.5, 0.75]]


FEW = st.lists(st.floats(-2, 2, width=16), min_size=6, max_size=6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(FEW, FEW, st.integers(1, 5))
def test_threshold_shares_give_back_the_change_of_the_threshold(clean: list[float], patch: list[float], k: int) -> None:
    """Also with ties, which numbers of few bits have."""
    z_c, z_p = row(*clean), row(*patch)
    shares = threshold_shares(z_c, z_p, k)
    t_c, t_p = (z.sort(descending=True).values[0, k - 1 : k + 1].mean() for z in (z_c, z_p))
    assert float((shares * (z_p - z_c)).sum()) == pytest.approx(float(t_p - t_c), abs=1e-9)
    assert float(shares.sum()) == pytest.approx(1)
    assert float(shares.min()) >= -1e-12


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_threshold_shares_equal_those_of_all_crossings_tried(seed: int, k: int) -> None:
    z_c, z_p = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(
        threshold_shares(z_c, z_p, k), chord_twin.threshold_moves(z_c, z_p, k), rtol=0, atol=1e-9
    )


def random_sae(kind: type[SAE], draw: torch.Generator) -> SAE:
    def normal() -> list[float]:
        return torch.randn(6, generator=draw).tolist()

    rest: dict[type[SAE], dict[str, Any]] = {
        ReLU: {"b_enc": normal()},
        JumpReLU: {"b_enc": normal(), "threshold": [abs(v) for v in normal()]},
        BatchTopK: {"b_enc": normal(), "threshold": [0.7] * 6},
        Gated: {"b_gate": normal(), "b_mag": normal(), "r_mag": normal()},
        ProLU: {"b_enc": normal()},
        TopK: {"b_enc": normal(), "k": 2},
    }
    return sae_of(kind, 6, **rest[kind])


@pytest.mark.parametrize("kind", [ReLU, JumpReLU, BatchTopK, Gated, ProLU, TopK])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), cap=st.sampled_from([1.0, 1.7, 4.0, math.inf]), tiny=st.booleans())
def test_the_change_of_every_feature_is_divided_exactly(kind: type[SAE], seed: int, cap: float, tiny: bool) -> None:
    """Δf = a Δp + b Δμ + undivided; slopes in [0, s_max · open slope]; the flow in is the effect minus undivided."""
    draw = torch.Generator().manual_seed(seed)
    sae = random_sae(kind, draw)
    clean, step = torch.randn(2, 5, 6, generator=draw, dtype=torch.float64)
    patch = clean + (1e-9 if tiny else 1) * step
    gates = secants(sae, clean, patch, cap)
    (_, margin_c), (_, margin_p) = sae.value_and_margin(clean), sae.value_and_margin(patch)
    moved = torch.zeros_like(clean) if margin_c is None or margin_p is None else margin_p - margin_c
    change = features(sae, patch) - features(sae, clean)
    rebuilt = gates.value_slope * (patch - clean) + gates.gate_slope * moved + gates.undivided
    torch.testing.assert_close(rebuilt, change, rtol=0, atol=1e-12)
    slope = gates.value_slope + gates.gate_slope
    assert (gates.value_slope >= 0).all()
    assert (gates.gate_slope >= 0).all()
    assert (slope <= cap * sae.open_slope() * (1 + 1e-12)).all()
    multiplier = torch.randn(5, 6, generator=draw, dtype=torch.float64)
    inflow = (gates.pull_back(multiplier, FULL) * (patch - clean)).sum()
    torch.testing.assert_close(inflow, (multiplier * (change - gates.undivided)).sum(), rtol=0, atol=1e-9)
    if cap == math.inf:
        torch.testing.assert_close(gates.undivided, torch.zeros_like(change), rtol=0, atol=1e-12)
