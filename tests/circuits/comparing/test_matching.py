"""Features of two SAEs are matched by direction and by what they fire on, and by nothing less."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.models.hooks import logits_with
from attribution.splice.spliced_model import SplicedModel
from circuits.comparing.matching import match_features
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs

SITES = ("blocks.1.hook_resid_post", "blocks.3.hook_resid_post")


@pytest.fixture(scope="module")
def spliced() -> SplicedModel:
    saes = embedded_saes("relu")
    return SplicedModel(embedded_model(), {site: saes[site] for site in SITES})


@pytest.fixture(scope="module")
def prompts(spliced: SplicedModel) -> list[tuple[int, ...]]:
    pairs = task_pairs("agreement", "train", 12, 0, spliced.model)
    return [ids for pair in pairs for ids in (pair.clean_ids, pair.patch_ids)]


def permuted(sae: SAE, order: Tensor) -> SAE:
    """The same SAE with feature `order[j]` in place j."""
    encoder = {name: getattr(sae, name) for name in sae.encoder_tensors}
    moved = {name: value[order] for name, value in encoder.items()}
    return replace(sae, W_enc=sae.W_enc[:, order], W_dec=sae.W_dec[order], **moved)


def activations(spliced: SplicedModel, site: str, prompts: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Activations at every position but BOS, one prompt at a time."""
    rows: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        rows.append(spliced.saes[site].encode(x).features[0, 1:])
        return x

    for ids in prompts:
        with torch.no_grad():
            logits_with(spliced.model, torch.tensor([ids]), {site: keep})
    return torch.cat(rows).double().numpy()


def firing(spliced: SplicedModel, site: str, prompts: Sequence[tuple[int, ...]]) -> list[int]:
    return np.flatnonzero(activations(spliced, site, prompts).std(0) > 1e-3).tolist()


def test_a_permuted_dictionary_is_recovered_exactly(spliced: SplicedModel, prompts: list[tuple[int, ...]]) -> None:
    draw = torch.Generator().manual_seed(0)
    orders = {site: torch.randperm(spliced.saes[site].d_sae, generator=draw) for site in SITES}
    other = SplicedModel(spliced.model, {site: permuted(spliced.saes[site], orders[site]) for site in SITES})
    wanted = {site: firing(spliced, site, prompts)[:40] for site in SITES}
    places = {site: orders[site].argsort() for site in SITES}
    nothing: dict[str, list[int]] = {site: [] for site in SITES}
    found = match_features(spliced, other, wanted, nothing, prompts)
    for site in SITES:
        assert len(wanted[site]) == 40
        assert {m.a: m.b for m in found[site]} == {i: int(places[site][i]) for i in wanted[site]}
        assert all(m.cosine == pytest.approx(1.0) and m.correlation == pytest.approx(1.0) for m in found[site])
    there = {site: [int(places[site][i]) for i in wanted[site]] for site in SITES}
    back = match_features(spliced, other, nothing, there, prompts, batch_size=5)
    assert {site: {(m.a, m.b) for m in own} for site, own in back.items()} == {
        site: {(m.a, m.b) for m in own} for site, own in found.items()
    }


def test_matches_equal_those_of_the_whole_matrices(spliced: SplicedModel, prompts: list[tuple[int, ...]]) -> None:
    site = SITES[1]
    other = SplicedModel(spliced.model, {site: embedded_saes("topk")[site]})
    wanted = firing(spliced, site, prompts)[::3]
    found = match_features(
        spliced, other, {site: wanted}, {site: []}, prompts, least_cosine=0.3, least_correlation=0.4, batch_size=7
    )
    x, y = (activations(s, site, prompts) for s in (spliced, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]
    correlation = np.where(np.isnan(correlation), -np.inf, correlation)
    one, two = (s.saes[site].W_dec.double().numpy() for s in (spliced, other))
    cosine = (one @ two.T) / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1))
    likeness = np.minimum(cosine, correlation)
    expected = {
        i: int(likeness[i].argmax())
        for i in wanted
        if likeness[:, likeness[i].argmax()].argmax() == i
        and cosine[i, likeness[i].argmax()] >= 0.3
        and correlation[i, likeness[i].argmax()] >= 0.4
    }
    assert {m.a: m.b for m in found[site]} == expected
    assert 3 <= len(expected) < len(wanted)
    for m in found[site]:
        assert (m.cosine, m.correlation) == pytest.approx((cosine[m.a, m.b], correlation[m.a, m.b]), abs=1e-4)


def test_a_feature_that_points_alike_but_fires_elsewhere_matches_nothing(
    spliced: SplicedModel, prompts: list[tuple[int, ...]]
) -> None:
    site = SITES[0]
    sae = spliced.saes[site]
    order = torch.arange(sae.d_sae).roll(1)
    other = SplicedModel(spliced.model, {site: replace(permuted(sae, order), W_dec=sae.W_dec)})
    wanted = {site: firing(spliced, site, prompts)[:20]}
    assert match_features(spliced, other, wanted, wanted, prompts, least_correlation=0.99) == {site: ()}


def test_prompts_that_are_missing_or_strange_are_refused(spliced: SplicedModel) -> None:
    wanted = {site: [0] for site in SITES}
    with pytest.raises(ValueError, match="No prompts to compare activations on"):
        match_features(spliced, spliced, wanted, wanted, [])
    with pytest.raises(ValueError, match="Token 100000 is not the same in embedded and embedded"):
        match_features(spliced, spliced, wanted, wanted, [(0, 100_000)])
