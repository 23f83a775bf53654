"""The quality of SAEs against a loop over prompts and tokens, one forward each."""

from collections.abc import Sequence

import pytest
import torch

from attribution.checking.sae_quality import sae_quality
from attribution.dictionaries import SAE, Gated, JumpReLU, TopK
from attribution.models.language_model import LanguageModel
from graphs import SAEQuality
from tests.twins.text_twin import arrivals, log_probabilities
from tests.worlds.tiny_models import PAIRS, World, saes_on

SITES: dict[str, type[SAE]] = {
    "blocks.0.hook_mlp_out": JumpReLU,
    "blocks.0.hook_resid_post": TopK,
    "blocks.1.attn.hook_z": Gated,
}
PROMPTS = [pair.clean_ids for pair in PAIRS]
ANSWERS = [pair.answer_id for pair in PAIRS]


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, SITES, {"blocks.0.hook_mlp_out": "layer_norm"}))


def expected(world: World, sites: Sequence[str], answers: Sequence[int] | None) -> tuple[float | None, float, float]:
    """CE recovered, CE increase and KL."""
    sums = {"clean": 0.0, "spliced": 0.0, "zero": 0.0, "kl": 0.0}
    tokens = 0
    for n, ids in enumerate(PROMPTS):
        runs = {
            "clean": log_probabilities(world, ids, ()),
            "spliced": log_probabilities(world, ids, sites),
            "zero": log_probabilities(world, ids, sites, dict.fromkeys(sites, torch.zeros(1))),
        }
        scored = [(len(ids) - 1, answers[n])] if answers else [(p, ids[p + 1]) for p in range(len(ids) - 1)]
        for position, following in scored:
            tokens += 1
            for name, run in runs.items():
                sums[name] -= float(run[position, following])
            own = runs["clean"][position]
            sums["kl"] += float((own.exp() * (own - runs["spliced"][position])).sum())
    cost = sums["zero"] - sums["clean"]
    return (
        None if cost <= 0 else (sums["zero"] - sums["spliced"]) / cost,
        (sums["spliced"] - sums["clean"]) / tokens,
        sums["kl"] / tokens,
    )


def numbers(quality: SAEQuality) -> tuple[float | None, float, float]:
    return quality.ce_recovered, quality.ce_increase, quality.kl


@pytest.mark.parametrize("answers", [None, ANSWERS], ids=["every token", "the answer"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_quality_equals_a_loop(world: World, answers: list[int] | None, batch_size: int) -> None:
    found = sae_quality(world.spliced, PROMPTS, "prompts", last_only=answers, batch_size=batch_size)
    assert found.tokens == (3 if answers else sum(len(p) - 1 for p in PROMPTS))
    assert numbers(found) == pytest.approx(expected(world, tuple(SITES), answers))
    assert [site.site for site in found.sites] == list(world.spliced.sites)
    for site in found.sites:
        alone = expected(world, (site.site,), answers)
        assert (site.ce_recovered, site.ce_increase, site.kl) == pytest.approx(alone)


def test_active_features_and_missed_variance_equal_a_loop(world: World) -> None:
    found = sae_quality(world.spliced, PROMPTS, "prompts")
    for site in found.sites:
        x, sae = arrivals(world, PROMPTS, site.site), world.saes[site.site]
        encoding = sae.encode(x)
        missed = ((x - sae.decode(encoding.features, encoding.frame)) ** 2).sum()
        assert site.l0 == pytest.approx(float((encoding.features > 0).sum(1).double().mean()))
        assert site.fvu == pytest.approx(float(missed / ((x - x.mean(0)) ** 2).sum()))


def test_no_text_is_an_error(world: World) -> None:
    for prompts in ([], [[3]]):
        with pytest.raises(ValueError, match="at least two tokens"):
            sae_quality(world.spliced, prompts, "nothing")
