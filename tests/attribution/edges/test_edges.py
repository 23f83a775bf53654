"""Chord edges are a flow: what enters a node leaves it, over skip connections and whatever its gates do."""

import numpy as np
import pytest

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.dictionaries import SAE, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import METRIC_KEY, Edges
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.splice.recording import ErrorMode
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on, tiny_model

POINTS = gauss_legendre(40)
KINDS: dict[str, type[SAE]] = {
    "blocks.0.hook_attn_out": TopK,
    "blocks.0.hook_mlp_out": Gated,
    "blocks.0.hook_resid_post": JumpReLU,
    "blocks.1.attn.hook_z": ProLU,
    "blocks.1.hook_mlp_out": ReLU,
}


def measured(world: World, mode: ErrorMode) -> tuple[ChordAttribution, Edges]:
    chords = chord_attribution(world.spliced, PAIRS, logit_difference, error_mode=mode, points=POINTS)
    every = chord_edges(world.spliced, PAIRS, logit_difference, chords.effects, error_mode=mode, points=POINTS)
    return chords, every


def entering(found: Edges) -> dict[tuple[int, int], float]:
    """Σ of the kept edges into each target of each example."""
    sums: dict[tuple[int, int], float] = {}
    for example, target, weight in zip(found.example, found.target, found.weight, strict=True):
        sums[int(example), int(target)] = sums.get((int(example), int(target)), 0.0) + float(weight)
    return sums


@pytest.mark.parametrize("mode", ["path", "zero"])
@pytest.mark.parametrize("kind", ["llama", "neox"])
def test_what_enters_a_node_and_its_undivided_jump_is_its_attribution(kind: str, mode: ErrorMode) -> None:
    model = tiny_model(kind)
    normalisations = {"blocks.0.hook_resid_post": "layer_norm"} if kind == "neox" else {}
    chords, every = measured(World(model, saes_on(model, KINDS, normalisations)), mode)
    effects = chords.effects
    attribution = dict(zip(effects.keys().tolist(), effects.effect.tolist(), strict=True))
    sums = entering(every)
    largest = np.abs(effects.effect).max()
    assert (every.target_key != METRIC_KEY).sum() == effects.of_kind("feature").sum()
    for n, (example, key) in enumerate(zip(every.target_example.tolist(), every.target_key.tolist(), strict=True)):
        whole = effects.total_effect[example] if key == METRIC_KEY else attribution[key]
        assert every.attribution[n] == pytest.approx(whole, rel=1e-6, abs=1e-9 * largest)
        assert sums.get((example, key), 0.0) == pytest.approx(every.inflow[n], rel=1e-9, abs=1e-12)
    if not normalisations:
        assert np.abs(every.passing).max() < 1e-9 * largest
    assert np.abs(every.imbalance).max() < 1e-6 * largest


def test_what_leaves_a_node_over_its_edges_is_its_attribution(llama: LanguageModel) -> None:
    chords, every = measured(World(llama, saes_on(llama, JUMPRELU_SITES)), "path")
    leaving: dict[int, float] = {}
    for source, weight in zip(every.source.tolist(), every.weight.tolist(), strict=True):
        leaving[source] = leaving.get(source, 0.0) + weight
    effects = chords.effects
    np.testing.assert_allclose(
        [leaving.get(key, 0.0) for key in effects.keys().tolist()], effects.effect, rtol=1e-6, atol=1e-7
    )


def test_an_edge_left_out_still_counts_to_its_targets_balance(llama: LanguageModel) -> None:
    world = World(llama, saes_on(llama, JUMPRELU_SITES))
    chords, every = measured(world, "path")
    least = float(np.median(np.abs(every.weight)))
    few = chord_edges(world.spliced, PAIRS, logit_difference, chords.effects, points=POINTS, least=least)
    assert len(few) == (np.abs(every.weight) >= least).sum()
    np.testing.assert_allclose(few.inflow, every.inflow, rtol=1e-12)
    assert np.abs(few.imbalance).max() < 1e-6


def by_ends(found: Edges, chosen: np.ndarray) -> dict[tuple[int, int, int], float]:
    """Weight by example, source and target."""
    columns = (found.example, found.source, found.target, found.weight)
    rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
    return {(example, source, target): weight for example, source, target, weight in rows}


def test_only_the_chosen_targets_get_edges_beside_the_metric(llama: LanguageModel) -> None:
    world = World(llama, saes_on(llama, JUMPRELU_SITES))
    chords, every = measured(world, "path")
    effects: Effects = chords.effects
    strongest = np.argsort(-np.abs(effects.effect) * effects.of_kind("feature"))[:7]
    mask = np.isin(np.arange(len(effects)), strongest)
    some = chord_edges(world.spliced, PAIRS, logit_difference, effects.subset(mask), points=POINTS)
    assert set(some.target.tolist()) <= {METRIC_KEY, *effects.keys()[mask].tolist()}
    kept = np.isin(every.target, [METRIC_KEY, *effects.keys()[mask].tolist()])
    assert by_ends(some, np.ones(len(some), bool)) == pytest.approx(by_ends(every, kept), rel=1e-9)


def test_live_mode_and_other_sites_are_refused(llama: LanguageModel) -> None:
    world = World(llama, saes_on(llama, JUMPRELU_SITES))
    effects = chord_attribution(world.spliced, PAIRS, logit_difference).effects
    with pytest.raises(ValueError, match="path or zero; got 'live'"):
        chord_edges(world.spliced, PAIRS, logit_difference, effects, error_mode="live")
    other = World(llama, saes_on(llama, dict(list(JUMPRELU_SITES.items())[:2])))
    with pytest.raises(ValueError, match="of other sites"):
        chord_edges(other.spliced, PAIRS, logit_difference, effects)
