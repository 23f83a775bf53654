"""Mean and resample references against loops over prompts, through the slow twin."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.twins.keep_only_twin as twin
from attribution.effects.metric_keeping import NOTHING, Kept, logits_keeping, metric_keeping
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import node_keys
from attribution.splice.prompt_references import Mean, Resample
from attribution.splice.references import Reference
from tests.attribution.effects.test_metric_keeping import normalised
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import World

SHORT, LONG = ("bos", "noun", "verb"), ("bos", "noun", "adverb", "verb")
PAIRS = PromptPairs(
    (
        PromptPair((0, 5, 9), (0, 6, 9), 4, 7, SHORT),
        PromptPair((0, 7, 3, 2), (0, 8, 3, 2), 9, 2, LONG),
        PromptPair((0, 12, 10), (0, 13, 11), 3, 13, SHORT),
        PromptPair((0, 14, 3, 15), (0, 16, 3, 15), 9, 2, LONG),
    )
)
FEATURE = ("blocks.0.hook_mlp_out", "feature")


@cache
def every_kind() -> World:
    return every_kind_world()


def mean_parts(world: World, prompts: PromptPairs, pair: PromptPair) -> twin.Reference:
    """Every part is the mean over clean and patch prompts of the position with the same name."""
    runs = [(p.roles or (), twin.bare_run(world, ids)) for p in prompts for ids in (p.clean_ids, p.patch_ids)]

    def reference(site: str, pos: int, _x: Tensor) -> twin.Parts:
        name = (pair.roles or ())[pos]
        found = [twin.parts_of(world.saes[site], run[site][roles.index(name)]) for roles, run in runs if name in roles]
        return twin.Parts(
            torch.stack([p.features for p in found]).mean(0), torch.stack([p.rest for p in found]).mean(0)
        )

    return reference


def is_kept(node: twin.Node) -> bool:
    """The even features at the first MLP."""
    return node[:2] == FEATURE and node[3] % 2 == 0


def even_features(world: World) -> Kept:
    place = 1 + world.spliced.sites.index(FEATURE[0])
    keys = [
        node_keys(np.array([e]), np.array([pos]), np.array([i]), site=place, kind="feature")
        for e, pair in enumerate(PAIRS)
        for pos in range(len(pair))
        for i in range(0, world.spliced.saes[FEATURE[0]].d_sae, 2)
    ]
    return Kept(np.concatenate(keys))


@pytest.mark.parametrize("world", [every_kind, normalised], ids=["every kind", "normalised"])
@pytest.mark.parametrize("own", [True, False], ids=["measured prompts", "others"])
def test_mean_is_the_mean_over_prompts_of_positions_of_that_name(world: Callable[[], World], own: bool) -> None:
    made = world()
    prompts = PAIRS if own else PromptPairs(PAIRS.pairs[1:])
    reference = Mean(None if own else prompts)
    logits = logits_keeping(made.spliced, PAIRS, even_features(made), reference)
    for n, pair in enumerate(PAIRS):
        expected = twin.twin_logits(made, pair.clean_ids, is_kept, mean_parts(made, prompts, pair))
        assert torch.allclose(logits[n], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("world", [every_kind, normalised], ids=["every kind", "normalised"])
def test_resample_takes_another_prompt_with_the_same_names_and_averages_draws(world: Callable[[], World]) -> None:
    made = world()
    kept = even_features(made)
    draws = 3
    expected = np.zeros(len(PAIRS))
    for draw in range(draws):
        logits = logits_keeping(made.spliced, PAIRS, kept, Resample(draws), draw=draw)
        for n, pair in enumerate(PAIRS):
            others = [
                ids for p in PAIRS if p.roles == pair.roles and p is not pair for ids in (p.clean_ids, p.patch_ids)
            ]
            found = [
                twin.twin_logits(made, pair.clean_ids, is_kept, twin.of_run(made, twin.bare_run(made, ids)))
                for ids in others
            ]
            near = [torch.allclose(logits[n], one, rtol=0, atol=1e-9) for one in found]
            assert sum(near) == 1, "one of the other prompts, and not another one"
            expected[n] += float(found[near.index(True)][pair.answer_id] - found[near.index(True)][pair.foil_id])
    mean = metric_keeping(made.spliced, PAIRS, logit_difference, [kept], Resample(draws), batch_size=3)[0]
    assert mean == pytest.approx(expected / draws, abs=1e-9)


def test_resample_depends_on_its_seed_only() -> None:
    spliced = every_kind().spliced
    first, again, other = (
        metric_keeping(spliced, PAIRS, logit_difference, [NOTHING], Resample(2, seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Resample(), "No other prompt has the position names of pair 1 \\(bos, noun, adverb, verb\\)"),
        (Mean(PromptPairs(PAIRS.pairs[:1])), "No reference prompt has a position named 'adverb'"),
    ],
    ids=["resample", "mean"],
)
def test_prompts_without_a_reference_are_an_error(reference: Reference, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric_keeping(every_kind().spliced, PromptPairs(PAIRS.pairs[:3]), logit_difference, [NOTHING], reference)


def test_resample_without_draws_is_an_error() -> None:
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        Resample(0)
