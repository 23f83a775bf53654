"""Laws the methods obey: equality on affine models, completeness, convergence, and where they must fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.dictionaries import JumpReLU, ReLU
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre, midpoint
from attribution.methods.activation_difference import activation_difference
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import ErrorMode
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import BOS, PAIRS, World, plain_world

SITE_METHODS = (attribution_patching, integrated_gradients, exact_patching)
ONE = PromptPairs((PAIRS[1],))


def straight(x: torch.Tensor) -> torch.Tensor:
    return 0.7 * x


@pytest.fixture(scope="module")
def affine() -> World:
    return plain_world(straight, always_open=True)


@pytest.fixture(scope="module")
def curved() -> World:
    return plain_world(torch.tanh, always_open=True)


@pytest.fixture(scope="module")
def gated() -> World:
    """Affine but for JumpReLU gates."""
    return plain_world(straight, always_open=False)


def largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_atp_ig_and_exact_agree_on_an_affine_model(affine: World, mode: ErrorMode) -> None:
    exact = exact_patching(affine.spliced, PAIRS, logit_difference, error_mode=mode)
    assert largest(exact.effect) > 0.01
    for method in (attribution_patching, integrated_gradients):
        estimate = method(affine.spliced, PAIRS, logit_difference, error_mode=mode)
        np.testing.assert_array_equal(estimate.index, exact.index)
        np.testing.assert_array_equal(estimate.position, exact.position)
        np.testing.assert_allclose(estimate.effect, exact.effect, rtol=1e-6, atol=1e-9)
    if mode != "frozen":
        walked = input_path_integrated_gradients(affine.spliced, PAIRS, logit_difference, error_mode=mode)
        np.testing.assert_allclose(walked.effect, exact.effect, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_sources_sum_to_the_total_effect_on_an_affine_model(affine: World, mode: ErrorMode) -> None:
    for method in (attribution_patching, exact_patching):
        effects = method(affine.spliced, PAIRS, logit_difference, error_mode=mode)
        assert effects.residual is not None
        assert largest(effects.total_effect) > 0.01
        np.testing.assert_allclose(effects.residual, 0, atol=1e-9)
        sources = effects.of_kind("token")
        if mode == "frozen":
            sources |= effects.of_kind("error")
        for example, total in enumerate(effects.total_effect):
            assert effects.effect[sources & (effects.example == example)].sum() == pytest.approx(total, abs=1e-9)


def test_atp_ig_and_exact_disagree_on_a_curved_model(curved: World) -> None:
    exact, atp, ig = (
        m(curved.spliced, PAIRS, logit_difference).effect
        for m in (exact_patching, attribution_patching, integrated_gradients)
    )
    scale = largest(exact)
    assert largest(atp - exact) > 0.02 * scale
    assert largest(ig - exact) > 0.005 * scale
    assert largest(ig - atp) > 0.02 * scale


def test_atp_and_exact_disagree_where_gates_flip_downstream(gated: World) -> None:
    exact, atp = (
        m(gated.spliced, PAIRS, logit_difference, error_mode="frozen").effect
        for m in (exact_patching, attribution_patching)
    )
    assert largest(atp - exact) > 0.02 * largest(exact)


METHODS_AND_MODES: list[tuple[Callable[..., Effects], ErrorMode]] = [
    *(
        (method, mode)
        for method in (*SITE_METHODS, attribution_patching_star, activation_difference)
        for mode in ("live", "frozen", "zero")
    ),
    *(
        (method, mode)
        for method in (input_path_integrated_gradients, chord_integrated_gradients)
        for mode in ("path", "live", "zero")
    ),
]


@pytest.mark.parametrize(("method", "mode"), METHODS_AND_MODES)
def test_equal_prompts_give_exactly_zero(llama_world: World, method: Callable[..., Effects], mode: ErrorMode) -> None:
    ids = (BOS, 5, 9, 3, 8)
    same = PromptPairs((PromptPair(ids, ids, 4, 7), PromptPair(ids[:3], ids[:3], 4, 7)))
    effects = method(llama_world.spliced, same, logit_difference, error_mode=mode)
    assert len(effects) == 0, "no node changes"
    assert (effects.total_effect == 0).all()
    if effects.residual is not None:
        assert largest(effects.residual) < 1e-12


@pytest.mark.parametrize(("method", "mode"), METHODS_AND_MODES)
def test_nothing_before_the_first_differing_token_has_an_effect(
    llama_world: World, method: Callable[..., Effects], mode: ErrorMode
) -> None:
    effects = method(llama_world.spliced, PAIRS, logit_difference, error_mode=mode)
    assert len(effects) > 100
    for example, pair in enumerate(PAIRS):
        first = next(i for i, (c, p) in enumerate(zip(pair.clean_ids, pair.patch_ids, strict=True)) if c != p)
        assert effects.position[effects.example == example].min() == first


def effect_of_whole_site(world: World, pair: PromptPair, site: str, mode: ErrorMode) -> float:
    """m(all nodes of the site at their patch values) − m(clean), by the twin's forward."""
    c, p = twins.ends(world, pair.clean_ids, pair.patch_ids, mode)

    def m(logits: torch.Tensor) -> float:
        return float(logits[0, pair.answer_id] - logits[0, pair.foil_id])

    with torch.no_grad():
        clean = twins.forward(world, pair.clean_ids, mode, errors=c.e)
        patched = twins.forward(
            world,
            pair.clean_ids,
            mode,
            errors=c.e,
            edit=lambda s, f, e: (p.f[s], p.e[s]) if s == site else (f, e),
            entry=p.entry if site == twins.TOKENS else None,
        )
    return m(patched.logits) - m(clean.logits)


def sum_at(effects: Effects, site: str, example: int) -> float:
    return float(effects.effect[effects.at(site) & (effects.example == example)].sum())


def test_site_path_ig_sums_to_the_effect_of_patching_the_site(world: World) -> None:
    effects = integrated_gradients(world.spliced, PAIRS, logit_difference, points=gauss_legendre(20))
    for example, pair in enumerate(PAIRS):
        for site in effects.sites:
            expected = effect_of_whole_site(world, pair, site, "live")
            assert sum_at(effects, site, example) == pytest.approx(expected, rel=5e-3, abs=5e-3)


def test_site_path_ig_residual_is_that_of_the_worst_site(curved: World) -> None:
    effects = integrated_gradients(curved.spliced, PAIRS, logit_difference, points=midpoint(2))
    assert effects.residual is not None
    for example, pair in enumerate(PAIRS):
        gaps = [
            effect_of_whole_site(curved, pair, site, "live") - sum_at(effects, site, example) for site in effects.sites
        ]
        assert effects.residual[example] == pytest.approx(max(gaps, key=abs), rel=1e-6)


def residuals(method: Callable[..., Effects], world: World, points: Any, **more: Any) -> float:
    effects = method(world.spliced, PAIRS, logit_difference, points=points, **more)
    assert effects.residual is not None
    return largest(effects.residual / effects.total_effect)


def test_midpoint_residual_falls_with_the_square_of_the_points(curved: World) -> None:
    for method, more in ((integrated_gradients, {}), (input_path_integrated_gradients, {"error_mode": "live"})):
        coarse, fine, finest = (residuals(method, curved, midpoint(q), **more) for q in (6, 12, 24))
        assert coarse > 1e-5
        assert coarse / fine == pytest.approx(4, rel=0.1)
        assert fine / finest == pytest.approx(4, rel=0.03)


def test_gauss_legendre_residual_falls_faster_than_any_power(curved: World) -> None:
    for method, more in ((integrated_gradients, {}), (input_path_integrated_gradients, {"error_mode": "live"})):
        by_points = [residuals(method, curved, gauss_legendre(q), **more) for q in (2, 4, 8, 16)]
        assert by_points[1] < 0.1 * residuals(method, curved, midpoint(4), **more)
        assert by_points[2] < 1e-2 * by_points[1]
        assert by_points[3] < 1e-3 * by_points[2]


def test_input_path_ig_is_complete_in_live_mode_whatever_gates_flip(gated: World) -> None:
    effects = input_path_integrated_gradients(gated.spliced, PAIRS, logit_difference, error_mode="live")
    clean, patch = effects.clean, effects.patch
    assert ((clean == 0) != (patch == 0))[effects.of_kind("feature")].any(), "some gates flip"
    assert effects.residual is not None
    np.testing.assert_allclose(effects.residual, 0, atol=1e-9)
    for example, total in enumerate(effects.total_effect):
        assert sum_at(effects, twins.TOKENS, example) == pytest.approx(total, abs=1e-9)


def test_no_number_of_points_completes_the_path_across_a_jump(gated: World) -> None:
    """The control has the same open gates and slopes but no jump; there, more points help."""
    jumps = [residuals(input_path_integrated_gradients, gated, midpoint(q)) for q in (10, 80)]
    assert min(jumps) > 0.3
    without: dict[str, Any] = {}
    for site, sae in gated.saes.items():
        assert isinstance(sae, JumpReLU)
        without[site] = ReLU(
            W_enc=sae.W_enc, W_dec=sae.W_dec, b_dec=sae.b_dec, b_enc=sae.b_enc - sae.threshold, site=site
        )
    control = replace(gated, saes=without)
    smooth = [residuals(input_path_integrated_gradients, control, midpoint(q)) for q in (10, 80)]
    assert smooth[1] < 0.005


def test_features_sum_to_the_total_at_a_site_all_paths_cross(affine: World) -> None:
    """In live mode the last residual stream carries everything that reaches the logits."""
    effects = exact_patching(affine.spliced, PAIRS, logit_difference)
    for example, total in enumerate(effects.total_effect):
        assert sum_at(effects, "blocks.1.hook_resid_post", example) == pytest.approx(total, abs=1e-9)


def test_activation_difference_is_the_size_of_the_change(world: World) -> None:
    effects = activation_difference(world.spliced, ONE, logit_difference)
    c, p = twins.ends(world, PAIRS[1].clean_ids, PAIRS[1].patch_ids, "live")
    features = effects.of_kind("feature")
    np.testing.assert_array_equal(effects.effect[features], np.abs(effects.patch - effects.clean)[features])
    for site, kind, position, effect in zip(effects.site, effects.kind, effects.position, effects.effect, strict=True):
        if kind == 1:
            gap = p.e[effects.sites[site]] - c.e[effects.sites[site]]
        elif kind == 2:
            gap = p.entry - c.entry
        else:
            continue
        assert effect == pytest.approx(float(gap[0, position].norm()), rel=1e-9)
    assert (effects.unit, effects.residual) == ("activation", None)


def test_batching_changes_nothing(llama_world: World) -> None:
    methods: list[tuple[Callable[..., Effects], dict[str, Any]]] = [
        (exact_patching, {"runs_at_once": 7}),
        (input_path_integrated_gradients, {}),
    ]
    for method, more in methods:
        whole = method(llama_world.spliced, PAIRS, logit_difference)
        parts = method(llama_world.spliced, PAIRS, logit_difference, batch_size=1, **more)
        np.testing.assert_allclose(parts.effect, whole.effect, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(parts.total_effect, whole.total_effect, rtol=1e-12)


def test_progress_rises_to_one(llama_world: World) -> None:
    joint = (input_path_integrated_gradients, chord_integrated_gradients)
    for method in (*SITE_METHODS, *joint, activation_difference):
        told: list[float] = []
        method(llama_world.spliced, PAIRS, logit_difference, batch_size=2, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == pytest.approx(1)


def test_a_mode_a_method_does_not_have_is_an_error(affine: World) -> None:
    with pytest.raises(ValueError, match=r"cannot be measured in error mode 'path'. Choose one of: live, frozen, zero"):
        attribution_patching(affine.spliced, PAIRS, logit_difference, error_mode="path")
    with pytest.raises(ValueError, match="cannot be measured in error mode 'frozen'"):
        input_path_integrated_gradients(affine.spliced, PAIRS, logit_difference, error_mode="frozen")


def test_batches_of_nothing_are_an_error(affine: World) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        attribution_patching(affine.spliced, PAIRS, logit_difference, batch_size=0)
    with pytest.raises(ValueError, match="runs_at_once must be at least 1"):
        exact_patching(affine.spliced, PAIRS, logit_difference, runs_at_once=0)


def test_a_token_outside_the_vocabulary_is_an_error(affine: World) -> None:
    beyond = PromptPairs((PromptPair((BOS, 5), (BOS, 99), 4, 7),))
    with pytest.raises(ValueError, match="Pair 0: token id 99 is outside the model's vocabulary of 24"):
        attribution_patching(affine.spliced, beyond, logit_difference)
