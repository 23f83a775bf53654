"""The quality of dictionaries against plain loops, and where it is known: projections that are scaled."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attribution.checking import dictionary_quality as measuring
from attribution.checking.dictionary_quality import STAGE, dictionary_quality
from attribution.dictionaries import SAE, Gated, JumpReLU, ReLU, TopK
from attribution.dictionaries.kinds.trained_positions import TrainedPositions
from attribution.models.language_model import LanguageModel
from attribution.runs.chunk_store import kept_in
from tests.twins.text_twin import arrivals, log_probabilities
from tests.worlds.tiny_models import BOS, PAIRS, WIDTH, World, saes_on

SITES: dict[str, type[SAE]] = {
    "blocks.0.hook_mlp_out": JumpReLU,
    "blocks.0.hook_resid_post": TopK,
    "blocks.1.attn.hook_z": Gated,
}
TEXTS = [pair.clean_ids for pair in PAIRS]
SITE = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, SITES, {"blocks.0.hook_mlp_out": "layer_norm"}))


def in_loops(world: World, sites: tuple[str, ...]) -> dict[str, float]:
    """CE and KL of every run with these sites written, per predicted token, and CE of the model."""
    means = {site: arrivals(world, TEXTS, site).mean(0) for site in sites}
    sums: dict[str, float] = {}
    for ids in TEXTS:
        runs = {
            "": log_probabilities(world, ids, sites),
            "_zero": log_probabilities(world, ids, sites, dict.fromkeys(sites, torch.zeros(1))),
            "_mean": log_probabilities(world, ids, sites, means),
        }
        model = log_probabilities(world, ids, ())
        for position, following in enumerate(ids[1:]):
            own = model[position]
            sums["model"] = sums.get("model", 0.0) - float(own[following])
            for name, run in runs.items():
                kl = float((own.exp() * (own - run[position])).sum())
                sums[f"ce{name}"] = sums.get(f"ce{name}", 0.0) - float(run[position, following])
                sums[f"kl{name}"] = sums.get(f"kl{name}", 0.0) + kl
    return {name: value / sum(len(ids) - 1 for ids in TEXTS) for name, value in sums.items()}


@pytest.mark.parametrize("batch_size", [1, 8])
def test_cross_entropies_and_divergences_equal_loops(world: World, batch_size: int) -> None:
    found = dictionary_quality(world.spliced, TEXTS, batch_size=batch_size)
    assert found.tokens == sum(len(ids) - 1 for ids in TEXTS)
    for own, sites in [*((at.alone, (at.site,)) for at in found.sites), (found.together, tuple(SITES))]:
        slow = in_loops(world, sites)
        assert found.ce_model == pytest.approx(slow.pop("model"))
        assert {name: getattr(own, name) for name in slow} == pytest.approx(slow)
        assert own.ce_increase == pytest.approx(own.ce - found.ce_model)
        for ablated, recovered in ((own.ce_zero, own.ce_recovered_of_zero), (own.ce_mean, own.ce_recovered_of_mean)):
            cost = ablated - found.ce_model
            assert recovered == (pytest.approx((ablated - own.ce) / cost) if cost > 0 else None)
        assert own.kl_recovered_of_zero == pytest.approx(1 - own.kl / own.kl_zero)


def test_reconstructions_equal_loops(world: World) -> None:
    for found in dictionary_quality(world.spliced, TEXTS).sites:
        x, sae = arrivals(world, TEXTS, found.site), world.saes[found.site]
        encoding = sae.encode(x)
        active, y = encoding.features != 0, sae.decode(encoding.features, encoding.frame)
        assert found.l0 == pytest.approx(float(active.sum(1).double().mean()))
        assert found.fvu == pytest.approx(float(((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()))
        assert found.cosine == pytest.approx(float(torch.cosine_similarity(x, y).mean()))
        assert found.gamma == pytest.approx(float((y**2).sum() / (x * y).sum()))
        assert found.rho == pytest.approx(float((x * y).sum() / (x**2).sum()))
        share = active.double().mean(0)
        assert list(found.dead) == [n for n, own in enumerate(share) if own == 0]
        assert list(found.dense) == [n for n, own in enumerate(share) if own > 0.1]
        assert sum(found.frequencies.counts) == found.features - len(found.dead)
        assert set(found.parameters) == set(sae.encoder_tensors)
        for name, histogram in found.parameters.items():
            values: Tensor = getattr(sae, name)
            assert sum(histogram.counts) == found.features
            assert (histogram.least, histogram.largest) == pytest.approx((float(values.min()), float(values.max())))
            inside = [histogram.edges[0] <= value <= histogram.edges[-1] for value in values.tolist()]
            assert all(inside)


def projection(x: Tensor, dimensions: int, scale: float) -> ReLU:
    """A dictionary whose reconstruction is `scale` times the projection of x on some dimensions."""
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3)).double()).Q
    both = torch.cat([directions[:, :dimensions], -directions[:, :dimensions]], dim=1)
    nothing = torch.zeros(2 * dimensions).double()
    return ReLU(W_enc=both, W_dec=scale * both.T, b_dec=torch.zeros(WIDTH).double(), b_enc=nothing, site=SITE)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.25])
@pytest.mark.parametrize("dimensions", [1, WIDTH // 2, WIDTH])
def test_scale_biases_of_a_scaled_projection_are_known_and_not_the_same(
    llama: LanguageModel, dimensions: int, scale: float
) -> None:
    x = arrivals(World(llama, {}), TEXTS, SITE)
    sae = projection(x, dimensions, scale)
    (found,) = dictionary_quality(World(llama, {SITE: sae}).spliced, TEXTS).sites
    along = x @ sae.W_enc[:, :dimensions]
    carried = float((along**2).sum() / (x**2).sum())
    missed = float(((x - scale * along @ sae.W_enc[:, :dimensions].T) ** 2).sum() / (x**2).sum())
    assert found.gamma == pytest.approx(scale)
    assert found.rho == pytest.approx(scale * carried)
    assert missed == pytest.approx(1 - scale * carried * (2 - scale), abs=1e-12)
    assert carried < 0.99 or dimensions == WIDTH, "so ρ < 1 without any shrinkage"


def test_a_text_that_predicts_nothing_or_has_no_spliced_position_is_an_error(world: World) -> None:
    for texts in ([], [[3]]):
        with pytest.raises(ValueError, match="at least two tokens"):
            dictionary_quality(world.spliced, texts)
    late = {site: replace(sae, positions=TrainedPositions(start=20)) for site, sae in world.saes.items()}
    with pytest.raises(ValueError, match="no position at which SAEs are spliced in"):
        dictionary_quality(World(world.model, late).spliced, TEXTS)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        dictionary_quality(world.spliced, TEXTS, batch_size=0)


def test_an_interrupted_measurement_goes_on_where_it_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dictionary_quality(world.spliced, TEXTS, batch_size=1)
    calls = stopping(measuring.TextBatch.of, after=4)
    with monkeypatch.context() as patched, kept_in(tmp_path) as store:
        patched.setattr(measuring.TextBatch, "of", lambda *given: next(calls)(*given))
        with pytest.raises(KeyboardInterrupt):
            dictionary_quality(world.spliced, TEXTS, batch_size=1)
    assert store.tallies[STAGE].computed == 4
    with kept_in(tmp_path) as store:
        resumed = dictionary_quality(world.spliced, TEXTS, batch_size=1)
    assert (store.tallies[STAGE].reused, store.tallies[STAGE].computed) == (4, 2)
    assert resumed == whole
    with kept_in(tmp_path) as store:
        dictionary_quality(world.spliced, [*TEXTS, (BOS, 5, 6)], batch_size=1)
    assert store.tallies[STAGE].reused == 0, "another text has other means"


def stopping(function: Any, after: int) -> Iterator[Any]:
    """The function, `after` times; then a Ctrl-C."""
    yield from [function] * after
    raise KeyboardInterrupt
