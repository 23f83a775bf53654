"""How fast chord IG's residual falls, stretch by stretch, and what a tolerance buys."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.chord.chord_integrated_gradients import chord_attribution, chord_integrated_gradients
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, JumpReLU, Normalisation
from attribution.effects.quadrature import Quadrature, gauss_legendre, midpoint
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import zero
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from tests.worlds.chord_worlds import KINDS, MIXED, PAIRS, gross, random_world
from tests.worlds.tiny_models import BOS, PLAIN_SITES, World

MODES = ["path", "zero", "live"]


def chord(world: World, mode: ErrorMode, points: Quadrature, **more: Any) -> ChordAttribution:
    return chord_attribution(world.spliced, PAIRS, logit_difference, error_mode=mode, points=points, **more)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    sites=st.dictionaries(st.sampled_from(PLAIN_SITES), st.sampled_from(KINDS), min_size=1, max_size=4),
    mode=st.sampled_from(MODES),
)
def test_residuals_of_stretches_add_up_to_that_of_the_whole(
    seed: int, sites: Mapping[str, type[SAE]], mode: ErrorMode
) -> None:
    found = chord(random_world(seed, sites), mode, gauss_legendre(2))
    assert found.effects.residual is not None
    assert np.abs(found.effects.residual).max() > 1e-9, "two points leave something"
    largest = max(gross(found, example) for example in range(len(PAIRS)))
    np.testing.assert_allclose(found.stretch_residual.sum(1), found.effects.residual, rtol=0, atol=1e-12 * largest)


def largest_residual(world: World, points: Quadrature, mode: ErrorMode) -> float:
    found = chord(world, mode, points)
    assert found.effects.residual is not None
    return float(np.abs(found.effects.residual / found.effects.total_effect).max())


@pytest.mark.parametrize("mode", MODES)
def test_residual_falls_at_the_rate_of_the_rule_although_gates_flip(mode: ErrorMode) -> None:
    world = random_world(1, MIXED)
    assert len(chord(world, "path", midpoint(1)).ledger) > 20
    coarse, fine, finest = (largest_residual(world, midpoint(q), mode) for q in (6, 12, 24))
    assert coarse > 1e-5
    assert coarse / fine == pytest.approx(4, rel=0.15)
    assert fine / finest == pytest.approx(4, rel=0.05)
    gauss = [largest_residual(world, gauss_legendre(q), mode) for q in (2, 4, 8, 16)]
    assert gauss[1] < 0.3 * largest_residual(world, midpoint(4), mode)
    assert gauss[2] < 0.05 * gauss[1]
    assert gauss[3] < 0.01 * gauss[2]


def test_plain_ig_does_not_converge_where_chord_ig_does() -> None:
    world = random_world(1, MIXED)
    plain = [
        input_path_integrated_gradients(world.spliced, PAIRS, logit_difference, points=midpoint(q)).residual
        for q in (10, 40)
    ]
    for residual in plain:
        assert residual is not None
        assert np.abs(residual).max() > 0.1
    assert largest_residual(world, gauss_legendre(16), "path") < 1e-6


def test_a_tolerance_adds_points_only_to_rows_of_stretches_that_need_them() -> None:
    """The metric's stretch comes first, with a seed that no points change: there the rule is checked exactly."""
    world = random_world(1, MIXED)
    rules = (2, 4, 8, 16, 32, 64)
    plain = {q: chord(world, "path", gauss_legendre(q)) for q in rules}
    used: set[int] = set()
    for rtol in np.geomspace(1e-2, 1e-7, 9):
        found = chord(world, "path", gauss_legendre(2), rtol=float(rtol))
        assert found.stretches[-1] == "metric"
        allowed = rtol * np.abs(found.effects.total_effect) / len(found.stretches)
        for row, points in enumerate(found.stretch_points[:, -1]):
            enough = [abs(plain[q].stretch_residual[row, -1]) <= allowed[row] for q in rules]
            assert points == rules[enough.index(True)]
        assert found.converged is not None
        assert found.converged.all()
        assert (np.abs(found.stretch_residual) <= allowed[:, None]).all()
        used |= set(found.stretch_points.ravel().tolist())
    assert len(used) > 3


def test_under_a_tolerance_each_pair_of_a_batch_gets_what_it_gets_alone(llama_world: World) -> None:
    """Different rows need finer rules in different stretches; no row may take another row's multipliers."""
    draw = np.random.default_rng(0)
    prompts = [draw.integers(6, 24, size=(2, 3)).tolist() for _ in range(6)]
    pairs = PromptPairs(tuple(PromptPair((BOS, *clean), (BOS, *patch), 4, 5) for clean, patch in prompts))
    for rtol in (1e-2, 1e-4):
        together, alone = (
            chord_attribution(
                llama_world.spliced, pairs, logit_difference, points=gauss_legendre(2), rtol=rtol, batch_size=size
            )
            for size in (6, 1)
        )
        assert len(np.unique(together.stretch_points)) > 1
        np.testing.assert_array_equal(together.stretch_points, alone.stretch_points)
        largest = np.abs(alone.effects.effect).max()
        np.testing.assert_allclose(together.effects.effect, alone.effects.effect, rtol=0, atol=1e-9 * largest)


def test_an_easy_tolerance_changes_nothing() -> None:
    world = random_world(1, MIXED)
    with_it, without = chord(world, "path", gauss_legendre(8), rtol=10.0), chord(world, "path", gauss_legendre(8))
    assert (with_it.stretch_points == 8).all()
    assert (without.stretch_points == 8).all()
    np.testing.assert_array_equal(with_it.effects.effect, without.effects.effect)
    assert (without.rtol, without.converged) == (None, None)


@pytest.mark.parametrize("mode", MODES)
def test_converged_means_that_the_sources_add_up_to_the_tolerance(mode: ErrorMode) -> None:
    for rtol in (1e-2, 1e-6):
        found = chord(random_world(5, MIXED), mode, midpoint(3), rtol=rtol)
        assert found.converged is not None
        assert found.effects.residual is not None
        kept = np.abs(found.stretch_residual).sum(1) <= rtol * np.abs(found.effects.total_effect)
        np.testing.assert_array_equal(found.converged, kept)
        assert (np.abs(found.effects.residual) <= rtol * np.abs(found.effects.total_effect))[found.converged].all()
        assert found.converged.all() == (rtol == 1e-2), "midpoint(48) is the finest, and 1e-6 is beyond it"
        assert found.stretch_points.max() == (48 if rtol == 1e-6 else found.stretch_points.max())


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_what_a_normalisation_loses_is_in_the_residual_too(normalisation: Normalisation) -> None:
    """Everything between the sites is linear, so the midpoint rule errs only in the SAE's own normalisation."""
    world = random_world(2, {"blocks.0.hook_resid_post": JumpReLU}, bend=lambda x: 0.7 * x)
    sae = replace(world.saes["blocks.0.hook_resid_post"], normalisation=normalisation)
    world = World(world.model, {"blocks.0.hook_resid_post": sae})
    found = chord(world, "path", midpoint(2))
    assert found.effects.residual is not None
    assert np.abs(found.effects.residual).min() > 1e-6
    np.testing.assert_allclose(found.stretch_residual[:, 0], found.effects.residual, rtol=1e-6)
    strict = chord(world, "path", midpoint(2), rtol=1e-9)
    assert strict.converged is not None
    assert not strict.converged.any()


def test_a_tolerance_beyond_the_precision_is_not_said_to_be_met() -> None:
    world = random_world(1, MIXED)
    coarse = copy.deepcopy(world.model)
    coarse.module.float()
    spliced = SplicedModel(coarse, world.saes, dtype=torch.float32)
    found = chord_attribution(spliced, PAIRS, logit_difference, rtol=1e-14)
    assert found.converged is not None
    assert not found.converged.any()
    assert found.stretch_points.max() == 80
    assert np.abs(found.stretch_residual).max() < 1e-3
    fair = chord_attribution(spliced, PAIRS, logit_difference, rtol=1e-4)
    assert fair.converged is not None
    assert fair.converged.all()


def test_points_never_exceed_the_most_and_never_fall_below_what_was_asked() -> None:
    world = random_world(1, MIXED)
    for count, most in ((30, 60), (50, 50), (100, 100)):
        found = chord(world, "path", midpoint(count), rtol=1e-12)
        assert (found.stretch_points.min(), found.stretch_points.max()) == (count, most)
        assert found.converged is not None
        assert not found.converged.any()


def test_bad_arguments_are_clear_errors() -> None:
    world = random_world(1, {PLAIN_SITES[0]: KINDS[1]})
    for rtol in (0.0, -1e-3, math.nan):
        with pytest.raises(ValueError, match=f"rtol must be positive; got {rtol}"):
            chord(world, "path", midpoint(2), rtol=rtol)
    for slope_cap in (0.5, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"slope_cap must be at least 1, .*; got {slope_cap}"):
            chord(world, "path", midpoint(2), slope_cap=slope_cap)
    with pytest.raises(ValueError, match="Chord IG needs a patch prompt to walk to; patch value 'zero' has none"):
        chord(world, "path", midpoint(2), patch_value=zero)
    with pytest.raises(ValueError, match="chord_integrated_gradients cannot be measured in error mode 'frozen'"):
        chord(world, "frozen", midpoint(2))
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        chord(world, "path", midpoint(2), batch_size=0)


def test_effects_alone_are_those_of_the_whole_answer() -> None:
    world = random_world(1, MIXED)
    alone = chord_integrated_gradients(world.spliced, PAIRS, logit_difference, points=midpoint(2))
    np.testing.assert_array_equal(alone.effect, chord(world, "path", midpoint(2)).effects.effect)
    assert alone.method == "chord_integrated_gradients"


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    chord(random_world(1, MIXED), "path", midpoint(1), batch_size=2, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
