"""Features that are searched for: exact methods patch them as any others, and whatever needs a gradient refuses."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import attribution.splice.gate_watch as gate_watch
from attribution.checking.check import check
from attribution.checking.own_path import own_paths
from attribution.checking.sae_quality import sae_quality
from attribution.dictionaries import SAE, Pursuit
from attribution.edges.chord_edges import chord_edges
from attribution.edges.direct_feature_attribution import direct_feature_attribution
from attribution.edges.exact_edges import exact_edges
from attribution.edges.explain_node import explain_node
from attribution.edges.gradient_edges import gradient_edges
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.methods.registry import METHODS
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.interventions import ablate_feature
from attribution.splice.node_keys import node_of_key
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import TokenNode
from tests.attribution.cones.test_cone import assert_same, whole_runs
from tests.attribution.edges.test_exact_edges import ByHand
from tests.attribution.methods.test_methods_equal_twins import TWO, assert_twin_of_exact
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on

MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
NORMS = {"blocks.0.hook_mlp_out": "layer_norm", "blocks.1.hook_mlp_out": "constant_norm_rescale"}


def searched(model: LanguageModel, norms: Mapping[str, Any]) -> dict[str, SAE]:
    rules = ("gradient", "matching")
    saes = saes_on(model, JUMPRELU_SITES, norms)
    return {site: Pursuit.of(sae, k=4, rule=rules[n % 2]) for n, (site, sae) in enumerate(saes.items())}


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, searched(llama, NORMS))


@pytest.fixture(scope="module")
def nodes(world: World) -> Effects:
    return exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")


@pytest.mark.parametrize("mode", MODES)
def test_exact_patching_equals_one_run_per_node(world: World, mode: ErrorMode) -> None:
    assert_twin_of_exact(world, TWO, mode)


@pytest.mark.parametrize("mode", ["frozen", "zero"])
def test_cones_equal_whole_runs_in_float32(world: World, mode: ErrorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    given = SplicedModel(world.model, world.saes), TWO, logit_difference
    assert_same(exact_patching(*given, error_mode=mode), whole_runs(monkeypatch, *given, error_mode=mode))


@pytest.mark.parametrize("how", ["cones", "whole runs"])
def test_runs_in_which_a_choice_was_close_are_repeated_in_float64(
    llama: LanguageModel, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken far enough, every run is close."""
    spliced = SplicedModel(llama, searched(llama, {}))
    given = spliced, PromptPairs(PAIRS.pairs[:1]), logit_difference
    plain = exact_patching(*given, error_mode="frozen")
    monkeypatch.setattr(gate_watch, "NEAR", 1e3)
    monkeypatch.setattr("attribution.cones.exact_engine.REPEATED_SHARE", 1.0)
    run = exact_patching if how == "cones" else lambda *g, **o: whole_runs(monkeypatch, *g, **o)
    close = run(*given, error_mode="frozen")
    earlier = close.site < len(spliced.sites)
    assert close.repeated[earlier].sum() > 10
    assert not plain.repeated.any()
    assert not close.undecided.any()
    assert_same(close, plain)
    assert not run(*given, error_mode="live").repeated.any()


@torch.no_grad()
def test_exact_edges_equal_whole_forwards_with_every_site_held_by_hand(llama: LanguageModel) -> None:
    world = World(llama, searched(llama, {}))
    effects = exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")
    keys = effects.keys()
    first, later = effects.at("blocks.0.hook_mlp_out"), effects.at("blocks.0.hook_resid_post")
    sources, targets = (keys[at & effects.of_kind("feature")].tolist() for at in (first, later))
    pairs = [(s, t) for s in sources[:4] for t in targets[:4] if same_place(effects, s, t)]
    source, target = (np.array(column) for column in zip(*pairs, strict=True))
    found = exact_edges(world.spliced, PAIRS, logit_difference, source, target, error_mode="frozen")
    by_hand = ByHand(world, "frozen")
    sites = effects.sites
    expected = [by_hand.weight(node_of_key(s, sites), node_of_key(t, sites)) for s, t in pairs]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def same_place(effects: Effects, source: int, target: int) -> bool:
    a, b = (node_of_key(key, effects.sites) for key in (source, target))
    return a.example == b.example and a.position <= b.position


def test_an_ablated_feature_is_gone_and_quality_is_measured(world: World, nodes: Effects) -> None:
    chosen = np.flatnonzero(nodes.of_kind("feature") & (nodes.example == 0) & (nodes.clean > 0))[0]
    site, pos, index = nodes.sites[nodes.site[chosen]], int(nodes.position[chosen]), int(nodes.index[chosen])
    ids = torch.tensor([PAIRS[0].clean_ids])
    run = world.spliced.run(ids, [ablate_feature(site, index, [pos])])
    assert float(run.features[site].dense()[0, pos, index]) == 0
    assert float(run.encoded[site].dense()[0, pos, index]) == pytest.approx(nodes.clean[chosen])
    quality = sae_quality(world.spliced, [pair.clean_ids for pair in PAIRS], "prompts")
    short = {site: replace(sae, k=2) for site, sae in world.spliced.saes.items() if isinstance(sae, Pursuit)}
    worse = sae_quality(SplicedModel(world.model, short), [pair.clean_ids for pair in PAIRS], "prompts")
    for long, other in zip(quality.sites, worse.sites, strict=True):
        assert other.l0 <= 2 < long.l0 <= 4
        assert 0 < long.fvu < other.fvu


Ask = Callable[[SplicedModel, Effects], object]
GRADIENT_METHODS = [name for name in METHODS if name not in ("exact", "activation-difference")]
ASKED: dict[str, Ask] = {
    "chord_edges": lambda s, n: chord_edges(s, PAIRS, logit_difference, n),
    "gradient_edges": lambda s, n: gradient_edges(s, PAIRS, logit_difference, n),
    "explain_node": lambda s, n: explain_node(s, PAIRS, logit_difference, TokenNode(1)),
    "own_paths": lambda s, n: own_paths(s, PAIRS, logit_difference, n),
    "check": lambda s, n: check(s, PAIRS, logit_difference, n),
    "direct_feature_attribution": lambda s, n: direct_feature_attribution(
        s, "blocks.0.hook_attn_out", 0, torch.tensor([PAIRS[0].clean_ids])
    ),
}
REFUSED = (
    "needs a gradient through the encoder, and the pursuit at 'blocks.0.hook_attn_out' has none, .* exact_patching"
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_methods_that_need_a_gradient_refuse_and_name_those_that_do_not(
    world: World, method: str, mode: ErrorMode
) -> None:
    options: dict[str, Any] = {} if method in ("mask-path", "ig-input", "chord-ig") else {"error_mode": mode}
    with pytest.raises(ValueError, match=REFUSED):
        METHODS[method](world.spliced, PAIRS, logit_difference, **options)


@pytest.mark.parametrize("asked", ASKED)
def test_whatever_else_needs_a_gradient_refuses(world: World, nodes: Effects, asked: str) -> None:
    with pytest.raises(ValueError, match=REFUSED):
        ASKED[asked](world.spliced, nodes)


def test_how_far_nodes_move_needs_no_gradient(world: World, nodes: Effects) -> None:
    moved = METHODS["activation-difference"](world.spliced, PAIRS, logit_difference, error_mode="frozen")
    np.testing.assert_array_equal(moved.keys(), nodes.keys())
