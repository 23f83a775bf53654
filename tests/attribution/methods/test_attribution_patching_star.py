"""AtP*: equal to a slow twin, exact through one saturated softmax, not blind to cancelling paths."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from attribution.dictionaries import SAE, ReLU
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.exact_patching import exact_patching
from attribution.methods.query_key_fix import layers_reached
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of
from attribution.prompts.metrics import kl_divergence, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import ErrorMode
from tests.attribution.methods.test_methods_equal_twins import difference, spread
from tests.twins import method_twins as twins
from tests.worlds.hooked_blocks import HookedBlocks
from tests.worlds.tiny_models import BOS, PAIRS, VOCABULARY, WIDTH, OnlyBOS, PlainModel, World

TWO = PromptPairs(PAIRS.pairs[1:])

REACHED: dict[str, dict[str, list[int]]] = {
    "live": {
        twins.TOKENS: [0, 1],
        "blocks.0.hook_attn_out": [1],
        "blocks.0.hook_mlp_out": [1],
        "blocks.0.hook_resid_post": [1],
        "blocks.1.attn.hook_z": [],
        "blocks.1.hook_mlp_out": [],
    },
    "frozen": {
        twins.TOKENS: [0],
        "blocks.0.hook_attn_out": [],
        "blocks.0.hook_mlp_out": [],
        "blocks.0.hook_resid_post": [1],
        "blocks.1.attn.hook_z": [],
        "blocks.1.hook_mlp_out": [],
    },
}
"""Layers of a two-layer model whose attention reads a write at the sites of `JUMPRELU_SITES` directly."""


# --- the twin ---------------------------------------------------------------------------------------------------


@contextmanager
def acting(world: World, functions: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    handles = [
        world.model.module.hook_dict[name].register_forward_hook(lambda _m, _i, x, f=function: f(x))
        for name, function in functions.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_gradient(x: Tensor) -> Tensor:
    return x.detach() + 0 * x


class Twin:
    """One prompt pair in one mode: gradients and attention of the clean run, with one layer dropped or none.

    Twins of a pair in a mode share `changes`, of logits: no dropped gradient changes what forward mode finds.
    """

    def __init__(
        self, world: World, pair: PromptPair, mode: ErrorMode, dropped: int | None, changes: dict[Any, Any]
    ) -> None:
        self.world, self.pair, self.mode, self.changes = world, pair, mode, changes
        self.clean, self.patch = twins.ends(world, pair.clean_ids, pair.patch_ids, mode)
        self.pattern: list[Tensor] = []
        leaves = [torch.zeros(1, 4, len(pair.clean_ids), len(pair.clean_ids)).double().requires_grad_() for _ in (0, 1)]

        def watch(layer: int) -> Callable[[Tensor], Tensor]:
            def function(p: Tensor) -> Tensor:
                self.pattern.append(p.detach()[0])
                return p + leaves[layer]

            return function

        functions: dict[str, Callable[[Tensor], Tensor]] = {
            f"blocks.{layer}.attn.hook_pattern": watch(layer) for layer in (0, 1)
        }
        if dropped is not None:
            functions |= {f"blocks.{dropped}.hook_{part}_out": without_gradient for part in ("attn", "mlp")}
        m = difference(pair)
        with acting(world, functions):
            slopes = twins.slopes(world, pair.clean_ids, m, mode, self.clean.e, self.clean.entry, self.clean)
            self.pattern.clear()
            run = twins.forward(
                world, pair.clean_ids, mode, errors=self.clean.e, entry=self.clean.entry.clone().requires_grad_()
            )
            found = torch.autograd.grad(m(run.logits).sum(), leaves, allow_unused=True, materialize_grads=True)
        self.g = [g[0] for g in found]
        self.atp = twins.times(slopes, twins.change(self.clean, self.patch))

    def logit_changes(self, layer: int, writes: Tensor) -> tuple[Tensor, Tensor]:
        """Change of the logits [node, head, query, key] by all queries, and by all keys, in forward mode."""
        attention = f"blocks.{layer}.attn"
        seen: dict[str, Tensor] = {}

        def see(name: str) -> Callable[[Tensor], Tensor]:
            def function(x: Tensor) -> Tensor:
                tangent = forward_mode.unpack_dual(x).tangent
                seen[name] = torch.zeros_like(x) if tangent is None else tangent.clone()
                return x

            return function

        def push(tangent: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda x: forward_mode.make_dual(x.detach(), tangent.reshape(x.shape))

        def run(functions: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
            with acting(self.world, functions), torch.no_grad(), forward_mode.dual_level():
                ids = self.pair.clean_ids
                twins.forward(self.world, ids, self.mode, errors=self.clean.e, rows=len(writes))

        inner = [f"{attention}.hook_q", f"{attention}.hook_k"]
        run({f"blocks.{layer}.hook_resid_pre": push(writes), **{name: see(name) for name in inner}})
        changes: list[Tensor] = []
        for name in inner:
            run({name: push(seen[name]), f"{attention}.hook_attn_scores": see("logits")})
            changes.append(seen["logits"])
        return changes[0], changes[1]

    def correction(self, layer: int, positions: list[int], by_query: Tensor, by_key: Tensor) -> Tensor:
        """Exact minus linear effect of each write through one layer's softmax, from the formulas, row by row."""
        total = torch.zeros(len(positions), dtype=torch.float64)
        for n, t in enumerate(positions):
            for head in range(4):
                for row in range(t, len(self.pair.clean_ids)):
                    p, g = self.pattern[layer][head, row], self.g[layer][head, row]
                    centred = g[t] - (p * g).sum()
                    d = by_key[n, head, row, t]
                    exact = p[t] * (d.exp() - 1) / (1 + p[t] * (d.exp() - 1)) * centred
                    total[n] += exact - p[t] * d * centred
                p, g, d = self.pattern[layer][head, t], self.g[layer][head, t], by_query[n, head, t]
                new = p * d.exp() / (p * d.exp()).sum()
                total[n] += ((new - p) * g).sum() - (p * d * (g - (p * g).sum())).sum()
        return total

    def qk(self) -> twins.Dense:
        """QK(u) of every node."""
        result = {node: effect.clone() for node, effect in self.atp.items()}
        for (site, kind), change in twins.change(self.clean, self.patch).items():
            places = torch.nonzero(change if kind == "feature" else (change != 0).any(-1))
            if len(places) == 0:
                continue
            writes = torch.zeros(len(places), len(self.pair.clean_ids), WIDTH, dtype=torch.float64)
            for n, place in enumerate(places.tolist()):
                amount = change[tuple(place)]
                reached = REACHED[self.mode][site]
                if reached:
                    writes[n, place[0]] = (
                        amount * self.world.saes[site].W_dec[place[1]] if kind == "feature" else amount
                    )
            for layer in REACHED[self.mode][site]:
                key = site, kind, layer
                if key not in self.changes:
                    self.changes[key] = self.logit_changes(layer, writes)
                result[site, kind][tuple(places.T)] += self.correction(layer, places[:, 0].tolist(), *self.changes[key])
        return result


def assert_close(effects: Effects, example: int, expected: twins.Dense) -> None:
    largest = max(float(v.abs().max()) for v in expected.values())
    for node, values in expected.items():
        found = spread(effects, "effect", example, node, values)
        torch.testing.assert_close(
            found, values.double(), rtol=1e-6, atol=1e-6 * largest, msg=lambda m, n=node: f"{n}: {m}"
        )


@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_atp_star_equals_its_twin(world: World, mode: ErrorMode) -> None:
    fixed = attribution_patching_star(world.spliced, TWO, logit_difference, error_mode=mode, grad_drop=False)
    both = attribution_patching_star(world.spliced, TWO, logit_difference, error_mode=mode)
    plain = attribution_patching(world.spliced, TWO, logit_difference, error_mode=mode)
    assert np.abs(fixed.effect - plain.effect).max() > 1e-3 * np.abs(plain.effect).max()
    for example, pair in enumerate(TWO):
        changes: dict[Any, Any] = {}
        qk, first, second = (Twin(world, pair, mode, dropped, changes).qk() for dropped in (None, 0, 1))
        assert_close(fixed, example, qk)
        sized: twins.Dense = {}
        for node, effect in qk.items():
            inside = node[0] != twins.TOKENS and "hook_resid" not in node[0]
            others = [e for layer, e in enumerate((first, second)) if not inside or layer != layer_of(node[0])]
            size = torch.stack([e[node].abs() for e in others]).mean(0)
            sized[node] = torch.where(effect < 0, -size, size)
        assert_close(both, example, sized)


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_without_both_corrections_it_is_atp(world: World, mode: ErrorMode) -> None:
    plain = attribution_patching(world.spliced, PAIRS, logit_difference, error_mode=mode)
    bare = attribution_patching_star(
        world.spliced, PAIRS, logit_difference, error_mode=mode, qk_fix=False, grad_drop=False
    )
    starred = attribution_patching_star(world.spliced, PAIRS, logit_difference, error_mode=mode)
    np.testing.assert_array_equal(bare.effect, plain.effect)
    np.testing.assert_array_equal(bare.residual, plain.residual)
    for name in ("example", "site", "position", "kind", "index", "clean", "patch"):
        np.testing.assert_array_equal(getattr(starred, name), getattr(plain, name))
    assert starred.residual is None
    assert "do not add up" in starred.residual_law
    assert "mean absolute" in starred.sign
    assert bare.sign == plain.sign


def test_a_write_reaches_attention_until_a_splice_of_the_stream_ends_the_direct_path() -> None:
    sites = (
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_attn_out",
        "blocks.1.hook_resid_mid",
        "blocks.2.hook_mlp_out",
        "blocks.3.hook_resid_pre",
        "blocks.3.attn.hook_z",
    )
    live = [list(layers_reached(site, sites, "live", 5)) for site in (twins.TOKENS, *sites)]
    assert live == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [2, 3, 4], [2, 3, 4], [3, 4], [3, 4], []]
    frozen = [list(layers_reached(site, sites, "frozen", 5)) for site in (twins.TOKENS, *sites)]
    assert frozen == [[], [0, 1], [], [2], [], [3, 4], []]


# --- planted cases ----------------------------------------------------------------------------------------------


class AttentionBlock(nn.Module):
    """x + attention: keys read dimensions 0-3, queries 4-7, values 8-11, and what is read is written to 12-15."""

    def __init__(self, sink: float, added: float, cap: float) -> None:
        super().__init__()
        self.sink, self.added, self.cap = sink, added, cap
        self.hook_resid_pre, self.hook_resid_post, self.hook_attn_out = HookPoint(), HookPoint(), HookPoint()
        self.hook_mlp_out = HookPoint()
        self.attn: Any = nn.Module()
        for name in ("q", "k", "attn_scores", "pattern"):
            setattr(self.attn, f"hook_{name}", HookPoint())

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        k, q = self.attn.hook_k(x[..., None, 0:4]), self.attn.hook_q(x[..., None, 4:8])
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k)
        scores = self.cap * torch.tanh(scores / self.cap) if self.cap else scores
        scores = self.attn.hook_attn_scores(scores.masked_fill(future, -math.inf))
        pattern = self.attn.hook_pattern(scores.softmax(-1) * (1 - self.sink))
        read = torch.einsum("bhqk,bkd->bqd", pattern, x[..., 8:12])
        middle = x + self.added * self.hook_attn_out(torch.cat([torch.zeros_like(x[..., :12]), read], -1))
        return self.hook_resid_post(middle + self.hook_mlp_out(torch.zeros_like(x)))


class AttentionModel(HookedBlocks):
    """What LanguageModel asks of a model; logits read dimensions 12-15 only. Embeddings are positive."""

    def __init__(self, layers: int = 1, *, sink: float = 0.0, added: float = 1.0, cap: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.embed.weight.data = torch.rand(VOCABULARY, WIDTH)
        self.embed.weight.data[:, 12:] = 0.01
        self.blocks = nn.ModuleList(AttentionBlock(sink, added, cap) for _ in range(layers))
        self.unembed = nn.Linear(WIDTH, VOCABULARY)
        self.unembed.weight.data[:, :12] = 0
        self.cfg = SimpleNamespace(d_model=WIDTH, d_vocab=VOCABULARY, model_name="attention")
        self.double()
        self.name_hooks()


def as_it_is(site: str) -> SAE:
    """A ReLU SAE whose features are the positive dimensions of the activation."""
    one = torch.eye(WIDTH, dtype=torch.float64)
    return ReLU(W_enc=one, W_dec=one, b_dec=0 * one[0], b_enc=0 * one[0], site=site)


def world_on(module: nn.Module, *sites: str) -> World:
    return World(LanguageModel(module, OnlyBOS()), {site: as_it_is(site) for site in sites})


STREAM = "blocks.0.hook_resid_pre"


@pytest.fixture
def saturated() -> tuple[World, PromptPairs]:
    """Key 2 wins every row by 20 nats, except in the patch prompts, which change this key or the last query."""
    module = AttentionModel()
    weights = module.embed.weight.data
    weights[[5, 6, 7, 9], :4] = 0.1
    weights[7, 0] = 5.0
    weights[8] = weights[7]
    weights[8, 0] = 0.1
    weights[[3, 4], 4:8] = torch.tensor([[4.0, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.1]]).double()
    weights[4, 8:] = weights[3, 8:]
    weights[4, :4] = weights[3, :4] = 0.1
    pairs = PromptPairs(
        (
            PromptPair((BOS, 5, 7, 6, 3), (BOS, 5, 8, 6, 3), 4, 7),
            PromptPair((BOS, 5, 7, 6, 3), (BOS, 5, 7, 6, 4), 4, 7),
        )
    )
    return world_on(module, STREAM), pairs


def test_the_qk_fix_is_exact_through_one_saturated_softmax(saturated: tuple[World, PromptPairs]) -> None:
    world, pairs = saturated
    exact = exact_patching(world.spliced, pairs, logit_difference)
    plain = attribution_patching(world.spliced, pairs, logit_difference)
    fixed = attribution_patching_star(world.spliced, pairs, logit_difference, grad_drop=False)
    for example in range(2):
        chosen = exact.example == example
        features, largest = chosen & exact.of_kind("feature"), np.abs(exact.effect[chosen]).max()
        assert features.sum() == 1, "one key, or query, dimension differs"
        assert largest > 0.05
        assert np.abs(plain.effect[chosen]).max() < 1e-4 * largest, "AtP is blind: attention is saturated"
        np.testing.assert_allclose(fixed.effect[chosen], exact.effect[chosen], rtol=1e-6)
        np.testing.assert_allclose(fixed.effect[features], exact.effect[chosen & exact.of_kind("token")], rtol=1e-6)


def test_soft_capped_logits_move_by_their_slope() -> None:
    """p_t (e^d − 1) / (1 + p_t (e^d − 1)) of the last row by hand, with d = (1 − (z/cap)²) · q · Δk_t."""
    cap, t = 2.0, 1
    module = AttentionModel(cap=cap)
    module.embed.weight.data[8] = module.embed.weight.data[5]
    module.embed.weight.data[8, 2] += 1.5
    world, pair = world_on(module, STREAM), PromptPair((BOS, 5, 7, 6, 3), (BOS, 8, 7, 6, 3), 4, 7)
    fixed = attribution_patching_star(world.spliced, PromptPairs((pair,)), logit_difference, grad_drop=False)
    x = module.embed.weight.detach()[list(pair.clean_ids)]
    z = cap * torch.tanh(x[:, :4] @ x[-1, 4:8] / cap)
    p, odds_ratio = z.softmax(0), (1.5 * x[-1, 6] * (1 - (z[t] / cap) ** 2)).exp()
    weight = module.unembed.weight.detach()
    g = x[:, 8:12] @ (weight[4] - weight[7])[12:]
    expected = p[t] * (odds_ratio - 1) / (1 + p[t] * (odds_ratio - 1)) * (g[t] - p @ g)
    assert abs(expected) > 1e-3
    np.testing.assert_allclose(fixed.effect[fixed.of_kind("feature")], [float(expected)], rtol=1e-6)


def test_saturated_attention_keeps_its_digits_in_float32(saturated: tuple[World, PromptPairs]) -> None:
    world, pairs = saturated
    exact = exact_patching(world.spliced, pairs, logit_difference)
    low = world_on(world.model.module.float(), STREAM)
    low.model.module.embed.weight.data[7, 0] = 15.0
    fixed = attribution_patching_star(low.spliced, pairs, logit_difference, grad_drop=False)
    np.testing.assert_allclose(fixed.effect, exact.effect, rtol=1e-3)


def test_grad_drop_does_not_miss_paths_that_cancel() -> None:
    """Layer 1 subtracts tanh of what layer 0 leaves: the slope at zero is 1 − 1, the effect Δ − tanh Δ."""
    module = PlainModel(torch.tanh)
    site = "blocks.0.hook_resid_post"
    one = torch.eye(WIDTH, dtype=torch.float64)
    blocks: list[Any] = list(module.blocks)
    for block in blocks:
        block.mix.data.zero_()
        block.down.data.zero_()
    blocks[1].up.data, blocks[1].down.data = one, -one
    module.embed.weight.data = torch.rand(VOCABULARY, WIDTH).double() + 1
    module.embed.weight.data[3] = 0
    pairs = PromptPairs((PromptPair((BOS, 5, 3), (BOS, 5, 4), 4, 7),))
    world = world_on(module, site)
    exact = exact_patching(world.spliced, pairs, logit_difference)
    plain = attribution_patching(world.spliced, pairs, logit_difference)
    dropped = attribution_patching_star(world.spliced, pairs, logit_difference, qk_fix=False)
    features = exact.of_kind("feature")
    assert np.abs(exact.effect[features]).max() > 0.05
    np.testing.assert_allclose(plain.effect, 0, atol=1e-12)
    weight = module.unembed.weight.detach()
    direct = (weight[4] - weight[7]).numpy()[exact.index[features]] * exact.patch[features]
    np.testing.assert_allclose(dropped.effect[features], np.abs(direct) / 2, rtol=1e-9)


def test_grad_drop_keeps_the_size_of_an_effect_that_passes_no_layer(world: World) -> None:
    plain = attribution_patching(world.spliced, PAIRS, logit_difference)
    dropped = attribution_patching_star(world.spliced, PAIRS, logit_difference, qk_fix=False)
    last = plain.at("blocks.1.hook_mlp_out")
    assert last.sum() > 3
    np.testing.assert_allclose(dropped.effect[last], plain.effect[last], rtol=1e-9)


# --- refusals ---------------------------------------------------------------------------------------------------


def test_a_model_without_a_pattern_cannot_be_opened() -> None:
    world = world_on(PlainModel(torch.tanh), "blocks.0.hook_resid_post")
    with pytest.raises(ValueError, match=r"layer 0 cannot be opened .*hook_pattern does not exist.* Use qk_fix=False"):
        attribution_patching_star(world.spliced, PAIRS, logit_difference)


def test_attention_that_is_no_softmax_of_its_logits_cannot_be_opened() -> None:
    world = world_on(AttentionModel(sink=0.1), STREAM)
    with pytest.raises(ValueError, match=r"its pattern is not the softmax of its logits \(they differ by 0\.1\)"):
        attribution_patching_star(world.spliced, PAIRS, logit_difference, grad_drop=False)


def test_a_layer_that_scales_what_it_adds_cannot_be_followed() -> None:
    world = world_on(AttentionModel(2, added=0.5), "blocks.0.hook_attn_out")
    with pytest.raises(ValueError, match=r"Layer 0 does not add 'blocks.0.hook_attn_out' to the stream unchanged"):
        attribution_patching_star(world.spliced, PAIRS, logit_difference)


def test_a_block_with_a_way_around_its_hooks_cannot_be_dropped() -> None:
    module = PlainModel(torch.tanh)
    for block in module.blocks:
        whole = block.forward
        block.forward = lambda x, whole=whole: block_with_a_way_around(whole, x)
    world = world_on(module, "blocks.0.hook_mlp_out")
    with pytest.raises(ValueError, match="Layer 1 cannot be dropped: its block adds more to the residual stream"):
        attribution_patching_star(world.spliced, PAIRS, logit_difference, qk_fix=False)


def block_with_a_way_around(whole: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return whole(x) + 0.1 * x


def test_one_layer_has_no_other_to_drop(saturated: tuple[World, PromptPairs]) -> None:
    world, pairs = saturated
    with pytest.raises(ValueError, match=r"this model has one layer. Use grad_drop=False"):
        attribution_patching_star(world.spliced, pairs, logit_difference)


def test_a_metric_that_is_flat_at_the_clean_run_is_refused(llama_world: World) -> None:
    with pytest.raises(ValueError, match="zero at the clean run, so attribution_patching_star would give 0"):
        attribution_patching_star(llama_world.spliced, PAIRS, kl_divergence)
