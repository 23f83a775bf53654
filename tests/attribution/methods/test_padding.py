"""Padding never counts: its tokens change nothing, and a padded batch equals single runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects.effects import Effects
from attribution.methods.activation_difference import activation_difference
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from tests.worlds.tiny_models import PAIRS, World

METHODS = (
    activation_difference,
    attribution_patching,
    attribution_patching_star,
    exact_patching,
    integrated_gradients,
    input_path_integrated_gradients,
    chord_integrated_gradients,
)


@pytest.mark.parametrize("method", METHODS)
def test_garbage_in_the_padding_changes_nothing(
    llama_world: World, method: Callable[..., Effects], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = method(llama_world.spliced, PAIRS, logit_difference)
    tidy = PromptPairs.batches

    def untidy(self: PromptPairs, size: int, device: Any = "cpu") -> Iterator[PairBatch]:
        for batch in tidy(self, size, device):
            assert not batch.real.all()
            garbage = torch.randint(2, 24, batch.clean_ids.shape)
            yield replace(
                batch,
                clean_ids=torch.where(batch.real, batch.clean_ids, garbage),
                patch_ids=torch.where(batch.real, batch.patch_ids, garbage),
            )

    monkeypatch.setattr(PromptPairs, "batches", untidy)
    found = method(llama_world.spliced, PAIRS, logit_difference)
    for name in ("example", "site", "position", "kind", "index"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("clean", "patch", "effect", "total_effect", "clean_metric"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


def by_node(effects: Effects, example: int) -> dict[tuple[int, ...], float]:
    columns = effects.where(effects.example == example)
    names = ("site", "position", "kind", "index")
    return dict(zip(zip(*(columns[n].tolist() for n in names), strict=True), columns["effect"].tolist(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_padded_batch_equals_single_runs(world: World, method: Callable[..., Effects]) -> None:
    together = method(world.spliced, PAIRS, logit_difference)
    for example, pair in enumerate(PAIRS):
        alone = method(world.spliced, PromptPairs((pair,)), logit_difference)
        found, expected = by_node(together, example), by_node(alone, 0)
        # A value that moves by rounding alone may be a node in one and not in the other.
        for node in found.keys() | expected.keys():
            assert found.get(node, 0) == pytest.approx(expected.get(node, 0), rel=1e-8, abs=1e-10)
        chosen = together.example == example
        assert together.position[chosen].max() < len(pair)
        assert together.total_effect[example] == pytest.approx(alone.total_effect[0], rel=1e-9)


def test_a_padded_run_equals_the_single_run_at_its_last_position(world: World) -> None:
    single = world.spliced.run(torch.tensor([[0, 5, 9, 3]]))
    padded = world.spliced.run(
        torch.tensor([[0, 5, 9, 3, 17, 4], [0, 7, 8, 2, 11, 4]]), last=torch.tensor([3, 5]), error_mode="live"
    )
    torch.testing.assert_close(padded.logits[0, :4], single.logits[0], rtol=1e-9, atol=1e-12)
    for site, features in padded.features.items():
        first = features.row == 0
        assert features.pos[first].max() == 3
        torch.testing.assert_close(features.value[first], single.features[site].value, rtol=1e-9, atol=1e-12)
        assert (padded.errors[site][0, 4:] == 0).all()
