"""Which heads and source positions write a feature: sums, a plain twin, and the effect of removing a source."""

import pytest
import torch

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, TopK
from attribution.edges.direct_feature_attribution import direct_feature_attribution
from attribution.models.hooks import logits_with
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from tests.worlds.tiny_models import (
    BOS,
    BRIDGES,
    HAS_HOOKED,
    HOOKED,
    PLAIN_SITES,
    VOCABULARY,
    World,
    activations,
    fitting_sae,
    plain_world,
    saes_on,
    tiny_model,
)

ATTENTION = {"blocks.0.hook_attn_out": JumpReLU, "blocks.1.attn.hook_z": Gated}
KINDS = (*BRIDGES, *((HOOKED,) if HAS_HOOKED else ()))


def prompts() -> torch.Tensor:
    ids = torch.randint(2, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(5))
    ids[:, 0] = BOS
    return ids


def projection(sae: SAE, x: torch.Tensor) -> torch.Tensor:
    """p by hand: [place, d_sae]."""
    x = x.double()
    if sae.normalisation == "layer_norm":
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
    elif sae.normalisation == "constant_norm_rescale":
        x = x * x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True)
    return (x - (sae.b_dec if sae.apply_b_dec_to_input else 0)) @ sae.W_enc.double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", ATTENTION)
def test_parts_and_constants_sum_to_the_encoders_projection(kind: str, site: str) -> None:
    model = tiny_model(kind)
    for p in model.module.parameters():  # biases of a fresh model are 0
        if p.ndim == 1:
            p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).to(p)
    spliced = World(model, saes_on(model, {site: ATTENTION[site]})).spliced
    ids = prompts()
    _, cache = model.module.run_with_cache(ids)
    at = torch.tensor([1, 3, 4, 5])
    x = cache[site].flatten(2)[torch.arange(4), at]
    largest = 0.0
    for feature in range(12):
        found = direct_feature_attribution(spliced, site, feature, ids, destination=at)
        total = found.parts.sum((1, 2)) + sum(found.constants.values())
        assert torch.allclose(total, found.projection, rtol=0, atol=1e-10)
        assert torch.allclose(found.projection, projection(spliced.saes[site], x)[:, feature], rtol=0, atol=1e-10)
        assert torch.equal(found.activation, spliced.saes[site].encode(x).features[:, feature])
        for row, destination in enumerate(at.tolist()):
            assert not found.parts[row, :, destination + 1 :].any()
        largest = max(largest, float(found.parts.abs().max()))
    assert largest > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_parts_equal_a_loop_over_heads_and_sources(kind: str) -> None:
    model, site = tiny_model(kind), "blocks.0.hook_attn_out"
    spliced = World(model, saes_on(model, {site: JumpReLU})).spliced
    ids = prompts()[:1]
    _, cache = model.module.run_with_cache(ids)
    W_O = model.module.blocks[0].attn.W_O
    values = cache["blocks.0.attn.hook_v"].flatten(2)[0].reshape(6, -1, 4)
    found = direct_feature_attribution(spliced, site, 7, ids)
    for head in range(4):
        kept = values[:, head * values.shape[1] // 4]
        for source in range(6):
            write = cache["blocks.0.attn.hook_pattern"][0, head, 5, source] * kept[source] @ W_O[head]
            expected = write @ spliced.saes[site].W_enc[:, 7]
            assert found.parts[0, head, source].item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_taking_one_heads_mixed_values_away_moves_the_projection_by_that_heads_parts(kind: str) -> None:
    model, site = tiny_model(kind), "blocks.0.hook_attn_out"
    spliced = World(model, saes_on(model, {site: JumpReLU})).spliced
    ids, seen = prompts(), {}

    def without_head_2(z: torch.Tensor) -> torch.Tensor:
        z = z.clone()
        z[..., 8:12] = 0
        return z

    def keep(x: torch.Tensor) -> torch.Tensor:
        seen[site] = x
        return x

    found = direct_feature_attribution(spliced, site, 3, ids)
    with torch.no_grad():
        logits_with(model, ids, {"blocks.0.attn.hook_z": without_head_2, site: keep})
    moved = projection(spliced.saes[site], seen[site][:, -1])[:, 3] - found.projection
    assert torch.allclose(moved, -found.parts[:, 2].sum(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("sae_kind", [BatchTopK, ProLU, TopK])
def test_a_normalising_sae_is_split_given_its_scale(normalisation: str, sae_kind: type[SAE]) -> None:
    model, site = tiny_model("gpt2"), "blocks.1.hook_attn_out"
    sae = fitting_sae(sae_kind, activations(model, [site])[site], site, normalisation=normalisation)
    spliced = SplicedModel(model, [sae], dtype=torch.float64)
    found = direct_feature_attribution(spliced, site, [0, 3, 5, 11], prompts())
    total = found.parts.sum((1, 2)) + sum(found.constants.values())
    assert torch.allclose(total, found.projection, rtol=0, atol=1e-10)
    _, cache = model.module.run_with_cache(prompts())
    expected = projection(sae, cache[site][:, -1])[torch.arange(4), torch.tensor([0, 3, 5, 11])]
    assert torch.allclose(found.projection, expected, rtol=0, atol=1e-10)


def test_sums_hold_on_the_embedded_model_at_every_attention_site() -> None:
    model = embedded_model()
    saes = {site: sae for site, sae in embedded_saes().items() if site.endswith("attn_out")}
    spliced = SplicedModel(model, saes)
    ids = torch.tensor([model.token_ids("the dogs near the farmer that the cats like")])
    for site in spliced.sites:
        rows, active = ids.repeat(40, 1), list(range(40))
        found = direct_feature_attribution(spliced, site, active, rows)
        total = found.parts.sum((1, 2)) + sum(found.constants.values())
        assert (total - found.projection).abs().max() < 1e-5 * max(1.0, float(found.projection.abs().max()))
        head, source, part = found.strongest(0, 1)[0]
        assert part == found.parts[0, head, source]
        assert abs(part) == found.parts[0].abs().max()


def test_what_cannot_be_split_is_an_error() -> None:
    model = tiny_model("llama")
    sites = {"blocks.0.hook_attn_out": JumpReLU, "blocks.0.hook_mlp_out": JumpReLU}
    spliced, ids = World(model, saes_on(model, sites)).spliced, prompts()
    attention = "blocks.0.hook_attn_out"
    with pytest.raises(ValueError, match="no attention output"):
        direct_feature_attribution(spliced, "blocks.0.hook_mlp_out", 0, ids)
    with pytest.raises(LookupError, match="No SAE is spliced in"):
        direct_feature_attribution(spliced, "blocks.1.hook_attn_out", 0, ids)
    with pytest.raises(ValueError, match="has no feature 12: its SAE has features 0 to 11"):
        direct_feature_attribution(spliced, attention, 12, ids)
    with pytest.raises(ValueError, match="Row 1: position 0 is not spliced"):
        direct_feature_attribution(spliced, attention, 0, ids, destination=torch.tensor([2, 0, 2, 2]))
    with pytest.raises(ValueError, match="4 prompts need as many features"):
        direct_feature_attribution(spliced, attention, [0, 1], ids)


def test_an_attention_that_is_not_pattern_times_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, site = tiny_model("neox"), "blocks.0.hook_attn_out"
    spliced = World(model, saes_on(model, {site: JumpReLU})).spliced
    W_O, b_O = model.attention_output(0)
    monkeypatch.setattr(type(model), "attention_output", lambda *_: (1.01 * W_O, b_O))
    with pytest.raises(ValueError, match="is not pattern · values · W_O"):
        direct_feature_attribution(spliced, site, 0, prompts())
    plain = plain_world(torch.tanh, always_open=True)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="no output weights by head"):
        direct_feature_attribution(plain.spliced, PLAIN_SITES[0], 0, prompts())
