"""The probe at load catches a hook where a write does not do what the gradient says."""

import pytest
import torch

from attribution.dictionaries import JumpReLU
from attribution.models.language_model import LanguageModel
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import HAS_HOOKED, HOOKED, NO_HOOKED, WIDTH, OnlyBOS, PlainModel, fitting_sae, tiny_model

MIDDLE = "blocks.1.hook_resid_mid"
SAE = fitting_sae(JumpReLU, torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(0)).double(), MIDDLE)


def test_resid_mid_on_a_bridge_is_refused_with_the_site_to_use_instead(llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"cannot be spliced on a TransformerBridge.*blocks.1.hook_attn_out"):
        SplicedModel(llama, [SAE])


def test_the_probe_catches_resid_mid_on_a_bridge(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageModel, "refuse_unsound", lambda *_: None)
    with pytest.raises(ValueError, match=f"'{MIDDLE}' is unsound: a write there misses paths that its gradient sees"):
        SplicedModel(llama, [SAE], dtype=torch.float64)


@pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)
def test_resid_mid_on_a_hooked_transformer_is_sound() -> None:
    assert SplicedModel(tiny_model(HOOKED), [SAE], dtype=torch.float64).sites == (MIDDLE,)


def test_every_site_that_is_offered_is_sound(model: LanguageModel) -> None:
    names = ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    every = [f"blocks.{layer}.{name}" for layer in (0, 1) for name in names]
    same = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_pre")
    for left_out in same:
        sites = [site for site in every if site != left_out]
        assert set(SplicedModel(model, dict.fromkeys(sites, SAE), dtype=torch.float64).sites) == set(sites)
    with pytest.raises(ValueError, match=" and ".join(same)):
        SplicedModel(model, dict.fromkeys(every, SAE), dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ids", [[3, 4, 5], [3]])
def test_a_layer_that_does_nothing_and_a_prompt_of_one_token_are_sound(
    dtype: torch.dtype, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModel, "probe_ids", lambda _: torch.tensor([ids]))
    module = PlainModel(torch.tanh)
    with torch.no_grad():
        module.get_parameter("blocks.0.down").zero_()
    site = "blocks.0.hook_mlp_out"
    spliced = SplicedModel(LanguageModel(module.to(dtype), OnlyBOS()), {site: SAE}, dtype=dtype)
    assert spliced.sites == (site,)
