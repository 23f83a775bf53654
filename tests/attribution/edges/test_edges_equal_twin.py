"""Chord and plain-gradient edges against edges by autograd: from features, errors and tokens, over skip connections."""

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.dictionaries import Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import METRIC_KEY, Edges
from attribution.edges.gradient_edges import gradient_edges
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import kl_divergence, logit_difference
from attribution.splice.node_keys import node_of_key
from tests.twins.edge_twin import Node, edges_by_autograd
from tests.twins.method_twins import Run, ends, slopes
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on

MIXED = dict(zip(JUMPRELU_SITES, (TopK, Gated, JumpReLU, ProLU, ReLU), strict=True))
AT_CLEAN = Quadrature((0.0,), (1.0,), "clean run")


def difference(example: int) -> Callable[[Tensor], Tensor]:
    pair = PAIRS[example]
    return lambda logits: (logits[:, pair.answer_id] - logits[:, pair.foil_id]).sum()


def of_example(found: Edges, nodes: Effects, example: int) -> dict[tuple[Node, Node | None], float]:
    """The edges of one example, with nodes in the twin's form."""

    def node(key: int) -> Node:
        at = node_of_key(key, nodes.sites)
        return at.site, at.kind, at.position, at.index

    rows = zip(found.example, found.source.tolist(), found.target.tolist(), found.weight.tolist(), strict=True)
    return {(node(s), None if t == METRIC_KEY else node(t)): w for e, s, t, w in rows if e == example}


def features(effects: Effects, example: int, most: int) -> dict[Node, float]:
    """About `most` feature nodes of every site in an example, at all positions, with their effects."""
    found: dict[Node, float] = {}
    for place, site in enumerate(effects.sites):
        here = effects.of_kind("feature") & (effects.example == example) & (effects.site == place)
        chosen = np.flatnonzero(here)
        for n in chosen[:: max(1, len(chosen) // most)]:
            found[site, "feature", int(effects.position[n]), int(effects.index[n])] = float(effects.effect[n])
    return found


def assert_same_edges(found: dict[tuple[Node, Node | None], float], expected: dict[tuple[Node, Node | None], float]):
    """Assert that the edges are exactly those of the twin that are not 0, errors and skip connections among them."""
    largest = max(map(abs, expected.values()))
    goals = {target for _, target in expected}
    for edge, weight in expected.items():
        assert found.get(edge, 0.0) == pytest.approx(weight, rel=1e-6, abs=1e-9 * largest), edge
    assert all(abs(w) <= 1e-9 * largest for e, w in found.items() if e[1] in goals and e not in expected)
    big = [edge for edge, weight in expected.items() if abs(weight) > 1e-4 * largest]
    assert any(source[1] == "error" for source, _ in big)
    assert any(s[0] == "hook_embed" and t is not None and t[0] != "blocks.0.hook_attn_out" for s, t in big)


@pytest.mark.parametrize("example", range(len(PAIRS)))
def test_chord_edges_equal_autograd_on_straight_lines(llama: LanguageModel, example: int) -> None:
    world = World(llama, saes_on(llama, {s: JumpReLU if n % 2 else ReLU for n, s in enumerate(JUMPRELU_SITES)}))
    rule = gauss_legendre(6)
    effects = chord_integrated_gradients(world.spliced, PAIRS, logit_difference, points=rule)
    found = chord_edges(world.spliced, PAIRS, logit_difference, effects, points=rule)
    runs = ends(world, PAIRS[example].clean_ids, PAIRS[example].patch_ids, "path")
    seeds: dict[Node, Tensor] = {}
    for (site, kind, pos, d), attribution in features(effects, example, 3).items():
        direction = world.saes[site].W_enc[:, d]
        moved = (runs[1].x[site] - runs[0].x[site])[0, pos] @ direction
        change = (runs[1].f[site] - runs[0].f[site])[0, pos, d]
        seeds[site, kind, pos, d] = attribution / change * (change / moved).clamp(max=4.0) * direction
    expected = edges_by_autograd(world, PAIRS[example].clean_ids, runs, rule, difference(example), seeds)
    assert_same_edges(of_example(found, effects, example), expected)


@pytest.mark.parametrize("mode", ["frozen", "zero"])
def test_gradient_edges_equal_autograd_at_the_clean_run(llama: LanguageModel, mode: str) -> None:
    world, example = World(llama, saes_on(llama, MIXED)), 1
    ids = PAIRS[example].clean_ids
    effects = exact_patching(world.spliced, PAIRS, logit_difference, error_mode=mode)  # pyright: ignore[reportArgumentType]
    found = gradient_edges(world.spliced, PAIRS, logit_difference, effects, error_mode=mode)  # pyright: ignore[reportArgumentType]
    runs = ends(world, ids, PAIRS[example].patch_ids, mode)
    own = slopes(world, ids, difference(example), mode, runs[0].e, runs[0].entry, runs[0])
    seeds = {
        (site, kind, pos, d): own[site, "feature"][pos, d] * local_slope(world, runs[0], site, pos, d)
        for site, kind, pos, d in features(effects, example, 8)
    }
    expected = edges_by_autograd(world, ids, runs, AT_CLEAN, difference(example), seeds)
    if mode == "zero":
        expected = {edge: weight for edge, weight in expected.items() if edge[0][1] != "error"}
        assert not any(s[1] == "error" for s, _ in of_example(found, effects, example))
        largest = max(map(abs, expected.values()))
        got = of_example(found, effects, example)
        assert all(got.get(e, 0.0) == pytest.approx(w, rel=1e-6, abs=1e-9 * largest) for e, w in expected.items())
        return
    assert_same_edges(of_example(found, effects, example), expected)


def local_slope(world: World, run: Run, site: str, pos: int, d: int) -> Tensor:
    """∂f_d/∂x: the encoder's direction where the gate is open, times exp(r_mag) for Gated; else 0."""
    sae = world.saes[site]
    slope = (run.f[site][0, pos, d] > 0).double()
    if isinstance(sae, Gated):
        slope = slope * sae.r_mag[d].exp()
    return slope * sae.W_enc[:, d]


def test_edges_from_chosen_sources_only(llama: LanguageModel) -> None:
    world = World(llama, saes_on(llama, MIXED))
    effects = exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")
    few = effects.subset(np.argsort(-np.abs(effects.effect), kind="stable")[:15].copy())
    every = gradient_edges(world.spliced, PAIRS, logit_difference, few)
    some = gradient_edges(world.spliced, PAIRS, logit_difference, few, sources=few)
    kept = np.isin(every.source, few.keys())
    assert 0 < kept.sum() < len(every)
    np.testing.assert_array_equal(some.weight, every.weight[kept])
    np.testing.assert_array_equal(some.inflow, every.inflow)


def test_a_metric_that_is_flat_at_the_clean_run_has_no_gradient_edges(llama: LanguageModel) -> None:
    world = World(llama, saes_on(llama, MIXED))
    effects = exact_patching(world.spliced, PAIRS, kl_divergence, error_mode="frozen")
    with pytest.raises(ValueError, match="zero at the clean run"):
        gradient_edges(world.spliced, PAIRS, kl_divergence, effects)
    with pytest.raises(ValueError, match="frozen or zero; got 'live'"):
        gradient_edges(world.spliced, PAIRS, logit_difference, effects, error_mode="live")
