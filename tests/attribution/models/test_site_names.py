"""Names of sites: one canonical name for every hook, and errors that help."""

import pytest

from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of


def test_every_hook_has_one_canonical_name_that_resolves_to_itself(model: LanguageModel) -> None:
    names = model.hook_names()
    assert len(set(names)) == len(names)
    for name in names:
        if name in model.module.hook_dict:
            assert model.resolve(name) == name
    for site in ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post"):
        assert model.resolve(f"blocks.1.{site}") == f"blocks.1.{site}"


def test_every_alias_resolves_to_the_hook_it_stands_for(model: LanguageModel) -> None:
    for name, hook in model.module.hook_dict.items():
        assert model.hook_point(model.resolve(name)) is hook


def test_a_bridges_own_names_resolve_to_the_classic_ones(llama: LanguageModel) -> None:
    assert llama.resolve("blocks.1.attn.hook_out") == "blocks.1.hook_attn_out"
    assert llama.resolve("blocks.1.mlp.hook_out") == "blocks.1.hook_mlp_out"
    assert llama.resolve("blocks.1.hook_out") == "blocks.1.hook_resid_post"


def test_an_unknown_site_is_an_error_that_lists_near_matches(model: LanguageModel) -> None:
    with pytest.raises(LookupError, match=r"no site 'blocks.1.hook_mpl_out'. Near matches: .*hook_mlp_out"):
        model.resolve("blocks.1.hook_mpl_out")
    with pytest.raises(LookupError, match=r"no site '@@@'. Some hooks: "):
        model.resolve("@@@")


def test_the_layer_of_a_site_outside_every_block_is_an_error() -> None:
    assert layer_of("blocks.11.attn.hook_z") == 11
    with pytest.raises(ValueError, match="'hook_embed' lies in no block"):
        layer_of("hook_embed")
