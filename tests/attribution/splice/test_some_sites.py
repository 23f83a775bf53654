"""A splice at some sites only: what lies below a boundary is always kept, and names say which sites there are."""

from functools import cache

import numpy as np
import pytest
import torch

import tests.twins.keep_only_twin as twin
from attribution.effects.metric_keeping import Kept, logits_keeping, metric_keeping
from attribution.methods.activation_difference import activation_difference
from attribution.models.site_names import kind_of, layer_of, sites_from, sites_named
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS, columns_of_keys, node_keys
from attribution.splice.references import Reference, counterfactual, zero
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import PAIRS, World

SITES = ("blocks.0.hook_attn_out", "blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "blocks.1.hook_resid_post")


@cache
def world() -> World:
    """Six sites in two layers, six encoder kinds."""
    return every_kind_world()


def keys_above_and_below() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half of the nodes that change at layer 1, by their keys in the whole splice and in that from layer 1, and every
    node below that could be kept.
    """
    spliced = world().spliced
    effects = activation_difference(spliced, PAIRS, logit_difference)
    columns = columns_of_keys(effects.keys())
    layers = np.array([-1, *map(layer_of, spliced.sites)])
    above = effects.keys()[layers[columns["site"]] == 1]
    drawn = above[np.random.default_rng(0).random(len(above)) < 0.5]
    below = int((layers == 0).sum())
    named = columns_of_keys(drawn)
    kinds = np.where(named["index"] >= 0, KINDS.index("feature"), KINDS.index("error"))
    moved = node_keys(named["example"], named["position"], named["index"], site=named["site"] - below, kind=kinds)
    return drawn, np.sort(moved), every_key_below()


def every_key_below() -> np.ndarray:
    """Every feature and every error of layer 0 at every position of every pair."""
    spliced = world().spliced
    parts: list[np.ndarray] = []
    for place, site in enumerate(spliced.sites, start=1):
        if layer_of(site) == 0:
            for example, pair in enumerate(PAIRS):
                for kind, indices in (("feature", range(spliced.saes[site].d_sae)), ("error", [-1])):
                    grid = np.array([(example, pos, index) for pos in range(len(pair)) for index in indices])
                    parts.append(node_keys(*grid.T, site=place, kind=kind))
    return np.concatenate(parts)


@pytest.mark.parametrize("reference", [counterfactual, zero], ids=["counterfactual", "zero"])
def test_a_splice_from_a_layer_is_the_whole_splice_with_all_nodes_below_kept(reference: Reference) -> None:
    in_whole, above, below = keys_above_and_below()
    spliced = world().spliced.from_layer(1)
    whole = [Kept(np.sort(np.concatenate([below, keys]))) for keys in (in_whole, in_whole[:0])]
    part = [Kept(above), Kept(above[:0])]
    given = PAIRS, logit_difference
    expected = metric_keeping(spliced.whole, *given, whole, reference)
    found = metric_keeping(spliced, *given, part, reference)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    alone = metric_keeping(spliced.whole, *given, [Kept(in_whole)], reference)
    assert np.abs(alone - expected[0]).max() > 1e-3


def test_a_splice_from_a_layer_equals_plain_hooks_with_mask_1_below() -> None:
    _, above, _ = keys_above_and_below()
    spliced, columns = world().spliced.from_layer(1), columns_of_keys(above)
    for example, pair in enumerate(PAIRS):
        own = {
            (spliced.sites[site - 1], "error" if index < 0 else "feature", position, index)
            for e, site, position, index in zip(
                *(columns[n].tolist() for n in ("example", "site", "position", "index")), strict=True
            )
            if e == example
        }
        reference = twin.of_run(world(), twin.bare_run(world(), pair.patch_ids))
        expected = twin.twin_logits(
            world(), pair.clean_ids, lambda node, own=own: node in own or layer_of(node[0]) == 0, reference
        )
        mine = columns["example"] == example
        keys = node_keys(
            np.zeros(mine.sum(), np.int64),
            *(columns[name][mine] for name in ("position", "index")),
            site=columns["site"][mine],
            kind=np.where(columns["index"][mine] >= 0, KINDS.index("feature"), KINDS.index("error")),
        )
        found = logits_keeping(spliced, PromptPairs((pair,)), Kept(np.sort(keys)), counterfactual)[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_part_remembers_its_boundary_and_the_whole_and_leaves_the_splice_as_it_was() -> None:
    spliced = world().spliced
    sites = spliced.sites
    part = spliced.from_layer(1)
    assert (part.boundary, part.whole, set(map(layer_of, part.sites))) == (1, spliced, {1})
    kind = kind_of(part.sites[-1])
    few = part.at_sites(kind)
    assert few.boundary == 1
    assert set(few.whole.sites) == {site for site in sites if kind_of(site) == kind}
    assert (spliced.boundary, spliced.whole, spliced.sites) == (None, spliced, sites)
    assert set(part.hashes()["saes"]) == set(part.sites)


def test_a_bridges_own_name_stands_for_its_site(llama_world: World) -> None:
    assert llama_world.spliced.at_sites("blocks.1.mlp.hook_out").sites == ("blocks.1.hook_mlp_out",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("resid_post",), (SITES[1], SITES[3])),
        (("attn.z", "attn_out"), (SITES[0], SITES[2])),
        (("blocks.1.*",), SITES[2:]),
        (("blocks.0.hook_resid_post",), (SITES[1],)),
        (("*_post", "attn*"), SITES),
    ],
)
def test_sites_are_named_by_kind_name_or_glob(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert sites_named(names, SITES) == expected


def test_a_name_of_no_site_is_an_error_that_lists_kinds_and_sites() -> None:
    with pytest.raises(LookupError, match=r"called 'resid'. There are: attn_out, resid_post, attn\.z, each a kind; .*"):
        sites_named(("resid_post", "resid"), SITES)
    with pytest.raises(LookupError, match="No sites are named"):
        sites_named((), SITES)


def test_a_site_belongs_to_the_block_in_its_name() -> None:
    sites = ("blocks.1.hook_resid_pre", "blocks.1.hook_resid_post", "blocks.2.hook_resid_pre", "blocks.4.hook_mlp_out")
    assert sites_from(2, sites) == sites[2:]
    assert sites_from(3, sites) == sites[3:]


@pytest.mark.parametrize(
    ("layer", "sites", "message"),
    [
        (0, SITES, "From layer 0: no SAE lies below, so nothing would change.*layers 0, 1. Give one .* above 0"),
        (2, SITES, "From layer 2: no SAE lies there or above.*layers 0, 1"),
        (1, SITES[2:], "no SAE lies below.*One layer has no boundary inside"),
    ],
)
def test_a_boundary_that_leaves_nothing_or_everything_names_the_layers(
    layer: int, sites: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sites_from(layer, sites)
