"""A pair whose metric is no finite number stops every measurement before it begins; nothing NaN is ever given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.effects.effects import Effects
from attribution.effects.finite_pairs import UnfinitePairs, finite_pairs, refuse_unfinite_effects
from attribution.effects.metric_keeping import EVERYTHING, metric_keeping
from attribution.methods.exact_patching import exact_patching
from attribution.methods.registry import LIVE_ONLY, METHODS
from attribution.prompts.metrics import Metric, kl_divergence, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import zero
from attribution.splice.references import counterfactual
from circuits.ranking.dataset import rank
from circuits.ranking.ranking_file import read_ranking, write_ranking
from tests.worlds.tiny_models import BOS, World, plain_world

GOOD = PromptPair((BOS, 5, 9, 3), (BOS, 5, 12, 3), 4, 7)
BAD_CLEAN = PromptPair((BOS, 5, 8, 3), (BOS, 5, 12, 3), 4, 7)
BAD_PATCH = PromptPair((BOS, 5, 12, 3), (BOS, 5, 8, 3), 4, 7)


def damaged(value: float = float("nan")) -> World:
    """A model that gives no number wherever token 8 stands before."""
    world = plain_world(torch.tanh, always_open=False)
    assert world.spliced.sites  # spliced while it is sound: a model proves itself at load
    with torch.no_grad():
        world.model.module.embed.weight[8] = value
    return world


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((GOOD, BAD_CLEAN), r"Pair 1: logit_difference is nan on the clean prompt\. Leave"),
        ((BAD_PATCH, GOOD, BAD_CLEAN), r"Pair 0: logit_difference is nan on the patch prompt\. So are pairs 2\."),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_every_method_refuses_pairs_that_are_not_finite(
    method: str, pairs: tuple[PromptPair, ...], message: str, batch_size: int
) -> None:
    with pytest.raises(UnfinitePairs, match=message):
        METHODS[method](damaged().spliced, PromptPairs(pairs), logit_difference, batch_size=batch_size)


def test_it_is_refused_before_any_other_pair_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    spliced = damaged().spliced
    monkeypatch.setattr(type(spliced), "record", lambda *_a, **_k: pytest.fail("measured"))
    with pytest.raises(UnfinitePairs, match="Pair 2"):
        exact_patching(spliced, PromptPairs((GOOD, GOOD, BAD_CLEAN)), logit_difference, batch_size=1)


def test_infinite_logits_are_not_finite_for_a_divergence() -> None:
    world = plain_world(torch.tanh, always_open=False)

    def blown(logits: Tensor, _batch: Any) -> Tensor:
        return torch.where(logits[:, 0] > logits[:, 0].min(), logits[:, 0], torch.inf)

    metric = Metric("blown", "logits", of=blown)
    with pytest.raises(UnfinitePairs, match=r"blown is inf on the (clean|patch) prompt"):
        exact_patching(world.spliced, PromptPairs((GOOD, BAD_PATCH)), metric)
    with pytest.raises(UnfinitePairs, match=r"kl_divergence is nan on the clean prompt"):
        exact_patching(damaged().spliced, PromptPairs((BAD_CLEAN,)), kl_divergence)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {*LIVE_ONLY, "ig-input", "chord-ig"}))
def test_with_a_zero_patch_value_the_clean_prompt_counts(method: str) -> None:
    with pytest.raises(UnfinitePairs, match="Pair 0"):
        METHODS[method](damaged().spliced, PromptPairs((BAD_CLEAN,)), logit_difference, patch_value=zero)


def test_finite_pairs_are_those_that_are_measured_alike_alone() -> None:
    spliced = damaged().spliced
    kept, rows = finite_pairs(spliced.model, PromptPairs((GOOD, BAD_CLEAN, GOOD, BAD_PATCH)), logit_difference)
    assert kept.pairs == (GOOD, GOOD)
    assert rows == {1: "nan on the clean prompt", 3: "nan on the patch prompt"}
    found = exact_patching(spliced, kept, logit_difference)
    alone = exact_patching(spliced, PromptPairs((GOOD,)), logit_difference)
    np.testing.assert_allclose(found.effect[found.example == 1], alone.effect, atol=1e-12)
    with pytest.raises(ValueError, match=r"No pair is left: logit_difference is not finite in any of the 1 pairs"):
        finite_pairs(spliced.model, PromptPairs((BAD_CLEAN,)), logit_difference)


def test_a_model_that_is_mended_is_measured() -> None:
    world = damaged()
    with pytest.raises(UnfinitePairs, match="Pair 1"):
        exact_patching(world.spliced, PromptPairs((GOOD, BAD_CLEAN)), logit_difference, batch_size=1)
    with torch.no_grad():
        world.model.module.embed.weight[8] = 0.1
    assert np.isfinite(
        exact_patching(world.spliced, PromptPairs((GOOD, BAD_CLEAN)), logit_difference, batch_size=1).effect
    ).all()


def test_keeping_nodes_never_gives_nan() -> None:
    def kept_of(metric: Metric) -> np.ndarray:
        pairs = PromptPairs((GOOD, BAD_CLEAN))
        return metric_keeping(damaged().spliced, pairs, metric, [EVERYTHING], counterfactual)

    with pytest.raises(ValueError, match=r"Pair 1: logit_difference is nan when only some nodes are kept"):
        kept_of(logit_difference)


def test_an_effect_that_is_not_finite_names_its_node() -> None:
    effects: Effects = exact_patching(
        plain_world(torch.tanh, always_open=False).spliced, PromptPairs((GOOD,)), logit_difference
    )
    columns = effects.where(np.arange(len(effects)))
    refuse_unfinite_effects(columns, effects.sites)
    row = int(np.flatnonzero(effects.of_kind("feature"))[0])
    columns["effect"][row] = np.nan
    named = rf"Pair 0: the effect of {effects.sites[effects.site[row]]}/{effects.index[row]} at position .* is nan"
    with pytest.raises(ValueError, match=named):
        refuse_unfinite_effects(columns, effects.sites)


def ranking(pairs: list[PromptPair], **options: Any) -> Any:
    world = damaged()
    measure: Callable[[PromptPairs], Effects] = lambda few: exact_patching(world.spliced, few, logit_difference)  # noqa: E731
    return rank(pairs, world.model, measure, at_once=2, **options)


def test_a_ranking_names_the_pair_by_its_place_in_the_stream() -> None:
    with pytest.raises(UnfinitePairs, match=r"Pair 3: logit_difference is nan on the clean prompt"):
        ranking([GOOD, GOOD, GOOD, BAD_CLEAN])


def test_a_ranking_without_bad_pairs_equals_that_of_the_good_ones(tmp_path: Any) -> None:
    found = ranking([BAD_CLEAN, BAD_PATCH, GOOD, BAD_CLEAN, BAD_PATCH, GOOD], skip_bad=True)
    alone = ranking([GOOD, GOOD])
    assert set(found.left_out) == {0, 1, 3, 4}
    assert (found.examples, found.total_effect) == (2, pytest.approx(alone.total_effect))
    expected = {w.node: pytest.approx(w.effect, abs=1e-12) for w in alone.ranking.nodes}
    assert {w.node: w.effect for w in found.ranking.nodes} == expected
    assert {example for own in found.strongest for example, _ in own} == {2, 5}
    write_ranking(found, tmp_path / "r.parquet")
    assert read_ranking(tmp_path / "r.parquet").left_out == found.left_out
    with pytest.raises(ValueError, match=r"nothing to measure\. 2 were left out: their metric is not finite"):
        ranking([BAD_CLEAN, BAD_PATCH], skip_bad=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda logits, _batch: logits.mean(),
            r"Metric 'own' returned shape \(\)\. It must return one number",
        ),
        (lambda logits, _batch: logits[:, :2], r"returned shape \(1, 2\)"),
        (lambda _logits, _batch: 3, "returned int"),
        (lambda logits: logits[:, 0], "Metric 'own' fails on logits of shape .*TypeError"),
        (lambda logits, _batch: logits[:, 5000], "IndexError: index 5000"),
        (lambda logits, _batch: logits.nothing, "AttributeError.*A metric is a function of logits"),
    ],
)
def test_a_metric_of_ones_own_that_is_wrong_is_one_sentence(function: Any, message: str) -> None:
    world = plain_world(torch.tanh, always_open=False)
    with pytest.raises(ValueError, match=message):
        finite_pairs(world.model, PromptPairs((GOOD,)), Metric("own", "units", function))
