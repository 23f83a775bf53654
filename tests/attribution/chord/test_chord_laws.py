"""Laws of chord IG on random networks with random gates: completeness, conservation, degenerate gates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, JumpReLU, ReLU, TopK
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import TOKENS, ErrorMode
from tests.twins import chord_twin
from tests.worlds.chord_worlds import (
    KINDS,
    MIXED,
    ONE_TOKEN,
    PAIRS,
    gross,
    hand_made,
    random_world,
    reader,
    sum_of,
    through_model,
    undivided_of,
    vector,
)
from tests.worlds.tiny_models import PLAIN_SITES, World

FINE = gauss_legendre(16)
RESIDUAL = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
SITES = st.dictionaries(st.sampled_from(PLAIN_SITES), st.sampled_from(KINDS), min_size=1, max_size=4)
SEEDS = st.integers(0, 10_000)
CAPS = st.sampled_from([1.0, 2.0, 4.0, math.inf])
ENDS: st.SearchStrategy[ErrorMode] = st.sampled_from(["path", "zero"])
LAW = settings(max_examples=25, deadline=None, derandomize=True)
SHORT = settings(max_examples=10, deadline=None, derandomize=True)


def chord(world: World, mode: ErrorMode = "path", points: Quadrature = FINE, cap: float = 4.0) -> ChordAttribution:
    return chord_attribution(
        world.spliced, PAIRS, logit_difference, error_mode=mode, points=points, slope_cap=cap, split=True
    )


def beyond(found: ChordAttribution, example: int, mode: ErrorMode, later: Sequence[str]) -> float:
    """Sum of the sources at later sites: undivided jumps, and in `path` mode errors."""
    errors = sum_of(found, example, "error", later) if mode == "path" else 0.0
    return errors + undivided_of(found, example, later)


@LAW
@given(seed=SEEDS, sites=SITES, mode=ENDS, cap=CAPS)
def test_every_cut_of_the_graph_sums_to_the_total_effect(
    seed: int, sites: Mapping[str, type[SAE]], mode: ErrorMode, cap: float
) -> None:
    """At a residual site: its features and errors, and the errors and undivided jumps of later sites."""
    world = random_world(seed, sites)
    found = chord(world, mode, cap=cap)
    spliced = world.spliced.sites
    for example, total in enumerate(found.effects.total_effect):
        within = 1e-6 * gross(found, example)
        assert within > 0
        bottom = sum_of(found, example, "token", [TOKENS]) + beyond(found, example, mode, spliced)
        assert bottom == pytest.approx(total, abs=within)
        for number, site in enumerate(spliced):
            if site in RESIDUAL:
                nodes = sum_of(found, example, "feature", [site])
                nodes += sum_of(found, example, "error", [site]) if mode == "path" else 0.0
                assert nodes + beyond(found, example, mode, spliced[number + 1 :]) == pytest.approx(total, abs=within)


@SHORT
@given(seed=SEEDS, sites=SITES, mode=ENDS)
def test_without_a_cap_nothing_is_left_undivided(seed: int, sites: Mapping[str, type[SAE]], mode: ErrorMode) -> None:
    found = chord(random_world(seed, sites), mode, gauss_legendre(4), cap=math.inf)
    largest = np.abs(found.ledger.contribution).max(initial=1e-3)
    np.testing.assert_allclose(found.ledger.undivided, 0, atol=1e-9 * largest)


@LAW
@given(seed=SEEDS, site=st.sampled_from(PLAIN_SITES), kind=st.sampled_from(KINDS))
def test_with_one_gated_site_smooth_sources_and_the_ledger_add_up(seed: int, site: str, kind: type[SAE]) -> None:
    """The smooth sweep leaves out exactly what the only site's ledger lists: flow through gates, undivided jumps."""
    found = chord(random_world(seed, {site: kind}))
    assert found.smooth is not None
    assert found.jump is not None
    tokens, errors = found.effects.of_kind("token"), found.effects.of_kind("error")
    for example, total in enumerate(found.effects.total_effect):
        mine = found.effects.example == example
        jumps = found.ledger.contribution[found.ledger.example == example].sum()
        smooth = found.smooth[mine & (tokens | errors)].sum()
        assert smooth + jumps == pytest.approx(total, abs=1e-6 * gross(found, example))
        np.testing.assert_array_equal(found.jump[mine & ~tokens], 0)


@SHORT
@given(seed=SEEDS, sites=st.sets(st.sampled_from(PLAIN_SITES), min_size=1, max_size=4), mode=ENDS)
def test_a_model_without_jumps_is_smooth_throughout(seed: int, sites: set[str], mode: ErrorMode) -> None:
    found = chord(random_world(seed, dict.fromkeys(sorted(sites), ReLU)), mode, gauss_legendre(4))
    assert found.jump is not None
    assert np.abs(found.effects.effect).max() > 1e-3
    np.testing.assert_array_equal(found.jump, 0)
    assert len(found.ledger) == 0


@SHORT
@given(seed=SEEDS, sites=SITES)
def test_what_enters_a_gate_over_its_edges_and_its_undivided_jump_is_its_attribution(
    seed: int, sites: Mapping[str, type[SAE]]
) -> None:
    """Edges by full forwards: the seed of one node, pulled back to every site and token it can see.

    Of a TopK feature the threshold's motion, which other features' projections make, is part of what enters it.
    """
    world = random_world(seed, sites)
    found, effects = chord(world), chord(world).effects
    rule = list(zip(FINE.points, FINE.weights, strict=True))
    for example, pair in enumerate(PAIRS):
        c, p = (chord_twin.ends_of(world, ids, "path") for ids in (pair.clean_ids, pair.patch_ids))
        points = [chord_twin.at(world, pair.clean_ids, c, p, alpha, weight) for alpha, weight in rule]
        features = np.flatnonzero(effects.of_kind("feature") & (effects.example == example))
        for n in features[np.argsort(-np.abs(effects.effect[features]))[:4]]:
            site, pos, d = effects.sites[effects.site[n]], int(effects.position[n]), int(effects.index[n])
            sae = world.saes[site]
            slopes = chord_twin.slopes_of(sae, c.p[site], p.p[site], 4.0)
            multiplier = effects.effect[n] / (effects.patch[n] - effects.clean[n])
            of_p = torch.zeros(sae.d_sae).double()
            of_p[d] = slopes.value[pos, d] + slopes.gate[pos, d]
            if slopes.shares is not None:
                of_p -= slopes.gate[pos, d] * slopes.shares[pos]
            own: Tensor = float(multiplier) * sae.W_enc @ of_p
            part = chord_twin.pulled(points, lambda s, site=site, pos=pos, own=own: own @ s.x[site][pos])
            inflow = sum(float((part[leaf] * (p.y[leaf] - c.y[leaf])).sum()) for leaf in c.y)
            inflow += float((part[TOKENS] * (p.entry - c.entry)).sum())
            entry = (found.ledger.example == example) & (found.ledger.position == pos) & (found.ledger.index == d)
            entry &= found.ledger.site == found.ledger.sites.index(site)
            undivided = float(found.ledger.undivided[entry].sum())
            assert inflow + undivided == pytest.approx(float(effects.effect[n]), abs=1e-6 * gross(found, example))


def test_a_gate_crossed_in_both_directions_on_the_way_is_no_flip() -> None:
    """x² bends the real path: some gates flip on the way and are back in their first state at its end."""
    sites: dict[str, type[SAE]] = {"blocks.0.hook_mlp_out": ReLU, "blocks.0.hook_resid_post": JumpReLU}
    world = random_world(3, sites, bend=torch.square, d_sae=24)
    found = chord(world)
    assert found.effects.residual is not None
    crossed = 0
    for example, pair in enumerate(PAIRS):
        c, p = (chord_twin.ends_of(world, ids, "path") for ids in (pair.clean_ids, pair.patch_ids))
        site = RESIDUAL[0]
        sae = world.saes[site]
        opened = [
            chord_twin.value_and_gate(sae, chord_twin.projected(sae, x))[1]
            for x in arrivals_on_the_real_path(world, pair, c.entry, p.entry, site)
        ]
        same = (opened[0] == opened[-1]) & (torch.stack(opened[1:-1]) != opened[0]).any(0)
        ledger = found.ledger
        here = (ledger.example == example) & (ledger.site == ledger.sites.index(site))
        listed = set(zip(ledger.position[here].tolist(), ledger.index[here].tolist(), strict=True))
        assert not {(pos, d) for pos, d in torch.nonzero(same).tolist()} & listed
        crossed += int(same.sum())
        assert found.effects.residual[example] == pytest.approx(0, abs=1e-6 * gross(found, example))
    assert crossed > 0, "some gates go both ways"


def arrivals_on_the_real_path(world: World, pair: PromptPair, start: Tensor, end: Tensor, site: str) -> list[Tensor]:
    """The activations that arrive at a site as the embeddings move and nothing else is held."""
    with torch.no_grad():
        return [
            chord_twin.run(world, pair.clean_ids, lambda _site, x: x, start + alpha * (end - start)).x[site]
            for alpha in np.linspace(0, 1, 41)
        ]


@SHORT
@given(seed=SEEDS, mode=ENDS)
def test_ties_between_topk_features_break_no_law(seed: int, mode: ErrorMode) -> None:
    """Every feature has a double that writes elsewhere: the k-th and the (k+1)-th are often the same number."""
    world = random_world(seed, dict.fromkeys(PLAIN_SITES[1:4], TopK), d_sae=4)
    twice: dict[str, SAE] = {}
    for site, sae in world.saes.items():
        assert isinstance(sae, TopK)
        W_dec = torch.cat([sae.W_dec, sae.W_dec.roll(1, dims=1)])
        twice[site] = replace(
            sae, W_enc=torch.cat([sae.W_enc, sae.W_enc], 1), W_dec=W_dec, b_enc=torch.cat([sae.b_enc, sae.b_enc])
        )
    found = chord(World(world.model, twice), mode)
    assert np.isfinite(found.effects.effect).all()
    for example, total in enumerate(found.effects.total_effect):
        bottom = sum_of(found, example, "token", [TOKENS]) + beyond(found, example, mode, found.ledger.sites)
        assert bottom == pytest.approx(total, abs=1e-6 * gross(found, example))


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-13])
def test_a_hairs_breadth_across_a_threshold_is_an_undivided_jump_and_no_explosion(gap: float) -> None:
    """z from 0.5 − gap/2 to 0.5 + gap/2 over θ = 0.5: m = 15 f jumps by 7.5, and the token gets 15 · 4 gap of it."""
    sae = reader(JumpReLU, [vector(1)], [vector(0, 3)], b_enc=[0.0], threshold=[0.5])
    world = hand_made(
        through_model(vector(0.5 - gap / 2), vector(0.5 + gap / 2), vector(0, 5)), {"blocks.0.hook_resid_post": sae}
    )
    found = chord_attribution(world.spliced, ONE_TOKEN, logit_difference, error_mode="zero")
    total = 15 * (0.5 + gap / 2)
    assert found.effects.total_effect.tolist() == pytest.approx([total])
    assert sum_of(found, 0, "token", [TOKENS]) == pytest.approx(60 * gap, rel=1e-2)
    assert found.ledger.undivided.tolist() == pytest.approx([total - 60 * gap])
    assert found.effects.residual is not None
    np.testing.assert_allclose(found.effects.residual, 0, atol=1e-12)


@pytest.mark.parametrize("mode", ["path", "zero", "live"])
def test_equal_prompts_give_no_nodes_and_an_empty_ledger(mode: ErrorMode) -> None:
    world = random_world(0, MIXED)
    same = PromptPairs((PromptPair((6, 5, 9), (6, 5, 9), 4, 7), PromptPair((7, 8), (7, 8), 9, 2)))
    found = chord_attribution(world.spliced, same, logit_difference, error_mode=mode, split=True, rtol=1e-3)
    assert len(found.effects) == len(found.ledger) == 0
    assert found.effects.residual is not None
    for zeros in (found.effects.total_effect, found.effects.residual, found.stretch_residual, found.gross_flow):
        np.testing.assert_array_equal(zeros, 0)
    assert found.converged is not None
    assert found.converged.all()
