"""Chord IG where every number has a closed form: one gate, two gates, and the example to which plain IG is blind.

The model passes its embedding on unchanged and reads m = readout · x off the last residual stream, so that the gates
alone decide every number.
"""

import math
from typing import Any

import numpy as np
import pytest

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre, midpoint
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.splice.spliced_model import TOKENS, ErrorMode
from tests.worlds.chord_worlds import KINDS, ONE_TOKEN, hand_made, reader, sum_of, through_model, vector
from tests.worlds.tiny_models import World

FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
X, Y, Z = vector(1), vector(0, 1), vector(0, 0, 1)
ONE_POINT = gauss_legendre(1)
"""Between gates all is linear: one point is exact."""


def chord(world: World, mode: ErrorMode, cap: float = 4.0, *, split: bool = False) -> ChordAttribution:
    return chord_attribution(
        world.spliced, ONE_TOKEN, logit_difference, error_mode=mode, points=ONE_POINT, slope_cap=cap, split=split
    )


def of(effects: Effects, site: str, kind: str = "feature", index: int | None = None, values: Any = None) -> float:
    """Sum of a column, by default the effects, over the nodes of one kind at one site."""
    chosen = effects.at(site) & effects.of_kind(kind)
    if index is not None:
        chosen &= effects.index == index
    return float((effects.effect if values is None else values)[chosen].sum())


GATES: dict[str, tuple[type[SAE], dict[str, Any], float, float, float, float, float]] = {
    # kind, its tensors, p clean, p patch, f patch (clean is 0), v clean, slope dv/dp of an open gate
    "jumprelu": (JumpReLU, {"b_enc": [0.1], "threshold": [0.5]}, 0.2, 0.5, 0.6, 0.3, 1),
    "batchtopk": (BatchTopK, {"b_enc": [0.1], "threshold": [0.5]}, 0.2, 0.5, 0.6, 0.3, 1),
    "prolu": (ProLU, {"b_enc": [-0.4]}, 0.3, 0.6, 0.6, 0.3, 1),
    "gated": (Gated, {"b_gate": [-0.4], "b_mag": [0.2], "r_mag": [math.log(2)]}, 0.3, 0.5, 1.2, 0.8, 2),
}


@pytest.mark.parametrize("cap", [1.0, 1.5, 4.0, math.inf])
@pytest.mark.parametrize("name", GATES)
def test_one_gate_that_opens(name: str, cap: float) -> None:
    """m = 5 · 3 f in `zero` mode: total 15 f_p; J = 15 (v_c + v_p)/2; the token gets min(f_p/Δp, cap) · Δp of it."""
    kind, tensors, p_c, p_p, f_p, v_c, unit = GATES[name]
    model = through_model(vector(p_c), vector(p_p), 5 * Y)
    found = chord(hand_made(model, {FIRST: reader(kind, [X], [3 * Y], **tensors)}), "zero", cap)
    flow = min(f_p, cap * unit * (p_p - p_c))
    assert found.effects.total_effect.tolist() == pytest.approx([15 * f_p])
    assert of(found.effects, FIRST) == pytest.approx(15 * f_p)
    assert of(found.effects, TOKENS, "token") == pytest.approx(15 * flow)
    assert found.ledger.opened.tolist() == [True]
    assert found.ledger.contribution.tolist() == pytest.approx([15 * (v_c + f_p) / 2])
    assert found.ledger.undivided.tolist() == pytest.approx([15 * (f_p - flow)], abs=1e-12)
    assert found.ledger.share.tolist() == pytest.approx([(v_c + f_p) / 2 / f_p])


@pytest.mark.parametrize("name", GATES)
def test_one_gate_that_closes_under_path_errors(name: str) -> None:
    """m = 5 · x₁ whatever the SAE does: the error cancels what the feature writes, 3 f. The token feeds both."""
    kind, tensors, p_p, p_c, f_c, v_p, unit = GATES[name]
    model = through_model(vector(p_c, 0.5), vector(p_p, 2), 5 * Y)
    found = chord(hand_made(model, {FIRST: reader(kind, [X], [3 * Y], **tensors)}), "path")
    flow = max(-f_c, 4 * unit * (p_p - p_c))
    assert found.effects.total_effect.tolist() == pytest.approx([5 * 1.5])
    assert of(found.effects, FIRST) == pytest.approx(-15 * f_c)
    assert of(found.effects, FIRST, "error") == pytest.approx(5 * (1.5 + 3 * f_c))
    assert of(found.effects, TOKENS, "token") == pytest.approx(15 * flow)
    assert found.ledger.opened.tolist() == [False]
    assert found.ledger.contribution.tolist() == pytest.approx([-15 * (v_p + f_c) / 2])
    assert found.ledger.undivided.tolist() == pytest.approx([-15 * f_c - 15 * flow], abs=1e-12)


def test_one_relu_that_crosses_its_kink_is_in_no_ledger() -> None:
    """z from −0.2 to 0.6: the secant 0.6 / 0.8 carries all of 15 · 0.6."""
    model = through_model(vector(0.1), vector(0.9), 5 * Y)
    found = chord(hand_made(model, {FIRST: reader(ReLU, [X], [3 * Y], b_enc=[-0.3])}), "zero")
    assert [of(found.effects, FIRST), of(found.effects, TOKENS, "token")] == pytest.approx([9] * 2)
    assert len(found.ledger) == 0


def test_topk_swaps_one_feature_for_another() -> None:
    """k = 1, z (2, 1) → (2, 3), writes 3 and 7: m = 5 (3 · 2) → 5 (7 · 3). Slopes 2 and 2.5, t from 1.5 to 2.5.

    M(f) = (15, 35): jumps 15 · −2 and 35 · 2; of Δf₁ = 3, ½ Δp = 1 is the value's and 2 the gate's.
    M(p) = (15 · 2 − ½ S, 35 · 2.5 − ½ S), S = 15 · 2 + 35 · 2: only p₁ moves, by 2.
    """
    model = through_model(vector(2, 1), vector(2, 3), 5 * Z)
    sae = reader(TopK, [X, Y], [3 * Z, 7 * Z], b_enc=[0.0, 0.0], k=1)
    found = chord(hand_made(model, {FIRST: sae}), "zero")
    assert found.effects.total_effect.tolist() == pytest.approx([105 - 30])
    assert [of(found.effects, FIRST, index=n) for n in (0, 1)] == pytest.approx([-30, 105])
    assert found.ledger.opened.tolist() == [False, True]
    assert found.ledger.contribution.tolist() == pytest.approx([-30, 70])
    assert found.ledger.undivided.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert of(found.effects, TOKENS, "token") == pytest.approx(2 * (35 * 2.5 - 50))


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("mode", ["zero", "path"])
def test_a_second_gate_is_flipped_through_the_first(name: str, mode: ErrorMode) -> None:
    """First: z from 0.3 to 0.7, θ = 0.5, f₁ from 0 to 0.7, moves p₂ from p_c to p_p. Then f₂ from 0 to f, m = 15 f₂.

    M(f₂) = 15;  M(f₁) = 15 · s₂ (p_p − p_c) / 0.7;  s₂ the capped secant;  a₂ = ½ · slope: its smooth part
    In `path` mode the embeddings carry what the reconstructions carry, so that errors play no part.
    """
    kind, tensors, p_c, p_p, f, v_c, unit = GATES[name]
    step = p_p - p_c
    b = {n: [t[0] + p_c] if n in ("b_enc", "b_gate") and kind is not ProLU else t for n, t in tensors.items()}
    if kind is Gated:
        b["b_mag"] = [tensors["b_mag"][0] + unit * p_c]
    offset = p_c if kind is ProLU else 0.0
    # y₁ = offset + f₁ · step / 0.7 along Y; the offset is a feature that is always on.
    first = reader(
        JumpReLU, [X, vector(0, 0, 0, 1)], [step / 0.7 * Y, offset * Y], b_enc=[0.0, 0.0], threshold=[0.5, 0.5]
    )
    second = reader(kind, [Y], [3 * Z], **b)
    model = through_model(vector(0.3, offset, 0, 1), vector(0.7, offset + step, 3 * f, 1), 5 * Z)
    found = chord(hand_made(model, {FIRST: first, SECOND: second}), mode, split=True)
    s = min(f / step, 4 * unit)
    m_1 = 15 * s * step / 0.7
    assert found.smooth is not None
    assert found.effects.total_effect.tolist() == pytest.approx([15 * f])
    assert [of(found.effects, site) for site in (FIRST, SECOND)] == pytest.approx([0.7 * m_1, 15 * f])
    assert of(found.effects, TOKENS, "token") == pytest.approx(0.7 * m_1)
    assert sum_of(found, 0, "error", (FIRST, SECOND)) == pytest.approx(0, abs=1e-12)
    assert found.ledger.site.tolist() == [0, 1]
    assert found.ledger.contribution.tolist() == pytest.approx([0.5 * m_1, 15 * (v_c + f) / 2])
    assert found.ledger.undivided.tolist() == pytest.approx([0, 15 * (f - s * step)], abs=1e-12)
    smooth_1 = 15 * 0.5 * unit * step / 0.7
    assert of(found.effects, SECOND, values=found.smooth) == pytest.approx(15 * f), "behind it lies no gate"
    assert of(found.effects, FIRST, values=found.smooth) == pytest.approx(0.7 * smooth_1)
    assert of(found.effects, TOKENS, "token", values=found.smooth) == pytest.approx(0.4 * 0.5 * smooth_1)


def textbook(kind: type[SAE]) -> World:
    """x from 0 to 1 passes a feature that is always open, then JumpReLU(x; θ) or ReLU(x − θ), θ = 0.37; m = 15 f₂."""
    theta: dict[str, Any] = {"b_enc": [0.0], "threshold": [0.37]} if kind is JumpReLU else {"b_enc": [-0.37]}
    saes = {FIRST: reader(ReLU, [X], [X], b_enc=[1.0]), SECOND: reader(kind, [X], [3 * Z], **theta)}
    return hand_made(through_model(vector(0), vector(1), 5 * Z), saes)


@pytest.mark.parametrize("count", [1, 5, 50, 100])
def test_plain_ig_cannot_tell_a_jump_from_a_kink(count: int) -> None:
    """Upstream of the gate, plain IG meets derivatives only: 15 · [x(α_k) > θ] for both encoders, at every point.

    The same gates are open at the same points with the same slope 1, so the numbers are equal to the last bit, at any
    number of points: 15 · (share of points beyond θ). What tells the two apart, the jump by θ, lies between points.
    """
    jump, kink = (
        input_path_integrated_gradients(textbook(kind).spliced, ONE_TOKEN, logit_difference, points=midpoint(count))
        for kind in (JumpReLU, ReLU)
    )
    beyond = sum((k + 0.5) / count > 0.37 for k in range(count)) / count
    for site, node in ((FIRST, "feature"), (TOKENS, "token")):
        assert of(jump, site, node) == of(kink, site, node) == pytest.approx(15 * beyond)
    assert jump.residual is not None
    assert kink.residual is not None
    assert abs(kink.residual[0]) <= 15 / count, "the kink's is the quadrature's"
    assert abs(jump.residual[0]) >= 15 * 0.37 - 15 / count, "the jump's is the jump"


def test_exact_patching_and_chord_ig_tell_a_jump_from_a_kink() -> None:
    """Patching the first feature moves m by 15 · 1 or by 15 · (1 − θ); chord IG says the same, and is complete."""
    for kind, expected in ((JumpReLU, 15.0), (ReLU, 15 * 0.63)):
        world = textbook(kind)
        exact = exact_patching(world.spliced, ONE_TOKEN, logit_difference, error_mode="frozen")
        found = chord(world, "path")
        assert of(exact, FIRST) == pytest.approx(expected)
        assert [of(found.effects, FIRST), of(found.effects, TOKENS, "token")] == pytest.approx([expected] * 2)
        assert found.effects.residual is not None
        np.testing.assert_allclose(found.effects.residual, 0, atol=1e-12)
        assert len(found.ledger) == (1 if kind is JumpReLU else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_gates_that_do_not_flip_leave_chord_ig_equal_to_exact_patching(kind: type[SAE]) -> None:
    """Everything is linear and no gate flips: one feature's effect is 15 · Δp · slope, for every kind of encoder."""
    tensors: dict[type[SAE], dict[str, Any]] = {
        ReLU: {"b_enc": [1.0, 1.0]},
        JumpReLU: {"b_enc": [1.0, 1.0], "threshold": [0.5, 0.5]},
        BatchTopK: {"b_enc": [1.0, 1.0], "threshold": [0.5, 0.5]},
        Gated: {"b_gate": [1.0, 1.0], "b_mag": [1.0, 1.0], "r_mag": [0.0, 0.0]},
        ProLU: {"b_enc": [-0.1, -0.1]},
        TopK: {"b_enc": [1.0, -5.0], "k": 1},
    }
    sae = reader(kind, [X, Y], [3 * Z, 4 * Z], **tensors[kind])
    world = hand_made(through_model(vector(0.2), vector(0.6), 5 * Z), {FIRST: sae})
    found = chord(world, "zero")
    exact = exact_patching(world.spliced, ONE_TOKEN, logit_difference, error_mode="zero")
    assert [of(found.effects, FIRST), of(found.effects, TOKENS, "token")] == pytest.approx([15 * 0.4] * 2)
    np.testing.assert_allclose(found.effects.effect, exact.effect, atol=1e-12)
    assert len(found.ledger) == 0
