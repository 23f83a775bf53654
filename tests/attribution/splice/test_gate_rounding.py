"""Gates exactly at their threshold: no rounding decides them, whatever runs, and a margin that moves still does."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import attribution.splice.gate_rounding as gate_rounding
from attribution.checking.check import check
from attribution.checking.gates_at_threshold import gates_at_threshold
from attribution.checking.own_path import own_paths
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, TopK
from attribution.edges.exact_edges import exact_edges
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.gate_rounding import ROUNDINGS, settled
from attribution.splice.interventions import ablate_feature
from attribution.splice.node_keys import node_of_key
from attribution.splice.patch_values import counterfactual, zero
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from tests.attribution.cones.test_cone import MODELS, assert_same, spliced_model, whole_runs
from tests.worlds.chord_worlds import MIXED, random_world
from tests.worlds.chord_worlds import PAIRS as CHORD_PAIRS
from tests.worlds.planted_gates import PAIRS, SITES, planted_world, roundings_from_threshold
from tests.worlds.tiny_models import BRIDGES, JUMPRELU_SITES, World, fitting_sae, plain_world, saes_on, tiny_model
from tests.worlds.tiny_models import PAIRS as TINY_PAIRS

AWAY = 1e6
"""Roundings that every gate of a test world stands away from its threshold, at the least."""
MODES: tuple[ErrorMode, ...] = ("frozen", "zero")
GATED = (JumpReLU, BatchTopK, Gated, ProLU, TopK)


@cache
def planted(mode: ErrorMode) -> SplicedModel:
    return planted_world("gpt2", mode)


@pytest.mark.parametrize("mode", MODES)
def test_planted_gates_stand_at_their_threshold_in_every_batch(mode: ErrorMode) -> None:
    spliced, batch = planted(mode), PAIRS.batch()
    record = spliced.record(batch.clean_ids, batch.last, mode)
    for site, kind in SITES.items():
        gates = record.sites[site].at_threshold
        assert gates is not None
        assert len(gates) == 3, (site, kind)
    for size in (1, 2, 7, 8):
        assert gates_at_threshold(spliced, PAIRS, mode, batch_size=size) == 3 * len(SITES)
    assert gates_at_threshold(spliced, PAIRS, "live") == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_verdict_counts_the_gates_at_their_threshold(mode: ErrorMode) -> None:
    few = PAIRS.head(2)
    estimate = attribution_patching(planted(mode), few, logit_difference, error_mode=mode)
    found = check(planted(mode), few, logit_difference, estimate, verify=20, explained=0)
    assert found.gates_at_threshold == gates_at_threshold(planted(mode), few, mode) > 0


@pytest.mark.parametrize(
    "value", [counterfactual, pytest.param(zero, marks=pytest.mark.slow)], ids=["counterfactual", "zero"]
)
@pytest.mark.parametrize("mode", ["frozen", pytest.param("zero", marks=pytest.mark.slow)])
def test_gates_at_their_threshold_fall_alike_in_cones_whole_runs_and_batches_of_every_size(
    mode: ErrorMode, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"error_mode": mode, "patch_value": value}
    given = planted(mode), PAIRS.head(2), logit_difference
    expected = exact_patching(*given, **options)
    for size in (1, 2):
        assert_equal(exact_patching(*given, batch_size=size, bytes_at_once=size * 2**18, **options), expected)
    found = whole_runs(monkeypatch, *given, batch_size=1, runs_at_once=64, **options)
    assert_equal(found, expected)


def assert_equal(found: Effects, expected: Effects) -> None:
    assert_same(found, expected)
    np.testing.assert_allclose(found.effect, expected.effect, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.clean, expected.clean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_without_the_rule_the_planted_gates_fall_by_rounding(mode: ErrorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_rounding, "ROUNDINGS", -1.0)
    spliced = planted(mode)
    noisy = [jittered(spliced, seed) for seed in (0, 1)]
    first, second = (exact_patching(s, PAIRS, logit_difference, error_mode=mode) for s in noisy)
    shared = np.intersect1d(first.keys(), second.keys())
    found, other = (e.effect[np.isin(e.keys(), shared)] for e in (first, second))
    assert np.abs(found - other).max() > 1e-4 * np.abs(found).max()


@pytest.mark.parametrize("mode", MODES)
def test_with_the_rule_encoders_that_differ_by_rounding_give_the_same_effects(mode: ErrorMode) -> None:
    expected = exact_patching(planted(mode), PAIRS, logit_difference, error_mode=mode)
    for seed in (0, 1):
        found = exact_patching(jittered(planted(mode), seed), PAIRS, logit_difference, error_mode=mode)
        assert_equal(found, expected)


def jittered(spliced: SplicedModel, seed: int) -> SplicedModel:
    """Encoder weights moved by one rounding each: what another order of sums does, on any processor."""
    draw = torch.Generator().manual_seed(seed)

    def moved(w: Tensor) -> Tensor:
        return w * (1 + torch.finfo(w.dtype).eps * torch.randint(-1, 2, w.shape, generator=draw, dtype=w.dtype))

    saes = {site: replace(sae, W_enc=moved(sae.W_enc)) for site, sae in spliced.saes.items()}
    return SplicedModel(spliced.model, saes, dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
def test_interventions_meet_the_same_gates_as_exact_patching(mode: ErrorMode) -> None:
    spliced = planted(mode)
    for name in ("live", "frozen"):
        ids = torch.tensor([PAIRS[0].clean_ids])
        assert torch.equal(spliced.run(ids, error_mode=name).logits, spliced.model.module(ids))
    effects = exact_patching(spliced, PAIRS, logit_difference, error_mode=mode, patch_value=zero)
    strongest = [n for n in np.argsort(-np.abs(effects.effect)) if effects.index[n] >= 0][:60:4]
    for n in strongest:
        node, pair = node_of_key(int(effects.keys()[n]), effects.sites), PAIRS[int(effects.example[n])]
        ids, edit = torch.tensor([pair.clean_ids]), ablate_feature(node.site, node.index, [node.position])
        after, before = (spliced.run(ids, edits, error_mode=mode).logits[0, -1] for edits in ([edit], []))
        change = (after - before)[pair.answer_id] - (after - before)[pair.foil_id]
        np.testing.assert_allclose(float(change), effects.effect[n], rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_own_paths_have_no_jump_that_nothing_caused(mode: ErrorMode) -> None:
    spliced, batch = planted(mode), PAIRS.batch()
    effects = exact_patching(spliced, PAIRS, logit_difference, error_mode=mode)
    chosen = effects.subset(np.sort(np.argsort(-np.abs(effects.effect))[:120:3]))
    record = spliced.record(batch.clean_ids, batch.last, mode)
    at = {
        (int(place) // gates.positions, site, int(place) % gates.positions, int(index))
        for site, r in record.sites.items()
        if (gates := r.at_threshold) is not None
        for place, index in zip(gates.place, gates.index, strict=True)
    }
    found = own_paths(spliced, PAIRS, logit_difference, chosen, error_mode=mode, batch_size=3)
    for key, path in found.items():
        node = node_of_key(key, effects.sites)
        np.testing.assert_allclose(path.exact, effects.effect[effects.keys() == key][0], rtol=0, atol=1e-10)
        flips = [flip for jump in path.jumps for flip in jump.flips]
        assert not any((node.example, f.site, f.position, f.index) in at and f.position < node.position for f in flips)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_exact_edges_into_gates_at_their_threshold_do_not_hang_on_the_batch(mode: ErrorMode) -> None:
    spliced = planted(mode)
    effects = exact_patching(spliced, PAIRS, logit_difference, error_mode=mode)
    first, second = "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"
    batch = PAIRS.batch()
    gates = spliced.record(batch.clean_ids, batch.last, mode).sites[second].at_threshold
    assert gates is not None
    targets = effects.keys()[effects.at(second) & effects.of_kind("feature")][:6]
    sources = effects.keys()[effects.at(first) & effects.of_kind("feature")]
    sources = np.array(
        [sources[effects_example(effects, sources) == effects_example(effects, [t])[0]][0] for t in targets]
    )
    weights = [
        exact_edges(spliced, PAIRS, logit_difference, sources, targets, error_mode=mode, batch_size=b, runs_at_once=r)
        for b, r in ((8, 64), (1, 1), (3, 2))
    ]
    for other in weights[1:]:
        np.testing.assert_allclose(other, weights[0], rtol=0, atol=1e-10)


def effects_example(effects: Effects, keys: Any) -> np.ndarray:
    return np.array([node_of_key(int(key), effects.sites).example for key in keys])


def at_threshold(kind: type[SAE]) -> tuple[SAE, Tensor, int]:
    """An SAE, an activation [1 1 d_in] at which one of its gates stands at its threshold, and that feature."""
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sae = fitting_sae(kind, x, "blocks.0.hook_mlp_out")
    own = x[:1, None]
    p = sae.project(own)[0, 0]
    if isinstance(sae, TopK):
        order = (p + sae.b_enc).argsort(descending=True)
        a, b = order[sae.k - 1], order[sae.k]
        b_enc = sae.b_enc.clone()
        b_enc[b] += (p + b_enc)[a] - (p + b_enc)[b]
        return replace(sae, b_enc=b_enc), own, int(max(a, b))
    d = int(sae.encode(own).value[0, 0].argmax())
    terms = {"threshold": lambda: (p + sae.b_enc)[d], "b_gate": lambda: -p[d], "b_enc": lambda: -p[d]}  # pyright: ignore
    name = next(n for n in terms if n in sae.tensors())
    changed = getattr(sae, name).clone()
    changed[d] = terms[name]()
    return replace(sae, **{name: changed}), own, d


@pytest.mark.parametrize("kind", GATED)
def test_a_margin_that_moves_by_more_than_the_tolerance_flips_its_gate_and_one_that_does_not_keeps_it(
    kind: type[SAE],
) -> None:
    sae, x, d = at_threshold(kind)
    encoding, gates = settled(sae, x, sae.encode(x))
    assert gates is not None
    mine = int(torch.nonzero(gates.index == d)[0, 0])
    assert encoding.features[0, 0, d] == 0
    direction = sae.W_enc[:, d] / sae.W_enc[:, d].norm() ** 2
    keep = gates.at_rows(torch.tensor([0]))
    for tolerances, opened in ((0.4, False), (-0.4, False), (4.0, True), (1e6, True), (-1e6, False)):
        moved = x + tolerances * float(gates.tolerance[mine]) * direction
        kept = keep(sae.encode(moved))
        assert bool(kept.features[0, 0, d] != 0) == opened, tolerances
        assert kept.margin is not None
        if isinstance(sae, TopK):
            assert int((kept.margin > 0).sum()) == sae.k


def test_ties_of_topk_keep_k_features_open_and_give_way_to_one_that_rises() -> None:
    z = torch.tensor([[[3.0, 1.0, 1.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
    eye = torch.eye(6, dtype=torch.float64)
    sae = TopK(W_enc=eye, W_dec=eye, b_dec=z.new_zeros(6), b_enc=z.new_zeros(6), k=3)
    for noise in (z * 0, torch.tensor([0, -1, 2, 1, 0, 0]) * 1e-16, torch.tensor([0, -2, 1, 2, 0, 0]) * 1e-16):
        encoding, gates = settled(sae, z + noise, sae.encode(z + noise))
        assert gates is not None
        assert encoding.features[0, 0].nonzero()[:, 0].tolist() == [0, 1, 2]
        risen = z + noise + torch.tensor([0, 0, 0, 0.5, 0, 0])
        kept = gates.at_rows(torch.tensor([0]))(sae.encode(risen))
        assert kept.features[0, 0].nonzero()[:, 0].tolist() == [0, 1, 3]


def test_where_no_gate_is_at_its_threshold_the_encoding_is_the_one_given() -> None:
    sae = spliced_model("gpt2").saes["blocks.0.hook_mlp_out"]
    x = torch.randn(2, 3, sae.d_in, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    encoding = sae.encode(x)
    found, gates = settled(sae, x, encoding)
    assert found is encoding
    assert gates is None


@pytest.mark.parametrize("kind", GATED)
def test_every_kind_with_a_margin_names_the_constants_in_it(kind: type[SAE]) -> None:
    sae, x, d = at_threshold(kind)
    _, constants = sae.margin_terms
    margin = sae.value_and_margin(sae.project(x))[1]
    assert margin is not None
    if kind is not TopK:
        assert float((sae.project(x) - margin)[0, 0, d].abs()) <= float(constants[d]) + 1e-12
    assert float(constants.max()) > 0
    assert ROUNDINGS >= 4


def worlds() -> Iterator[Any]:
    """Every world that tests share, with the prompts they run on it."""
    for kind in BRIDGES:
        model = tiny_model(kind)
        yield f"jumprelu on {kind}", World(model, saes_on(model, JUMPRELU_SITES)).spliced, TINY_PAIRS
    for kind in MODELS:
        if isinstance(kind, str):
            yield f"every kind on {kind}", spliced_model(kind), TINY_PAIRS
    for seed in range(8):
        yield f"random {seed}", random_world(seed, MIXED).spliced, CHORD_PAIRS
    for bend in (torch.tanh, lambda x: 0.7 * x):
        yield "plain", plain_world(bend, always_open=False).spliced, TINY_PAIRS


def test_test_worlds_keep_every_clean_and_patch_margin_away_from_zero() -> None:
    for name, spliced, pairs in worlds():
        assert isinstance(pairs, PromptPairs)
        batch = pairs.batch()
        for mode in ("live", "zero"):
            for ids in (batch.clean_ids, batch.patch_ids):
                least = roundings_from_threshold(spliced, spliced.record(ids, batch.last, mode))
                assert least > AWAY, (name, mode, least)
