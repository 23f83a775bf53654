"""What writes a feature, summed over places: it equals attribution place by place, and adds up to the projection."""

from typing import Any

import pytest
import torch

from attribution.dictionaries import Gated, JumpReLU
from attribution.edges.direct_feature_attribution import attention_hooks, direct_feature_attribution
from attribution.edges.token_parts import token_parts
from attribution.edges.written_sums import WrittenSums, has_writers, written_sums
from attribution.models.hooks import activations_at
from attribution.models.language_model import LanguageModel
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import (
    BOS,
    BRIDGES,
    HAS_HOOKED,
    HOOKED,
    PLAIN_SITES,
    VOCABULARY,
    World,
    plain_world,
    saes_on,
    tiny_model,
)

KINDS = (*BRIDGES, *((HOOKED,) if HAS_HOOKED else ()))
SITES = {
    "blocks.0.hook_attn_out": JumpReLU,
    "blocks.0.hook_resid_post": JumpReLU,
    "blocks.1.attn.hook_z": Gated,
    "blocks.1.hook_resid_post": JumpReLU,
}
ATTENTION = tuple(site for site in SITES if "attn" in site)


def prompts() -> torch.Tensor:
    ids = torch.randint(2, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(5))
    ids[:, 0] = BOS
    return ids


def with_biases(model: LanguageModel) -> LanguageModel:
    """The same model; the biases of a fresh one are 0."""
    for p in model.module.parameters():
        if p.ndim == 1:
            p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).to(p)
    return model


def spliced_on(kind: str, normalisation: Any = "none") -> SplicedModel:
    model = with_biases(tiny_model(kind))
    return World(model, saes_on(model, SITES, dict.fromkeys(SITES, normalisation))).spliced


def places_of(spliced: SplicedModel, ids: torch.Tensor) -> torch.Tensor:
    return spliced.spliced_positions(ids, torch.full_like(ids[:, 0], ids.shape[1] - 1))


def loop(spliced: SplicedModel, site: str, index: int, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The twin: direct feature attribution at every place. Heads by source token, and the projection."""
    by_token, projection = None, torch.zeros(2, dtype=torch.float64)
    for destination in range(1, ids.shape[1]):
        found = direct_feature_attribution(spliced, site, index, ids, destination=torch.full((len(ids),), destination))
        for row in range(len(ids)):
            by_token = torch.zeros(2, found.parts.shape[1], VOCABULARY).double() if by_token is None else by_token
            for case, counts in enumerate((found.activation[row] > 0, True)):
                if counts:
                    by_token[case].index_add_(1, ids[row], found.parts[row].double())
                    projection[case] += found.projection[row]
    assert by_token is not None
    return by_token, projection


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", ATTENTION)
@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
def test_sums_equal_attribution_place_by_place(kind: str, site: str, normalisation: str) -> None:
    if normalisation != "none" and kind != "gpt2":
        return
    spliced, ids = spliced_on(kind, normalisation), prompts()
    fired = 0
    for index in range(1, 12, 3):
        found = written_sums(spliced, site, index, ids, places_of(spliced, ids))
        by_token, projection = loop(spliced, site, index, ids)
        (heads,) = found.heads.values()
        assert torch.allclose(heads, by_token, rtol=0, atol=1e-9)
        assert torch.allclose(found.projection, projection, rtol=0, atol=1e-9)
        assert found.places[1] == ids[:, 1:].numel()
        fired += int(found.places[0])
    assert fired > 0


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_residual_stream_add_up_to_the_projection(kind: str) -> None:
    spliced, ids = spliced_on(kind), prompts()
    sae = spliced.saes["blocks.1.hook_resid_post"]
    found = written_sums(spliced, "blocks.1.hook_resid_post", 3, ids, places_of(spliced, ids))
    assert (found.heads.keys(), found.mlps.keys()) == ({0, 1}, {0, 1})
    assert all(float(own.abs().max()) > 1e-3 for own in (*found.heads.values(), *found.mlps.values()))
    parts = sum(own.sum((1, 2)) for own in found.heads.values()) + sum(found.mlps.values())
    total = parts + found.embedding.sum(1) + found.biases - (sae.b_dec @ sae.W_enc)[3] * found.places
    assert torch.allclose(total, found.projection, rtol=0, atol=1e-6)


def test_sums_of_two_batches_are_those_of_both() -> None:
    spliced, ids = spliced_on("llama"), prompts()
    here = places_of(spliced, ids)
    whole = written_sums(spliced, "blocks.1.hook_resid_post", 3, ids, here)
    halves = [written_sums(spliced, "blocks.1.hook_resid_post", 3, ids[n : n + 2], here[n : n + 2]) for n in (0, 2)]
    added = WrittenSums.plus(*halves)
    for name in ("embedding", "biases", "projection", "places"):
        assert torch.allclose(getattr(added, name), getattr(whole, name), rtol=0, atol=1e-9), name
    assert all(torch.allclose(added.heads[n], whole.heads[n], rtol=0, atol=1e-9) for n in (0, 1))


@pytest.mark.parametrize("site", ATTENTION)
@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
def test_parts_of_all_features_from_some_tokens_are_those_of_each_feature(site: str, normalisation: str) -> None:
    spliced, ids = spliced_on("llama", normalisation), prompts()
    here, tokens = places_of(spliced, ids), torch.tensor([int(ids[0, 1]), int(ids[1, 2])])
    layer = int(site.split(".")[1])
    seen = activations_at(spliced.model, ids, [*attention_hooks(layer), site])
    found = token_parts(spliced, site, seen, ids, here, tokens)
    for index in range(12):
        own = written_sums(spliced, site, index, ids, here)
        assert torch.allclose(found.parts[..., index], own.heads[layer][..., tokens].sum(-1), rtol=0, atol=1e-9)
        assert torch.allclose(found.projection[:, index], own.projection, rtol=0, atol=1e-9)
        assert torch.equal(found.places[:, index], own.places)


def test_shares_of_all_tokens_and_heads_add_up_to_one() -> None:
    spliced, ids, site = spliced_on("llama"), prompts(), "blocks.0.hook_attn_out"
    seen = activations_at(spliced.model, ids, [*attention_hooks(0), site])
    shares = token_parts(spliced, site, seen, ids, places_of(spliced, ids), torch.arange(VOCABULARY)).shares()
    assert torch.allclose(shares.sum(0), torch.ones(12).double())


def test_where_parts_cannot_be_told_apart_the_message_says_so() -> None:
    world = plain_world(torch.relu, always_open=True)
    ids = prompts()
    assert [has_writers(site) for site in PLAIN_SITES[:3]] == [True, False, True]
    with pytest.raises(ValueError, match=r"mlp_out' cannot be told apart exactly"):
        written_sums(world.spliced, "blocks.0.hook_mlp_out", 1, ids, torch.ones_like(ids, dtype=torch.bool))
    with pytest.raises((ValueError, LookupError), match=r"blocks\.0\.attn\.hook_pattern"):
        written_sums(world.spliced, "blocks.0.hook_attn_out", 1, ids, torch.ones_like(ids, dtype=torch.bool))


def test_an_attention_output_that_is_scaled_afterwards_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spliced, ids = spliced_on("llama"), prompts()
    W_O, b_O = spliced.model.attention_output(0)
    monkeypatch.setattr(LanguageModel, "attention_output", lambda _self, _layer: (1.1 * W_O, b_O))
    with pytest.raises(ValueError, match="is not the sum of what attention heads, MLPs and the embedding write"):
        written_sums(spliced, "blocks.0.hook_resid_post", 1, ids, places_of(spliced, ids))
