"""Cones: patched runs that execute only what a patch can change equal whole runs, and notice when they would not."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, Gemma2Config, Gemma3TextConfig

import attribution.cones.cone_batches as cone_batches
import attribution.cones.exact_engine as exact
from attribution.cones.cone import Cone
from attribution.cones.cone_patching import effects_in_cones
from attribution.cones.plain_run import Disagreement, plain_run
from attribution.dictionaries import SAE, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.effects import Effects
from attribution.effects.measurement import prepare
from attribution.effects.patches import all_patches
from attribution.methods.exact_patching import exact_patching
from attribution.models.architectures import UnknownArchitecture, plain_model
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import METRICS, Metric, logit_difference
from attribution.splice.patch_values import counterfactual, zero
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import (
    BOS,
    BRIDGES,
    HAS_HOOKED,
    HOOKED,
    NO_HOOKED,
    PAIRS,
    VOCABULARY,
    bridge,
    hooked_transformer,
    saes_on,
)

LAYERS = 3
MODELS = [
    *BRIDGES,
    "gemma2",
    "gemma3",
    pytest.param(HOOKED, marks=pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)),
]
MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
KINDS: Mapping[str, type[SAE]] = {
    "blocks.0.hook_resid_pre": JumpReLU,
    "blocks.0.attn.hook_z": TopK,
    "blocks.0.hook_attn_out": JumpReLU,
    "blocks.0.hook_mlp_out": ProLU,
    "blocks.0.hook_resid_post": JumpReLU,
    "blocks.1.attn.hook_z": JumpReLU,
    "blocks.1.hook_attn_out": Gated,
    "blocks.1.hook_mlp_out": JumpReLU,
    "blocks.2.hook_resid_pre": ReLU,
    "blocks.2.attn.hook_z": JumpReLU,
    "blocks.2.hook_attn_out": JumpReLU,
    "blocks.2.hook_mlp_out": TopK,
    "blocks.2.hook_resid_post": JumpReLU,
}
"""Every kind of site, in the first, a middle and the last layer, and two sites between layers 1 and 2."""


def gemma(kind: type[Gemma2Config] | type[Gemma3TextConfig]) -> LanguageModel:
    """Norms before and after, grouped queries, and windows shorter than the prompts in some layers."""
    config = kind(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=32,
        sliding_window=3,
        query_pre_attn_scalar=8,
        initializer_range=0.3,
        bos_token_id=BOS,
    )
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).double().save_pretrained(folder)
        return LanguageModel.load(Path(folder), dtype=torch.float64)


@cache
def spliced_model(kind: str) -> SplicedModel:
    makers = {
        "gemma2": lambda: gemma(Gemma2Config),
        "gemma3": lambda: gemma(Gemma3TextConfig),
        HOOKED: lambda: hooked_transformer(LAYERS),
    }
    model = makers.get(kind, lambda: bridge(kind, LAYERS))()
    norms = {"blocks.1.hook_mlp_out": "layer_norm", "blocks.2.hook_attn_out": "constant_norm_rescale"}
    return SplicedModel(model, saes_on(model, KINDS, norms), dtype=torch.float64)


def whole_runs(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> Effects:
    """The same effects by runs that execute whole blocks at all positions."""

    def unknown(_model: LanguageModel) -> None:
        raise UnknownArchitecture("not to be known here")

    with monkeypatch.context() as patched:
        patched.setattr(exact, "plain_model", unknown)
        with pytest.warns(UserWarning, match="No cones for .*not to be known here"):
            effects = exact_patching(*arguments, **options)
    assert effects.method == "exact_patching"
    return effects


def assert_same(found: Effects, expected: Effects) -> None:
    np.testing.assert_array_equal(found.keys(), expected.keys())
    size = np.abs(expected.effect).max()
    assert size > 0.005
    np.testing.assert_allclose(found.effect, expected.effect, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", MODELS)
def test_cones_equal_whole_runs_at_every_site_and_position_of_prompts_of_unequal_length(
    kind: str, mode: ErrorMode, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    spliced = spliced_model(kind)
    found = exact_patching(spliced, PAIRS, logit_difference, error_mode=mode)
    assert not [w for w in recwarn if "No cones" in str(w.message)]
    assert set(found.site.tolist()) == set(range(len(KINDS) + 1))
    assert_same(found, whole_runs(monkeypatch, spliced, PAIRS, logit_difference, error_mode=mode))


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_metrics_of_all_logits_and_of_some_are_the_same_in_cones(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced = spliced_model("llama")
    options = {"error_mode": "frozen", "patch_value": zero if metric.name == "log_probability" else counterfactual}
    found = exact_patching(spliced, PAIRS, metric, **options)
    assert_same(found, whole_runs(monkeypatch, spliced, PAIRS, metric, **options))
    if metric.some is not None:
        assert_same(exact_patching(spliced, PAIRS, replace(metric, some=None), **options), found)


@pytest.mark.parametrize("kind", ["neox", "gemma2"])
def test_how_runs_are_batched_changes_no_number(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spliced = spliced_model(kind)
    shares: list[float] = []
    situation = prepare(spliced, PAIRS.batch(), logit_difference, "zero", counterfactual, progress=shares.append)
    cone = Cone.of(spliced, plain_model(spliced.model), situation.clean, "zero")
    patches = all_patches(situation)
    found, batches = [], []
    for overhead, size in ((1e12, 2**28), (0.0, 2**28), (1e12, 1)):
        monkeypatch.setattr(cone_batches, "BATCH_OVERHEAD", {"other": overhead})
        shares.clear()
        found.append(torch.cat(effects_in_cones(situation, cone, logit_difference, patches, size)))
        batches.append(len(shares))
        assert shares == sorted(shares)
        assert shares[-1] == 1
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=0, atol=1e-9)
    runs = [
        (cone.entered_block(p.site), row, pos) for p in patches for row, pos in torch.stack([p.row, p.pos], 1).tolist()
    ]
    reaching = [run for run in runs if run[0] < LAYERS or run[2] == situation.clean.last[run[1]]]
    assert batches == [LAYERS + 1, len(set(reaching)), len(reaching)]


def test_a_wrong_cache_changes_the_effects_and_is_found() -> None:
    spliced = spliced_model("gpt2")
    situation = prepare(spliced, PAIRS.batch(), logit_difference, "live", counterfactual)
    cone = Cone.of(spliced, plain_model(spliced.model), situation.clean, "live")
    layers = list(cone.layers)
    layers[1] = replace(layers[1], values=layers[1].values.roll(1, dims=1))
    wrong = replace(cone, clean=replace(cone.clean, layers=tuple(layers)))
    patches = all_patches(situation)
    right, planted = (torch.cat(effects_in_cones(situation, c, logit_difference, patches)) for c in (cone, wrong))
    assert (right - planted).abs().max() > 1e-3 * right.abs().max()
    inputs = list(situation.clean.block_inputs)
    inputs[1] = inputs[1] * 1.01
    recording = replace(situation.clean, block_inputs=tuple(inputs))
    with pytest.raises(Disagreement, match=r"layer 1: .* differs from the model"):
        plain_run(spliced.model, plain_model(spliced.model), recording)


def test_a_block_that_is_not_what_it_seems_is_run_whole_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spliced = spliced_model("llama")
    real = plain_model(spliced.model)
    wrong = replace(real, blocks=(replace(real.blocks[0], scaling=1.1 * real.blocks[0].scaling), *real.blocks[1:]))
    expected = exact_patching(spliced, PAIRS, logit_difference)
    monkeypatch.setattr(exact, "plain_model", lambda _model: wrong)
    with pytest.warns(UserWarning, match=r"No cones for .*layer 0: attention's heads of plain blocks differs"):
        assert_same(exact_patching(spliced, PAIRS, logit_difference), expected)


def test_a_model_whose_blocks_are_not_known_is_run_whole() -> None:
    config = BloomConfig(
        vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=4, bos_token_id=BOS, initializer_range=0.3
    )
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).double().save_pretrained(folder)
        model = LanguageModel.load(Path(folder), dtype=torch.float64)
    spliced = SplicedModel(model, saes_on(model, {"blocks.0.hook_mlp_out": JumpReLU}, {}), dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"No cones for .*\(blocks of kind BloomBlock"):
        effects = exact_patching(spliced, PAIRS, logit_difference)
    assert np.abs(effects.effect).max() > 0.005


def test_only_the_nodes_asked_for_are_run() -> None:
    spliced = spliced_model("gpt2")
    every = exact_patching(spliced, PAIRS, logit_difference, error_mode="zero")
    chosen = every.keys()[::7]
    some = exact_patching(spliced, PAIRS, logit_difference, error_mode="zero", only=chosen)
    np.testing.assert_allclose(some.effect, every.effect[np.isin(every.keys(), chosen)], rtol=0, atol=1e-9)


def test_a_patch_that_reaches_nothing_has_effect_zero() -> None:
    effects = exact_patching(spliced_model("neox"), PAIRS, logit_difference)
    last = np.array([len(pair) - 1 for pair in PAIRS])[effects.example]
    above = effects.site == effects.sites.index("blocks.2.hook_resid_post")
    assert (effects.effect[above & (effects.position < last)] == 0).all()
    assert (effects.effect[above & (effects.position == last)] != 0).any()
