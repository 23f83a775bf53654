"""Chord IG equals its slow twin, element by element: effects, smooth parts, ledger, undivided jumps."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.quadrature import Quadrature, gauss_legendre, midpoint
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import kl_divergence, log_probability, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import ErrorMode
from tests.twins import chord_twin
from tests.worlds.tiny_models import BRIDGES, PAIRS, NoBOS, World, saes_on, tiny_model

THREE = gauss_legendre(3)
KINDS = (ReLU, JumpReLU, BatchTopK, Gated, ProLU, TopK)
MODES: tuple[ErrorMode, ...] = ("path", "zero", "live")

ROUND: tuple[str, ...] = (
    "blocks.0.attn.hook_z",
    "blocks.0.hook_attn_out",
    "blocks.0.hook_mlp_out",
    "blocks.0.hook_resid_post",
    "blocks.1.hook_attn_out",
    "blocks.1.hook_mlp_out",
)
"""One site for each encoder kind; inside blocks and between them."""

NORMS = {
    "blocks.0.hook_attn_out": "layer_norm",
    "blocks.0.hook_mlp_out": "constant_norm_rescale",
    "blocks.0.hook_resid_post": "layer_norm",
    "blocks.1.hook_mlp_out": "constant_norm_rescale",
}


@cache
def every_kind(model: LanguageModel, turned: int = 0, *, normalised: bool = False) -> World:
    """A different encoder kind at each site; `turned` shifts the kinds by so many sites."""
    sites: dict[str, type[SAE]] = {site: KINDS[(n + turned) % len(KINDS)] for n, site in enumerate(ROUND)}
    return World(model, saes_on(model, sites, NORMS if normalised else None))


def of_pair(pair: PromptPair) -> chord_twin.Metric:
    return lambda logits: logits[:, pair.answer_id] - logits[:, pair.foil_id]


def dense(chord: ChordAttribution, values: np.ndarray, node: tuple[str, str], example: int, like: Tensor) -> Tensor:
    """A column of the effects as dense arrays, like the twin's; 0 where there is no entry."""
    effects, (site, kind) = chord.effects, node
    laid = torch.zeros_like(like, dtype=torch.float64)
    for n in np.flatnonzero(effects.at(site) & effects.of_kind(kind) & (effects.example == example)):
        place = (effects.position[n], effects.index[n]) if kind == "feature" else (effects.position[n],)
        laid[place] += float(values[n])
    return laid


def assert_close(found: Tensor, expected: Tensor, largest: float, what: object) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * largest, msg=lambda m: f"{what}: {m}")


def assert_ledger(chord: ChordAttribution, example: int, twin: chord_twin.Chord, largest: float) -> int:
    """Assert that the ledger lists exactly the gates that flip, and return their number."""
    ledger, count = chord.ledger, 0
    mine = ledger.example == example
    for number, site in enumerate(ledger.sites):
        here = np.flatnonzero(mine & (ledger.site == number))
        if site not in twin.opened:
            assert len(here) == 0
            continue
        place = ledger.position[here], ledger.index[here]
        for expected, column in (
            (twin.opened, np.where(ledger.opened, 1.0, -1.0)),
            (twin.contribution, ledger.contribution),
            (twin.undivided, ledger.undivided),
        ):
            found = torch.zeros_like(expected[site])
            found[place] = torch.tensor(column[here])
            assert_close(found, expected[site], largest, (site, "ledger"))
        count += len(here)
    return count


def assert_twin(
    world: World,
    pairs: PromptPairs = PAIRS,
    mode: ErrorMode = "path",
    *,
    examples: Sequence[int] = (1, 2),
    points: Quadrature = THREE,
    slope_cap: float = 4.0,
    flips: int = 5,
) -> None:
    """Assert equality, to 1e-6 of the largest entry, for some examples of one batch, each with enough `flips`."""
    chord = chord_attribution(
        world.spliced, pairs, logit_difference, error_mode=mode, points=points, slope_cap=slope_cap, split=True
    )
    assert chord.smooth is not None
    assert chord.effects.residual is not None
    rule = list(zip(points.points, points.weights, strict=True))
    for example in examples:
        pair = pairs[example]
        twin = chord_twin.chord_integrated_gradients(
            world, pair.clean_ids, pair.patch_ids, of_pair(pair), mode, rule, slope_cap
        )
        largest = max(float(v.abs().max()) for v in twin.effect.values())
        assert largest > 1e-3, "the model is too tame to test anything"
        errors = 0 if mode == "zero" else 1
        for node, expected in twin.effect.items():
            kept = errors if node[1] == "error" else 1
            assert_close(dense(chord, chord.effects.effect, node, example, expected), kept * expected, largest, node)
            smooth = kept * twin.smooth[node]
            assert_close(dense(chord, chord.smooth, node, example, expected), smooth, largest, (node, "smooth"))
        found = assert_ledger(chord, example, twin, largest)
        assert found >= (0 if mode == "live" else flips)
        assert chord.effects.residual[example] == pytest.approx(twin.residual(mode), abs=1e-6 * largest)
        assert chord.effects.total_effect[example] == pytest.approx(twin.total, abs=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turned", range(0, len(KINDS), 2))
def test_every_encoder_kind_equals_the_twin(llama: LanguageModel, turned: int, mode: ErrorMode) -> None:
    assert_twin(every_kind(llama, turned), mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turned", [0, 3])
def test_normalised_sites_equal_the_twin(llama: LanguageModel, turned: int, mode: ErrorMode) -> None:
    assert_twin(every_kind(llama, turned, normalised=True), mode=mode)


@pytest.mark.parametrize("slope_cap", [1.0, 1.5, math.inf])
def test_every_slope_cap_equals_the_twin(llama: LanguageModel, slope_cap: float) -> None:
    assert_twin(every_kind(llama, 1, normalised=True), slope_cap=slope_cap)


@pytest.mark.parametrize("kind", BRIDGES)
def test_every_model_shape_and_every_length_equals_the_twin(kind: str) -> None:
    """One batch of three lengths, each example against a twin that never saw padding."""
    assert_twin(every_kind(tiny_model(kind), 1), examples=(0, 1, 2), flips=1)


@pytest.mark.parametrize("mode", ["path", "zero"])
def test_sites_at_the_residual_stream_into_a_block_equal_the_twin(llama: LanguageModel, mode: ErrorMode) -> None:
    sites: dict[str, type[SAE]] = {
        "blocks.0.hook_resid_pre": JumpReLU,
        "blocks.0.hook_mlp_out": Gated,
        "blocks.1.hook_resid_pre": TopK,
        "blocks.1.attn.hook_z": ProLU,
        "blocks.1.hook_resid_post": BatchTopK,
    }
    assert_twin(World(llama, saes_on(llama, sites)), mode=mode)


def test_a_model_that_cannot_resume_equals_the_twin(llama: LanguageModel) -> None:
    world = World(llama, every_kind(llama, 2, normalised=True).saes)
    world.spliced.can_resume = False
    assert_twin(world)
    assert_twin(world, mode="zero", examples=(1,))


def test_a_spliced_first_position_equals_the_twin(llama: LanguageModel) -> None:
    pairs = PromptPairs((PromptPair((0, 6, 2), (9, 6, 2), 3, 13), PromptPair((0, 8), (0, 9), 2, 5)))
    world = every_kind(llama, 1)
    for how in (World(llama, world.saes, splice_bos=True), World(LanguageModel(llama.module, NoBOS()), world.saes)):
        assert_twin(how, pairs, examples=(0, 1), flips=1)


def test_midpoint_rule_equals_the_twin(llama: LanguageModel) -> None:
    assert_twin(every_kind(llama, 3), points=midpoint(4), examples=(2,))


def test_other_metrics_reach_the_twin(llama: LanguageModel) -> None:
    world, pair = every_kind(llama, 1), PAIRS[1]
    with torch.no_grad():
        clean = chord_twin.ends_of(world, pair.clean_ids, "path").logits.softmax(-1)
    by_hand: list[tuple[Any, chord_twin.Metric]] = [
        (log_probability, lambda logits: logits.log_softmax(-1)[:, pair.answer_id]),
        (kl_divergence, lambda logits: (clean * (clean.log() - logits.log_softmax(-1))).sum(-1)),
    ]
    rule = list(zip(THREE.points, THREE.weights, strict=True))
    for metric, number in by_hand:
        chord = chord_attribution(world.spliced, PromptPairs((pair,)), metric, points=THREE)
        twin = chord_twin.chord_integrated_gradients(world, pair.clean_ids, pair.patch_ids, number, "path", rule)
        largest = max(float(v.abs().max()) for v in twin.effect.values())
        for node, expected in twin.effect.items():
            assert_close(dense(chord, chord.effects.effect, node, 0, expected), expected, largest, node)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_unequal_lengths_equals_its_pairs_alone(llama: LanguageModel, mode: ErrorMode) -> None:
    world = every_kind(llama, 1, normalised=True)
    batched, alone = (
        chord_attribution(world.spliced, PAIRS, logit_difference, error_mode=mode, points=THREE, batch_size=size)
        for size in (3, 1)
    )
    for column in ("example", "site", "position", "kind", "index"):
        np.testing.assert_array_equal(getattr(batched.effects, column), getattr(alone.effects, column))
    largest = np.abs(alone.effects.effect).max()
    np.testing.assert_allclose(batched.effects.effect, alone.effects.effect, atol=1e-9 * largest, rtol=0)
    np.testing.assert_allclose(batched.stretch_residual, alone.stretch_residual, atol=1e-9 * largest, rtol=0)
    for chord in (batched, alone):
        assert chord.effects.residual is not None
        left = np.abs(chord.stretch_residual.sum(1) - chord.effects.residual)
        assert left.max() < 1e-12 * largest, "normalisation included"
    np.testing.assert_allclose(batched.gross_flow, alone.gross_flow, rtol=1e-6)
    assert len(batched.ledger) == len(alone.ledger)
