"""m(λ) equals plain hooks, its gradient finite differences, and attribution on the path adds up to m(C) − m(∅)."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import permutations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
import torch

import tests.twins.keep_only_twin as twin
from attribution.dictionaries import JumpReLU, ReLU
from attribution.effects.metric_keeping import Kept, metric_keeping
from attribution.effects.quadrature import gauss_legendre, midpoint
from attribution.masks.mask_nodes import MaskNodes
from attribution.masks.masked_metric import MaskedMetric, upper_half
from attribution.methods.mask_path import mask_path
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs.chunk_store import kept_in
from attribution.splice import masking
from attribution.splice.edits import ERROR
from attribution.splice.node_keys import node_keys
from attribution.splice.references import Reference, counterfactual, zero
from circuits import load_model, load_saes, prompt_pairs, splice
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, bridge, plain_world, saes_on

COLUMN = 3
"""Positions lie in the columns 0, 1, 2 by their number modulo 3; those of column 2 carry no masks."""


@cache
def every_kind() -> World:
    return every_kind_world()


@cache
def normalised() -> World:
    model = bridge("llama")
    last = "blocks.1.hook_resid_post"
    sites = {"blocks.0.hook_mlp_out": JumpReLU, "blocks.0.hook_resid_post": ReLU, last: JumpReLU}
    return World(
        model, saes_on(model, sites, {"blocks.0.hook_resid_post": "constant_norm_rescale", last: "layer_norm"})
    )


@cache
def smooth() -> World:
    """ReLU SAEs: no gate jumps."""
    model = bridge("llama")
    return World(model, saes_on(model, dict.fromkeys(JUMPRELU_SITES, ReLU)))


WORLDS: dict[str, Callable[[], World]] = {"every kind": every_kind, "normalised": normalised}


def columns(pairs: PromptPairs) -> list[list[int]]:
    return [[p % COLUMN if p % COLUMN < 2 else -1 for p in range(len(pair))] for pair in pairs]


def some_nodes(world: World, share: float = 0.6) -> MaskNodes:
    """About this share of all features and errors in columns 0 and 1."""
    draw = np.random.default_rng(1)
    found = [
        (site, column, index)
        for site, sae in world.saes.items()
        for column in range(2)
        for index in range(ERROR, sae.d_sae)
        if draw.random() < share
    ]
    return MaskNodes.of(list(world.saes), found)


def game(world: World, reference: Reference = counterfactual, batch_size: int = 64) -> MaskedMetric:
    return MaskedMetric(
        world.spliced, PAIRS, logit_difference, reference, some_nodes(world), columns(PAIRS), batch_size
    )


def twin_metric(world: World, nodes: MaskNodes, mask: np.ndarray, example: int, reference: Reference) -> float:
    """m(λ) of one pair by the slow twin."""
    pair = PAIRS[example]
    given = {
        (nodes.sites[s], c, i): float(λ) for s, c, i, λ in zip(nodes.site, nodes.column, nodes.index, mask, strict=True)
    }

    def of(node: twin.Node) -> float:
        site, _, position, index = node
        return given.get((site, columns(PAIRS)[example][position], index), 0.0)

    values = twin.zeros(world) if reference is zero else twin.of_run(world, twin.bare_run(world, pair.patch_ids))
    logits = twin.twin_logits(world, pair.clean_ids, of, values)
    return float(logits[pair.answer_id] - logits[pair.foil_id])


@pytest.mark.parametrize("reference", [counterfactual, zero], ids=lambda r: r.name)
@pytest.mark.parametrize("name", WORLDS)
def test_the_metric_at_any_mask_equals_plain_hooks(name: str, reference: Reference) -> None:
    world = WORLDS[name]()
    made = game(world, reference)
    for seed in range(3):
        mask = np.random.default_rng(seed).random(len(made.nodes))
        expected = [twin_metric(world, made.nodes, mask, n, reference) for n in range(len(PAIRS))]
        assert made.values(mask) == pytest.approx(expected, abs=1e-6)
        assert game(world, reference, batch_size=1).values(mask) == pytest.approx(made.values(mask), abs=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_sums_over_entries_and_products_agree(sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world = every_kind()
    mask = np.random.default_rng(0).random(len(game(world).nodes))
    expected, slopes = game(world).values(mask), game(world).gradient(mask)
    monkeypatch.setattr(masking, "WORTH_A_PRODUCT", 0 if sparse else 10**9)
    monkeypatch.setattr(masking, "WORTH_A_CALL", 0)
    assert game(world).values(mask) == pytest.approx(expected, abs=1e-9)
    assert game(world).gradient(mask) == pytest.approx(slopes, abs=1e-9)


@pytest.mark.parametrize("name", WORLDS)
def test_the_gradient_equals_finite_differences(name: str) -> None:
    made = game(WORLDS[name]())
    draw = np.random.default_rng(2)
    mask = 0.2 + 0.6 * draw.random(len(made.nodes))
    slopes = made.gradient(mask)
    largest = np.abs(slopes).max()
    assert largest > 5e-3
    width = 1e-4  # some of the models compute in float32
    for n in [*np.argsort(-np.abs(slopes))[:12], *draw.integers(len(mask), size=12)]:
        step = np.zeros(len(mask))
        step[n] = width
        difference = (made.values(mask + step) - made.values(mask - step)).mean() / (2 * width)
        assert slopes[n] == pytest.approx(difference, abs=5e-3 * largest), n


def test_sets_are_those_of_the_metric_keeping_nodes() -> None:
    """m(1_C) is m(C), node by node and position by position."""
    world, made = every_kind(), game(every_kind())
    chosen = np.random.default_rng(3).random(len(made.nodes)) < 0.5
    keys: list[np.ndarray] = []
    for n in np.flatnonzero(chosen):
        kind = "error" if made.nodes.index[n] == ERROR else "feature"
        for example, own in enumerate(columns(PAIRS)):
            at = np.flatnonzero(np.array(own) == made.nodes.column[n])
            full = (np.full(len(at), v) for v in (example, made.nodes.index[n]))
            where, index = full
            keys.append(node_keys(where, at, index, site=int(made.nodes.site[n]) + 1, kind=kind))
    kept = Kept(np.unique(np.concatenate(keys)))
    expected = metric_keeping(world.spliced, PAIRS, logit_difference, [kept], counterfactual)[0]
    assert made.values(chosen.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_without_jumps_attribution_adds_up_and_the_slopes_outside_are_slopes() -> None:
    made = game(smooth())
    chosen = np.random.default_rng(4).random(len(made.nodes)) < 0.5
    found = made.attribution(chosen, gauss_legendre(24), secants=False)
    change = (made.values(chosen.astype(float)) - made.values(np.zeros(len(chosen)))).mean()
    assert abs(change) > 1e-3
    assert found.attribution.sum() == pytest.approx(change, rel=5e-3)
    assert not found.attribution[~chosen].any()
    assert not found.outside[chosen].any()
    mean = sum(w * made.gradient(p * chosen) for p, w in zip(midpoint(3).points, midpoint(3).weights, strict=True))
    third = made.attribution(chosen, midpoint(3), secants=False)
    assert third.attribution + third.outside == pytest.approx(mean, abs=1e-7)  # the model has softmax in float32


def test_secants_credit_jumps_that_derivatives_miss() -> None:
    """On the embedded model derivatives miss a quarter of m(C) − m(∅); with secants the attribution adds up."""
    spliced = splice(load_model(), {s: sae for s, sae in load_saes().items() if s.endswith("resid_post")})
    pairs = prompt_pairs("agreement", spliced.model, examples=6)
    nodes = [(site, 0, index) for site, sae in spliced.saes.items() for index in range(ERROR, sae.d_sae)]
    everywhere = [[0] * len(pair) for pair in pairs]
    made = MaskedMetric(
        spliced, pairs, logit_difference, counterfactual, MaskNodes.of(spliced.sites, nodes), everywhere
    )
    everything = np.arange(len(nodes)) % 10 > 0
    change = (made.values(everything.astype(float)) - made.values(np.zeros(len(nodes)))).mean()
    plain, secant = (made.attribution(everything, midpoint(8), secants=s).attribution.sum() for s in (False, True))
    assert abs(secant - change) < 0.1 * abs(change)
    assert abs(plain - change) > 2 * abs(secant - change)


def test_the_points_of_the_upper_half_are_midpoints_between_a_half_and_one() -> None:
    assert upper_half(2).points == pytest.approx((0.625, 0.875))
    assert sum(upper_half(5).weights) == pytest.approx(1)


def test_a_mask_without_node_and_a_node_without_site_are_refused() -> None:
    world = every_kind()
    with pytest.raises(LookupError, match="No SAE is spliced in at"):
        MaskNodes.of(list(world.saes), [("blocks.7.hook_mlp_out", 0, 1)])
    site = next(iter(world.saes))
    with pytest.raises(ValueError, match="occurs twice"):
        MaskNodes.of(list(world.saes), [(site, 0, 1), (site, 0, 1)])
    with pytest.raises(ValueError, match="a column, or −1, for each position"):
        MaskedMetric(world.spliced, PAIRS, logit_difference, counterfactual, some_nodes(world), [[0]])


def test_work_that_was_kept_is_reused_bit_for_bit(tmp_path: object) -> None:
    made = game(every_kind())
    chosen = np.random.default_rng(5).random(len(made.nodes)) < 0.5
    with kept_in(str(tmp_path)) as store:
        first, values = made.attribution(chosen), made.values(chosen.astype(float))
        again, same = game(every_kind()).attribution(chosen), game(every_kind()).values(chosen.astype(float))
        assert store.tallies["mask_path"].reused == store.tallies["mask_path"].computed == 2
        made.attribution(~chosen)
        made.values((~chosen).astype(float))
        made.attribution(chosen, midpoint(3))
        assert store.tallies["mask_path"].computed == 5
    assert np.array_equal(first.attribution, again.attribution)
    assert np.array_equal(values, same)


@pytest.mark.parametrize("patch_value", ["counterfactual", "zero"])
def test_effects_of_all_nodes_are_minus_the_slopes_on_the_path(patch_value: str) -> None:
    """The registry's method against m(λ) with every node at its own position, and its law."""
    from attribution.splice import patch_values

    world = every_kind()
    effects = mask_path(
        world.spliced,
        PAIRS,
        logit_difference,
        patch_value=getattr(patch_values, patch_value),
        points=midpoint(5),
        batch_size=2,
    )
    assert effects.residual is not None
    sums = np.bincount(effects.example, weights=effects.effect, minlength=len(PAIRS))
    reference = zero if patch_value == "zero" else counterfactual
    for example in range(len(PAIRS)):
        own = PromptPairs((PAIRS[example],))
        mine = effects.example == example
        table = [
            (effects.sites[s], int(p), int(i))
            for s, p, i in zip(effects.site[mine], effects.position[mine], effects.index[mine], strict=True)
        ]
        nodes = MaskNodes.of(list(world.saes), table)
        whole = [list(range(len(own[0])))]
        made = MaskedMetric(world.spliced, own, logit_difference, reference, nodes, whole)
        everything = np.ones(len(nodes), bool)
        expected = -made.attribution(everything, midpoint(5)).attribution
        assert effects.effect[mine] == pytest.approx(expected, abs=1e-8)
        change = made.values(np.zeros(len(nodes))) - made.values(everything.astype(float))
        assert effects.residual[example] == pytest.approx(change[0] - sums[example], abs=1e-8)


def test_the_attribution_of_a_multilinear_game_is_its_shapley_value() -> None:
    """Eight features write one logit each of a model without any nonlinearity, and the metric multiplies logits."""
    world = plain_world(torch.clone, always_open=True)
    site, tokens = world.spliced.sites[-1], list(range(2, 10))
    directions = torch.linalg.pinv(world.model.module.unembed.weight.detach()[tokens]).T
    W_dec = world.saes[site].W_dec.clone()
    W_dec[:8] = directions
    world = World(world.model, {site: replace(world.saes[site], W_dec=W_dec)})

    def products(logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        a, b, c, d, e, f, g, h = logits[:, tokens].unbind(1)
        return a * b + c * d * e - f * g * h + a * h

    nodes = MaskNodes.of([site], [(site, 0, index) for index in range(8)])
    everywhere = [[0] * len(pair) for pair in PAIRS]
    metric = Metric("products", "logits cubed", products)
    made = MaskedMetric(world.spliced, PAIRS, metric, counterfactual, nodes, everywhere)
    values = {bits: made.values(np.array(bits, float)).mean() for bits in np.ndindex(*(2,) * 8)}
    shapley = np.zeros(8)
    for order in permutations(range(8)):
        bits = [0] * 8
        for node in order:
            before = values[tuple(bits)]
            bits[node] = 1
            shapley[node] += (values[tuple(bits)] - before) / factorial(8)
    found = made.attribution(np.ones(8, bool), gauss_legendre(3)).attribution
    assert found == pytest.approx(shapley, abs=1e-9)
    assert np.abs(shapley).max() > 1e-2


@pytest.mark.parametrize("batch_size", [2, 64])
def test_slopes_by_pair_are_those_of_each_pair_alone(batch_size: int) -> None:
    world = normalised()
    made = game(world, batch_size=batch_size)
    kept = np.random.default_rng(3).random(len(made.nodes)) < 0.5
    wanted = np.random.default_rng(4).random(len(made.nodes)) < 0.7
    path = made.attribution(kept, midpoint(2), by_pair=wanted)
    plain = made.attribution(kept, midpoint(2))
    assert path.by_pair is not None
    assert plain.by_pair is None
    assert path.attribution == pytest.approx(plain.attribution, abs=1e-6)
    assert path.outside == pytest.approx(plain.outside, abs=1e-6)
    assert not path.by_pair[:, ~wanted].any()
    for n, pair in enumerate(PAIRS):
        given = logit_difference, counterfactual, made.nodes, columns(PAIRS)[n : n + 1]
        alone = MaskedMetric(world.spliced, PromptPairs((pair,)), *given).attribution(kept, midpoint(2))
        expected = np.where(wanted, alone.attribution + alone.outside, 0)
        assert path.by_pair[n] == pytest.approx(expected, abs=1e-5)


def test_slopes_by_pair_are_read_back_as_they_were(tmp_path: Path) -> None:
    kept = np.random.default_rng(3).random(len(game(normalised()).nodes)) < 0.5
    found, reused = list[np.ndarray](), list[int]()
    for _ in range(2):
        with kept_in(tmp_path) as store:
            path = game(normalised()).attribution(kept, midpoint(2), by_pair=kept)
            assert path.by_pair is not None
            found.append(path.by_pair)
            reused.append(store.tallies["mask_path"].reused)
    assert reused == [0, 1]
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize(
    "reference", [counterfactual, pytest.param(zero, marks=pytest.mark.slow)], ids=lambda r: r.name
)
@pytest.mark.parametrize("name", WORLDS)
def test_sets_and_points_side_by_side_give_what_each_gives_alone(name: str, reference: Reference) -> None:
    world = WORLDS[name]()
    together, alone = game(world, reference), game(world, reference, batch_size=1)
    draw = np.random.default_rng(5)
    masks = draw.random((7, len(together.nodes)))
    one_by_one = np.array([alone.values(mask) for mask in masks])
    assert together.values_of_each(masks) == pytest.approx(one_by_one, abs=1e-6)
    kept = draw.random(len(together.nodes)) < 0.5
    for points in (midpoint(5), midpoint(40)):  # in one forward, in several
        found, expected = (own.attribution(kept, points) for own in (together, alone))
        assert found.attribution == pytest.approx(expected.attribution, abs=1e-6)
        assert found.outside == pytest.approx(expected.outside, abs=1e-6)
    assert np.abs(expected.attribution).max() > 1e-3
