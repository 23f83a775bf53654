"""Patches of single nodes and their keys: exact effects of some nodes equal the same rows of all."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects.effects import Effects
from attribution.effects.measurement import SOURCES, Situation, prepare
from attribution.effects.patches import all_patches
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import PARTIAL_LAW, exact_patching
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.splice.node_keys import node_keys
from attribution.splice.patch_values import counterfactual
from attribution.splice.spliced_model import ErrorMode
from tests.twins.node_twins import NodeTwin, every_kind_world, nodes_of
from tests.worlds.tiny_models import PAIRS, World

MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")


@cache
def world() -> World:
    return every_kind_world()


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(world().spliced, PAIRS, logit_difference, error_mode=mode)


def assert_rows(part: Effects, whole: Effects, keys: np.ndarray) -> None:
    expected = whole.subset(np.isin(whole.keys(), keys))
    assert len(part) == len(keys)
    np.testing.assert_array_equal(part.keys(), expected.keys())
    for column in ("clean", "patch"):
        np.testing.assert_allclose(getattr(part, column), getattr(expected, column), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(part.effect, expected.effect, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(part.total_effect, whole.total_effect, rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_exact_effects_of_some_nodes_are_those_rows_of_all(mode: ErrorMode) -> None:
    whole = exact_of(mode)
    rng = np.random.default_rng(0)
    keys = rng.choice(whole.keys(), 40, replace=False)
    part = exact_patching(world().spliced, PAIRS, logit_difference, error_mode=mode, only=keys, runs_at_once=3)
    assert_rows(part, whole, keys)
    assert np.abs(part.effect).max() > 1e-3
    in_parts = exact_patching(world().spliced, PAIRS, logit_difference, error_mode=mode, only=keys, batch_size=1)
    assert_rows(in_parts, whole, keys)


def test_one_node_of_the_last_example_can_be_measured_alone() -> None:
    whole = exact_of("frozen")
    node = int(np.argmax(np.where(whole.example == 2, np.abs(whole.effect), 0)))
    keys = whole.keys()[[node]]
    part = exact_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen", only=keys)
    assert_rows(part, whole, keys)
    twin = NodeTwin(world(), PAIRS[2], "frozen").exact(nodes_of(part)[0])
    assert part.effect[0] == pytest.approx(twin, rel=1e-9)


def test_exact_patching_of_no_node_or_unknown_keys_is_empty() -> None:
    for only in (np.empty(0, np.int64), np.array([7])):
        part = exact_patching(world().spliced, PAIRS, logit_difference, only=only)
        assert len(part) == 0
        assert len(part.total_effect) == len(PAIRS)


def test_effects_of_some_nodes_have_no_residual_of_sources() -> None:
    whole = exact_of("frozen")
    assert whole.residual is not None
    assert whole.residual_law == SOURCES
    only = whole.keys()[:5]
    part = exact_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen", only=only)
    assert part.residual is None
    assert part.residual_law == PARTIAL_LAW
    everything = exact_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen", only=whole.keys())
    assert (everything.residual, everything.residual_law) == (None, PARTIAL_LAW)
    np.testing.assert_allclose(everything.effect, whole.effect, rtol=1e-9, atol=1e-14)


def test_a_subset_of_effects_keeps_the_residual_of_all_of_them() -> None:
    whole = exact_of("frozen")
    part = whole.subset(np.array([0, 3]))
    np.testing.assert_array_equal(part.residual, whole.residual)
    np.testing.assert_array_equal(part.keys(), whole.keys()[[0, 3]])


def test_keys_are_unique_and_the_same_whatever_the_method() -> None:
    keys: dict[int, tuple[Any, ...]] = {}
    measured: tuple[tuple[Callable[..., Effects], ErrorMode], ...] = (
        (exact_patching, "live"),
        (exact_patching, "frozen"),
        (exact_patching, "zero"),
        (attribution_patching, "frozen"),
        (integrated_gradients, "zero"),
        (chord_integrated_gradients, "path"),
    )
    for method, mode in measured:
        effects = method(world().spliced, PAIRS, logit_difference, error_mode=mode, batch_size=2)
        assert len(set(effects.keys().tolist())) == len(effects)
        for key, example, node in zip(effects.keys().tolist(), effects.example, nodes_of(effects), strict=True):
            assert keys.setdefault(key, (int(example), node)) == (int(example), node)
    assert len(set(keys.values())) == len(keys), "no two nodes share a key"
    assert np.array_equal(
        exact_of("frozen").keys(),
        attribution_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen").keys(),
    )


def situation_of(mode: ErrorMode) -> Situation:
    with world().spliced.model.frozen():
        return prepare(world().spliced, PAIRS.batch(), logit_difference, mode, counterfactual)


@pytest.mark.parametrize("mode", MODES)
def test_patches_have_the_keys_of_the_effects(mode: ErrorMode) -> None:
    situation = situation_of(mode)
    keys = np.concatenate([patch.keys(situation) for patch in all_patches(situation)])
    np.testing.assert_array_equal(np.sort(keys), np.sort(exact_of(mode).keys()))
    few = np.sort(keys)[::7]
    chosen = np.concatenate([patch.keys(situation) for patch in all_patches(situation, few)])
    np.testing.assert_array_equal(np.sort(chosen), few)


def test_a_share_of_a_patch_adds_that_share_at_its_place_and_nothing_elsewhere() -> None:
    situation = situation_of("frozen")
    for patch in all_patches(situation):
        chosen = torch.arange(len(patch))[::3]
        clean = situation.clean.entry if patch.site == "hook_embed" else situation.clean.sites[patch.site].output
        share = torch.linspace(0.2, 1.0, len(chosen), dtype=torch.float64)
        added = patch.outputs(situation, chosen, share) - clean.detach()[patch.row[chosen]]
        whole = patch.outputs(situation, chosen) - clean.detach()[patch.row[chosen]]
        torch.testing.assert_close(added, share[:, None, None] * whole, rtol=1e-9, atol=1e-12)
        for n, pos in enumerate(patch.pos[chosen].tolist()):
            assert added[n, pos].abs().max() > 0
            added[n, pos] = 0
        assert not added.any()


LIMITS = {"example": 1 << 16, "site": 1 << 9, "position": 1 << 14, "index": (1 << 22) - 1}


def key_of(**given: int) -> int:
    node = {"example": 0, "site": 0, "position": 0, "kind": 0, "index": 0} | given
    return int(node_keys(**{name: np.array([value]) for name, value in node.items()})[0])


@pytest.mark.parametrize("column", list(LIMITS))
def test_more_nodes_than_keys_can_tell_apart_are_an_error(column: str) -> None:
    assert key_of(**{column: LIMITS[column] - 1}) > 0
    with pytest.raises(ValueError, match=f"Too many nodes to tell apart: the largest {column} is"):
        key_of(**{column: LIMITS[column]})


def test_the_largest_columns_do_not_run_into_each_other() -> None:
    largest = {name: limit - 1 for name, limit in LIMITS.items()}
    keys = {key_of(**largest, kind=2)} | {key_of(**(largest | {name: 0}), kind=2) for name in LIMITS}
    assert len(keys | {key_of(**largest, kind=0)}) == len(LIMITS) + 2
    assert min(keys) > 0, "63 bits are enough"
