"""Every method equals its slow twin, element by element: features, errors and tokens, in every error mode."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects import scoring
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import kl_divergence, log_probability, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice import masking
from attribution.splice.spliced_model import ErrorMode
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import BOS, PAIRS, NoBOS, World, saes_on

TWO = PromptPairs(PAIRS.pairs[1:])
"""Unequal lengths; one begins with BOS, one does not."""

MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
MIDPOINT_3 = [(1 / 6, 1 / 3), (1 / 2, 1 / 3), (5 / 6, 1 / 3)]
GAUSS_2 = [(0.5 - math.sqrt(1 / 12), 0.5), (0.5 + math.sqrt(1 / 12), 0.5)]


def difference(pair: PromptPair) -> twins.OnLogits:
    return lambda logits: logits[:, pair.answer_id] - logits[:, pair.foil_id]


def spread(effects: Effects, column: str, example: int, node: tuple[str, str], like: Tensor) -> Tensor:
    """One column of the effects of one example as dense arrays, like the twin's; 0 where there is no entry."""
    site, kind = node
    chosen = effects.at(site) & effects.of_kind(kind) & (effects.example == example)
    columns = effects.where(chosen)
    dense = torch.zeros_like(like, dtype=torch.float64)
    for position, index, value in zip(columns["position"], columns["index"], columns[column], strict=True):
        assert (index == -1) == (kind != "feature")
        dense[(position, index) if kind == "feature" else (position,)] += float(value)
    return dense


def assert_equal(effects: Effects, example: int, twin: twins.Dense) -> int:
    """Assert equality to 1e-6 of every element (or 1e-12 of the largest), and return how many are not 0."""
    largest = max(float(v.abs().max()) for v in twin.values())
    assert largest > 1e-3, "the model is too tame to test anything"
    known = set(zip((effects.sites[s] for s in effects.site), effects.kind, strict=True))
    assert {site for site, _ in known} <= {site for site, _ in twin}
    count = 0
    for node, expected in twin.items():
        found = spread(effects, "effect", example, node, expected)
        torch.testing.assert_close(
            found, expected.double(), rtol=1e-6, atol=1e-12 * largest, msg=lambda m, n=node: f"{n}: {m}"
        )
        count += int((expected != 0).sum())
    return count


def assert_values(effects: Effects, example: int, clean: twins.Run, patch: twins.Run, mode: ErrorMode) -> None:
    """Nodes are those whose values differ, each once, with the clean and the patch value."""
    for (site, kind), d in twins.change(clean, patch).items():
        if kind == "token":
            continue
        if kind == "error" and mode == "zero":
            assert not (effects.at(site) & effects.of_kind(kind)).any()
            continue
        old, new = ((r.f[site] if kind == "feature" else r.e[site].norm(dim=-1))[0] for r in (clean, patch))
        differ = d != 0 if kind == "feature" else (d != 0).any(-1)
        for column, value in (("clean", old), ("patch", new)):
            expected = torch.where(differ, value, 0)
            torch.testing.assert_close(
                spread(effects, column, example, (site, kind), expected), expected, rtol=1e-9, atol=1e-12
            )
        rows = effects.at(site) & effects.of_kind(kind) & (effects.example == example)
        assert int(rows.sum()) == int(differ.sum())


def assert_twin_of_exact(world: World, pairs: PromptPairs, mode: ErrorMode) -> None:
    effects = exact_patching(world.spliced, pairs, logit_difference, error_mode=mode, runs_at_once=37)
    for example, pair in enumerate(pairs):
        twin = twins.exact_patching(world, pair.clean_ids, pair.patch_ids, difference(pair), mode)
        assert assert_equal(effects, example, twin) > 20
        assert_values(effects, example, *twins.ends(world, pair.clean_ids, pair.patch_ids, mode), mode)


def assert_twin_of_atp(world: World, pairs: PromptPairs, mode: ErrorMode) -> None:
    effects = attribution_patching(world.spliced, pairs, logit_difference, error_mode=mode)
    for example, pair in enumerate(pairs):
        twin = twins.attribution_patching(world, pair.clean_ids, pair.patch_ids, difference(pair), mode)
        assert assert_equal(effects, example, twin) > 20
        assert_values(effects, example, *twins.ends(world, pair.clean_ids, pair.patch_ids, mode), mode)


def assert_twin_of_site_ig(world: World, pairs: PromptPairs, mode: ErrorMode) -> None:
    rule: Sequence[tuple[float, float]] = MIDPOINT_3 if mode != "frozen" else GAUSS_2
    points = replace(gauss_legendre(2), points=tuple(a for a, _ in rule), weights=tuple(w for _, w in rule))
    effects = integrated_gradients(world.spliced, pairs, logit_difference, error_mode=mode, points=points)
    for example, pair in enumerate(pairs):
        m = difference(pair)
        twin = twins.integrated_gradients(world, pair.clean_ids, pair.patch_ids, m, mode, rule)
        assert assert_equal(effects, example, twin) > 20
        assert_values(effects, example, *twins.ends(world, pair.clean_ids, pair.patch_ids, mode), mode)


def assert_twin_of_input_ig(world: World, pairs: PromptPairs, mode: ErrorMode) -> None:
    rule: Sequence[tuple[float, float]] = MIDPOINT_3 if mode != "live" else GAUSS_2
    points = replace(gauss_legendre(2), points=tuple(a for a, _ in rule), weights=tuple(w for _, w in rule))
    effects = input_path_integrated_gradients(world.spliced, pairs, logit_difference, error_mode=mode, points=points)
    for example, pair in enumerate(pairs):
        m = difference(pair)
        twin, moved = twins.input_path_integrated_gradients(world, pair.clean_ids, pair.patch_ids, m, mode, rule)
        assert assert_equal(effects, example, twin) > 20
        for (site, kind), expected in moved.items():
            if kind == "feature":
                chosen = effects.at(site) & effects.of_kind(kind) & (effects.example == example)
                columns = effects.where(chosen)
                found = torch.zeros_like(expected)
                found[columns["position"], columns["index"]] = True
                assert torch.equal(found, expected)


@pytest.mark.parametrize("mode", MODES)
def test_attribution_patching_equals_its_twin(world: World, mode: ErrorMode) -> None:
    assert_twin_of_atp(world, TWO, mode)


@pytest.mark.parametrize("mode", MODES)
def test_exact_patching_equals_one_run_per_node(world: World, mode: ErrorMode) -> None:
    assert_twin_of_exact(world, TWO, mode)


@pytest.mark.parametrize("mode", MODES)
def test_site_path_ig_equals_its_twin(world: World, mode: ErrorMode) -> None:
    assert_twin_of_site_ig(world, TWO, mode)


@pytest.mark.parametrize("mode", ["path", "live", "zero"])
def test_input_path_ig_equals_its_twin(world: World, mode: ErrorMode) -> None:
    assert_twin_of_input_ig(world, TWO, mode)


EVERY_KIND: dict[str, type[SAE]] = {
    "blocks.0.attn.hook_z": TopK,
    "blocks.0.hook_attn_out": Gated,
    "blocks.0.hook_mlp_out": ProLU,
    "blocks.0.hook_resid_post": BatchTopK,
    "blocks.1.hook_attn_out": ReLU,
    "blocks.1.hook_resid_post": JumpReLU,
}
NORMALISED = {
    "blocks.0.hook_mlp_out": "constant_norm_rescale",
    "blocks.0.hook_resid_post": "layer_norm",
    "blocks.1.hook_attn_out": "layer_norm",
}


@pytest.fixture(scope="module")
def every_kind(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, EVERY_KIND, NORMALISED))


@pytest.mark.parametrize("mode", MODES)
def test_every_sae_kind_and_normalisation_equals_the_twins(every_kind: World, mode: ErrorMode) -> None:
    assert_twin_of_atp(every_kind, TWO, mode)
    assert_twin_of_site_ig(every_kind, TWO, mode)
    assert_twin_of_exact(every_kind, TWO, mode)
    assert_twin_of_input_ig(every_kind, TWO, "path" if mode == "frozen" else mode)


@pytest.mark.parametrize("mode", MODES)
def test_active_features_treated_one_by_one_equal_the_twins(
    every_kind: World, mode: ErrorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of real size score few features one by one; tiny ones use matrix products unless the limit is changed."""
    for module in (masking, scoring):
        monkeypatch.setattr(module, "WORTH_A_PRODUCT", 0)
        monkeypatch.setattr(module, "WORTH_A_CALL", 0)
    assert_twin_of_atp(every_kind, TWO, mode)
    assert_twin_of_input_ig(every_kind, TWO, "path" if mode == "frozen" else mode)


AT_THE_START = PromptPairs((PromptPair((BOS, 6, 2), (9, 6, 2), 3, 13), PromptPair((BOS, 3), (BOS, 8), 2, 5)))
"""Where position 0 is spliced in spite of BOS, its nodes count."""


@pytest.mark.parametrize("how", ["splice_bos", "model without BOS"])
def test_a_spliced_first_position_equals_the_twins(llama: LanguageModel, llama_world: World, how: str) -> None:
    if how == "splice_bos":
        world = replace(llama_world, splice_bos=True)
    else:
        world = replace(llama_world, model=LanguageModel(llama.module, NoBOS()))
    assert_twin_of_atp(world, AT_THE_START, "frozen")
    assert_twin_of_exact(world, AT_THE_START, "frozen")
    assert_twin_of_site_ig(world, AT_THE_START, "zero")
    assert_twin_of_input_ig(world, AT_THE_START, "path")


def test_other_metrics_reach_every_method(llama_world: World) -> None:
    pair = PAIRS[1]
    one = PromptPairs((pair,))
    ids = (llama_world, pair.clean_ids, pair.patch_ids)

    def log_p(logits: Tensor) -> Tensor:
        return (logits.exp()[:, pair.answer_id] / logits.exp().sum(-1)).log()

    with torch.no_grad():
        clean = twins.forward(llama_world, pair.clean_ids, "live").logits.softmax(-1)

    def kl(logits: Tensor) -> Tensor:
        return (clean * (clean.log() - logits.softmax(-1).log())).sum(-1)

    spliced = llama_world.spliced
    assert_equal(
        attribution_patching(spliced, one, log_probability), 0, twins.attribution_patching(*ids, log_p, "live")
    )
    for metric, m in ((log_probability, log_p), (kl_divergence, kl)):
        assert_equal(exact_patching(spliced, one, metric), 0, twins.exact_patching(*ids, m, "live"))
        assert_equal(
            integrated_gradients(spliced, one, metric, points=gauss_legendre(2)),
            0,
            twins.integrated_gradients(*ids, m, "live", GAUSS_2),
        )
    slopes = twins.attribution_patching(*ids, kl, "live")
    assert max(float(s.abs().max()) for s in slopes.values() if s.numel()) < 1e-10, (
        "KL from clean is at its minimum on the clean run"
    )
    with pytest.raises(ValueError, match="The gradient of kl_divergence is zero at the clean run"):
        attribution_patching(spliced, one, kl_divergence)


def test_sites_at_the_residual_stream_into_a_block_equal_the_twins(llama: LanguageModel) -> None:
    sites: dict[str, type[SAE]] = dict.fromkeys(("blocks.1.hook_resid_pre", "blocks.1.hook_attn_out"), JumpReLU)
    world = World(llama, saes_on(llama, sites))
    for mode in MODES:
        assert_twin_of_exact(world, TWO, mode)
        assert_twin_of_atp(world, TWO, mode)
