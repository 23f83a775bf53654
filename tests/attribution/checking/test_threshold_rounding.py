"""Rounded codes against a loop over texts and positions, one forward each."""

import pytest
import torch
from torch import Tensor

from attribution.checking.threshold_rounding import threshold_rounding
from attribution.dictionaries import SAE, Gated, JumpReLU, TopK, gradient_pursuit, refitted
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.models.language_model import LanguageModel
from attribution.runs.chunk_store import kept_in
from graphs.quality.threshold_rounding import CODES, ThresholdRounding
from tests.twins.text_twin import arrivals, log_probabilities
from tests.worlds.tiny_models import PAIRS, World, saes_on

SITES: dict[str, type[SAE]] = {
    "blocks.0.hook_mlp_out": JumpReLU,
    "blocks.0.hook_resid_post": TopK,
    "blocks.1.attn.hook_z": Gated,
}
TEXTS = [pair.clean_ids for pair in PAIRS]
SHARE = 0.8


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, SITES, {"blocks.0.hook_mlp_out": "layer_norm"}))


@pytest.fixture(scope="module")
def found(world: World) -> ThresholdRounding:
    return threshold_rounding(world.spliced, TEXTS, shares=[SHARE], batch_size=2)


def sizes(sae: SAE, features: Tensor) -> Tensor:
    return features * sae.W_dec.norm(dim=1)


def coded(world: World, site: str, code: str, x: Tensor, unit: float) -> Tensor:
    """The rounded code of one activation, decoded."""
    sae = world.saes[site]
    encoding, target = sae.encode(x), normalise(x, sae.normalisation)[0] - sae.b_dec
    active = encoding.features > 0
    codes = {
        "encoder": lambda: encoding.features,
        "refitted": lambda: refitted(target, sae.W_dec, active),
        "pursuit": lambda: gradient_pursuit(target, sae.W_dec, k=int(active.sum())).coefficients,
    }
    f = codes[code]()
    return sae.decode(torch.where(sizes(sae, f) < SHARE * unit, 0, f), encoding.frame)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("site", SITES)
def test_numbers_equal_a_loop(world: World, found: ThresholdRounding, site: str, code: str) -> None:
    sae, every = world.saes[site], arrivals(world, TEXTS, site)
    features = sae.encode(every).features
    unit = float(sizes(sae, features).sum() / (features > 0).sum())
    assert next(c.unit for c in found.choices if c.site == site) == pytest.approx(unit)
    missed, sums = 0.0, {"clean": 0.0, "run": 0.0, "kl": 0.0}
    for ids in TEXTS:
        x = arrivals(world, [ids], site)
        decoded = torch.stack([coded(world, site, code, at, unit) for at in x])
        missed += float((x - decoded).square().sum())
        opens = ids[0] == world.model.bos_id
        written = torch.cat([torch.zeros_like(decoded[:1]), decoded]) if opens else decoded
        clean, run = (log_probabilities(world, ids, s, {site: written}) for s in ((), (site,)))
        for position in range(len(ids) - 1):
            sums["clean"] -= float(clean[position, ids[position + 1]])
            sums["run"] -= float(run[position, ids[position + 1]])
            sums["kl"] += float((clean[position].exp() * (clean[position] - run[position])).sum())
    tokens = sum(len(ids) - 1 for ids in TEXTS)
    (row,) = (r for r in found.rows if (r.site, r.code, r.share) == (site, code, SHARE))
    assert row.fvu == pytest.approx(missed / float((every - every.mean(0)).square().sum()))
    assert row.ce_increase == pytest.approx((sums["run"] - sums["clean"]) / tokens)
    assert row.kl == pytest.approx(sums["kl"] / tokens)


def test_codes_have_equal_l0_before_rounding_and_less_after(world: World, found: ThresholdRounding) -> None:
    for site in world.spliced.sites:
        l0 = {(r.code, r.share): r.l0 for r in found.rows if r.site == site}
        assert l0["refitted", 0.0] <= l0["encoder", 0.0]
        assert l0["pursuit", 0.0] <= l0["encoder", 0.0]
        for code in CODES:
            assert 0 < l0[code, SHARE] < l0[code, 0.0]
    for choice in found.choices:
        assert 0 < choice.same <= 1
        assert choice.novelty[0] == pytest.approx(1)
        assert choice.encoder_novelty[0] == pytest.approx(1)


def test_a_stopped_run_goes_on_where_it_was(
    world: World, found: ThresholdRounding, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told: list[float] = []
    with kept_in(tmp_path_factory.mktemp("chunks")) as store:
        first = threshold_rounding(world.spliced, TEXTS, shares=[SHARE], batch_size=2)
        kept = len(list(store.folder.iterdir()))
        again = threshold_rounding(world.spliced, TEXTS, shares=[SHARE], batch_size=2, progress=told.append)
        assert len(list(store.folder.iterdir())) == kept
    assert first == again == found
    assert told[-1] == 1.0


def test_texts_and_thresholds_that_say_nothing_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="no token to predict"):
        threshold_rounding(world.spliced, [[5]])
    with pytest.raises(ValueError, match="Thresholds are shares of a feature's mean size, 0 or more; got -1 to 0"):
        threshold_rounding(world.spliced, TEXTS, shares=[-1.0])
