"""What a cfg.json says of the model and the positions of training is honoured or refused, never dropped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from attribution.dictionaries import (
    SAE,
    Gated,
    JumpReLU,
    ProLU,
    ReLU,
    SAEFileError,
    TopK,
    load_sae,
    load_saes,
    save_sae,
)
from attribution.dictionaries.kinds.trained_positions import TrainedPositions
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from tests.twins import plain_transformers as plain
from tests.worlds.random_saes import random_sae
from tests.worlds.tiny_models import BOS, bridge, fitting_sae, plain_world, save_hugging_face_folder

STREAM = ("blocks.0.hook_attn_out", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
CLEAN, PATCH = (BOS, 5, 9, 3, 7), (BOS, 5, 12, 3, 16)
PAIRS = PromptPairs((PromptPair(CLEAN, PATCH, 4, 7),))
CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True, "fold_ln": True, "center_unembed": True}}


def config_of(folder: Path, **metadata: Any) -> None:
    """Change keys of the metadata in cfg.json in place."""
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] |= metadata
    (folder / "cfg.json").write_text(json.dumps(config))


def saved(sae: SAE, folder: Path, **metadata: Any) -> Path:
    save_sae(sae, folder)
    config_of(folder, **metadata)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose residual stream has a mean, as that of GPT-2 small has."""
    folder = tmp_path_factory.mktemp("gpt2")
    save_hugging_face_folder(folder, "gpt2")
    model = plain.gpt2_of(folder)
    with torch.no_grad():
        model.transformer.wte.weight.add_(1.0)
        model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn_like(model.lm_head.weight))
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(0.3 * torch.randn_like(value))
            assert torch.isfinite(value).all(), name
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    return folder


def centred_gpt2(folder: Path) -> Any:
    """The same model with centred writing weights: the same logits, another residual stream."""
    model = plain.gpt2_of(folder)
    with torch.no_grad():
        for table in (model.transformer.wte.weight, model.transformer.wpe.weight):
            table -= table.mean(-1, keepdim=True)
        for block in model.transformer.h:
            for linear in (block.attn.c_proj, block.mlp.c_proj):
                linear.weight -= linear.weight.mean(-1, keepdim=True)
                linear.bias -= linear.bias.mean()
    return model


def fitted(model: Any, site: str, kind: type[SAE], *, mean_free: bool = False) -> SAE:
    prompts = torch.randint(2, 24, (8, 6), generator=torch.Generator().manual_seed(1)).tolist()
    x = torch.cat([plain.activations(model, ids, [site])[site][1:] for ids in prompts])
    sae = fitting_sae(kind, x, site, seed=len(site))
    if mean_free:
        sae.W_dec.sub_(sae.W_dec.mean(-1, keepdim=True))
        sae.b_dec.sub_(sae.b_dec.mean())
    return sae


def as_keys(effects: Effects) -> dict[plain.Key, float]:
    kinds = effects.kind < 2
    columns = (effects.site[kinds], effects.position[kinds], effects.index[kinds], effects.effect[kinds])
    return {(effects.sites[s], int(p), int(i)): float(e) for s, p, i, e in zip(*columns, strict=True)}


def difference(logits: torch.Tensor) -> torch.Tensor:
    return logits[-1, 4] - logits[-1, 7]


def assert_same(found: dict[plain.Key, float], expected: dict[plain.Key, float]) -> None:
    assert max(map(abs, expected.values())) > 0.05
    for key in found.keys() | expected.keys():
        assert found.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=1e-9), key


def measured(gpt2: Path, saes: Path, **options: Any) -> dict[plain.Key, float]:
    spliced = SplicedModel(
        LanguageModel.load(gpt2, dtype=torch.float64), load_saes(saes, dtype=torch.float64), dtype=torch.float64
    )
    return as_keys(exact_patching(spliced, PAIRS, logit_difference, **options))


@pytest.mark.parametrize("kind", [JumpReLU, Gated, ProLU, TopK])
@pytest.mark.parametrize("site", STREAM[:3])
def test_effects_of_an_sae_of_a_centred_model_are_those_in_the_centred_model(
    site: str, kind: type[SAE], gpt2: Path, tmp_path: Path
) -> None:
    centred = centred_gpt2(gpt2)
    raw = plain.logits(plain.gpt2_of(gpt2), CLEAN)
    assert torch.allclose(raw, plain.logits(centred, CLEAN), atol=1e-10)
    sae = fitted(centred, site, kind)
    found = measured(gpt2, saved(sae, tmp_path / "sae", **CENTRED))
    assert_same(found, plain.effects(centred, {site: sae}, CLEAN, PATCH, difference))
    dropped = measured(gpt2, saved(sae, tmp_path / "sae", model_from_pretrained_kwargs={}))
    assert max(abs(dropped.get(key, 0.0) - effect) for key, effect in found.items()) > 1e-3


def test_in_frozen_mode_centred_saes_that_write_no_mean_equal_those_in_the_centred_model(
    gpt2: Path, tmp_path: Path
) -> None:
    centred = centred_gpt2(gpt2)
    saes = {site: fitted(centred, site, JumpReLU, mean_free=True) for site in STREAM}
    for site, sae in saes.items():
        saved(sae, tmp_path / site, **CENTRED)
    found = measured(gpt2, tmp_path, error_mode="frozen")
    assert_same(found, plain.effects(centred, saes, CLEAN, PATCH, difference, frozen=True))


def test_the_errors_of_a_centred_sae_are_those_in_the_centred_model(gpt2: Path, tmp_path: Path) -> None:
    centred = centred_gpt2(gpt2)
    sae = fitted(centred, STREAM[2], JumpReLU)
    loaded = load_sae(saved(sae, tmp_path, **CENTRED), dtype=torch.float64)
    spliced = SplicedModel(LanguageModel.load(gpt2, dtype=torch.float64), [loaded], dtype=torch.float64)
    record = spliced.record(torch.tensor([CLEAN]), torch.tensor([4])).sites[STREAM[2]]
    x = plain.activations(centred, CLEAN, [STREAM[2]])[STREAM[2]][1:]
    expected = x - sae.decode(sae.encode(x).features, None)
    assert record.error is not None
    torch.testing.assert_close(record.error[0, 1:], expected, rtol=0, atol=1e-10)


def test_in_a_model_without_layernorm_nothing_was_centred(tmp_path: Path) -> None:
    sae = random_sae(ReLU, site="blocks.0.hook_mlp_out")
    model = bridge("llama")
    wide = fitting_sae(ReLU, torch.randn(40, 16).double(), sae.site)
    loaded = load_sae(saved(wide, tmp_path, **CENTRED))
    assert loaded.normalisation == "centred"
    assert SplicedModel(model, [loaded]).saes[sae.site].normalisation == "none"


def test_a_model_of_layernorms_that_sees_its_mean_cannot_have_centred_saes(tmp_path: Path) -> None:
    world = plain_world(torch.tanh, always_open=True)
    world.model.module.cfg.normalization_type = "LN"
    site = "blocks.0.hook_mlp_out"
    loaded = load_sae(saved(world.saes[site], tmp_path, **CENTRED))
    with pytest.raises(ValueError, match=r"mlp_out' was trained with center_writing_weights, but this model computes"):
        SplicedModel(world.model, [loaded])


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ({"sae_lens_version": "6.0.0"}, {}, "none"),
        ({"sae_lens_version": "3.19.2"}, {}, "none"),
        ({"sae_lens_version": "3.19.1"}, {}, "centred"),
        ({"sae_lens_version": "6.0.0", "sae_lens_training_version": "2.1.3"}, {"fold_ln": False}, "centred"),
        ({"sae_lens_version": "3.0.0"}, {"center_writing_weights": False}, "none"),
        ({"sae_lens_version": "3.0.0", "model_class_name": "HookedMamba"}, {}, "none"),
        ({"sae_lens_version": "3.0.0"}, None, "none"),
        ({"sae_lens_version": None}, {}, "none"),
    ],
)
def test_what_a_missing_argument_means_depends_on_saelens_version(
    version: dict[str, Any], given: dict[str, Any] | None, expected: str, tmp_path: Path
) -> None:
    folder = saved(random_sae(ReLU, site=STREAM[2]), tmp_path, **version, model_from_pretrained_kwargs=given)
    assert load_sae(folder).normalisation == expected


@pytest.mark.parametrize(
    ("site", "given", "own", "message"),
    [
        (
            "blocks.1.attn.hook_z",
            {"fold_value_biases": True},
            "none",
            r"trained with fold_value_biases at 'blocks",
        ),
        ("blocks.1.attn.hook_q", {"refactor_factored_attn_matrices": True}, "none", r"trained with refactor_factored"),
        ("blocks.1.ln2.hook_normalized", {"fold_ln": True}, "none", r"trained with fold_ln at 'blocks.1.ln2"),
        ("blocks.1.attn.hook_result", {"center_writing_weights": True}, "none", r"trained with center_writing_weights"),
        ("", {"center_writing_weights": True}, "none", r"at a hook that the file does not name \(pass site=\)"),
        (STREAM[1], {"center_writing_weights": True}, "constant_norm_rescale", r"and normalize_activations 'constant"),
        (STREAM[1], {"center_writing_weights": "yes"}, "none", r"center_writing_weights is 'yes'; expected true or"),
        (STREAM[1], [True], "none", r"model_from_pretrained_kwargs is \[True\]; expected an object"),
    ],
)
def test_processing_that_no_change_of_the_sae_makes_up_for_is_refused(
    site: str, given: Any, own: Any, message: str, tmp_path: Path
) -> None:
    sae = random_sae(ReLU, site=site, normalisation=own)
    with pytest.raises(SAEFileError, match=message):
        load_sae(saved(sae, tmp_path, model_from_pretrained_kwargs=given))


@pytest.mark.parametrize(
    ("site", "given", "own"),
    [
        ("blocks.1.attn.hook_z", CENTRED["model_from_pretrained_kwargs"], "none"),
        ("blocks.1.mlp.hook_post", CENTRED["model_from_pretrained_kwargs"] | {"fold_value_biases": True}, "none"),
        (STREAM[1], {"center_writing_weights": True}, "layer_norm"),
        (STREAM[1], {"fold_ln": True, "fold_value_biases": True, "refactor_factored_attn_matrices": True}, "none"),
        ("", {"center_writing_weights": False}, "none"),
    ],
)
def test_processing_that_leaves_the_activation_alone_changes_nothing(
    site: str, given: Any, own: Any, tmp_path: Path
) -> None:
    sae = random_sae(ReLU, site=site, normalisation=own)
    assert load_sae(saved(sae, tmp_path, model_from_pretrained_kwargs=given)).normalisation == own


def test_what_an_sae_says_of_its_training_survives_saving(tmp_path: Path) -> None:
    folder = saved(random_sae(JumpReLU), tmp_path / "a", **CENTRED, prepend_bos=False, seqpos_slice=[2, None])
    sae = load_sae(folder)
    assert (sae.prepend_bos, sae.positions) == (False, TrainedPositions(2))
    save_sae(sae, tmp_path / "b")
    back = load_sae(tmp_path / "b")
    assert (back.prepend_bos, back.positions, back.normalisation) == (False, TrainedPositions(2), "centred")
    assert back.digest() == sae.digest()


@pytest.mark.parametrize(
    ("given", "context", "expected"),
    [
        ([None], 64, TrainedPositions()),
        ([1, None], None, TrainedPositions(1)),
        ([3], 64, TrainedPositions(0, 3)),
        ([5, -5], 64, TrainedPositions(5, 59)),
        ([0, 64], 64, TrainedPositions()),
        ([2, 10, 3], None, TrainedPositions(2, 10, 3)),
    ],
)
def test_a_slice_of_positions_is_read(
    given: list[int | None], context: int | None, expected: TrainedPositions, tmp_path: Path
) -> None:
    assert load_sae(saved(random_sae(ReLU), tmp_path, seqpos_slice=given, context_size=context)).positions == expected


@pytest.mark.parametrize(
    ("given", "context", "message"),
    [
        ([5, -5], None, r"counted from the end, and context_size is missing"),
        ([5, 5], 64, r"no position is left"),
        ([0, 9, 0], 64, r"expected a step of at least 1"),
        ([0, 9, -1], 64, r"expected a step of at least 1"),
        ("1:", 64, r"seqpos_slice is '1:'; expected \[stop\], \[start, stop\]"),
        ([True], 64, r"seqpos_slice\[0\] is True; expected a whole number"),
    ],
)
def test_a_faulty_slice_is_refused(given: Any, context: int | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(SAEFileError, match=message):
        load_sae(saved(random_sae(ReLU), tmp_path, seqpos_slice=given, context_size=context))


def test_an_sae_is_spliced_in_only_at_the_positions_it_was_trained_on(gpt2: Path, tmp_path: Path) -> None:
    hf = plain.gpt2_of(gpt2)
    saes = {site: fitted(hf, site, JumpReLU) for site in STREAM[:2]}
    for site, sae in saes.items():
        saved(sae, tmp_path / site, seqpos_slice=[3, None])
    found = measured(gpt2, tmp_path, error_mode="frozen")
    assert {position for _, position, _ in found} == {3, 4}
    assert_same(found, plain.effects(hf, saes, CLEAN, PATCH, difference, frozen=True, first=3))


def test_saes_of_different_positions_cannot_be_spliced_in_together(gpt2: Path, tmp_path: Path) -> None:
    hf = plain.gpt2_of(gpt2)
    for site, first in ((STREAM[0], 0), (STREAM[1], 2)):
        saved(fitted(hf, site, ReLU), tmp_path / site, seqpos_slice=[first, None])
    message = r"attn_out' was trained on positions 0 on and that for 'blocks.0.hook_mlp_out' on positions 2 on"
    with pytest.raises(ValueError, match=message):
        measured(gpt2, tmp_path)


def with_factor(folder: Path, name: str, factor: torch.Tensor, *, said: bool) -> Path:
    tensors = load_file(folder / "sae_weights.safetensors")
    save_file(tensors | {name: factor}, folder / "sae_weights.safetensors")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"finetuning_scaling_factor": said}))
    return folder


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_the_factor_of_finetuning_scales_what_each_feature_writes(name: str, tmp_path: Path) -> None:
    sae = random_sae(JumpReLU)
    factor = torch.linspace(0.5, 2.0, sae.d_sae)
    loaded = load_sae(with_factor(saved(sae, tmp_path), name, factor, said=True))
    x = torch.randn(5, sae.d_in)
    features = sae.encode(x).features
    assert torch.equal(loaded.encode(x).features, features)
    torch.testing.assert_close(loaded.decode(features, None), (features * factor) @ sae.W_dec + sae.b_dec)


def test_a_factor_that_is_missing_or_not_announced_is_refused(tmp_path: Path) -> None:
    sae = random_sae(JumpReLU)
    with pytest.raises(SAEFileError, match=r"scaling_factor is not 1 everywhere, and cfg\.json does not say"):
        load_sae(with_factor(saved(sae, tmp_path), "scaling_factor", torch.full((sae.d_sae,), 2.0), said=False))
    with pytest.raises(SAEFileError, match=r"expected scaling_factor or finetuning_scaling_factor.*found neither"):
        load_sae(with_factor(saved(sae, tmp_path), "b_dec", sae.b_dec, said=True))
    with pytest.raises(SAEFileError, match=r"scaling_factor has shape \(2,\)"):
        load_sae(with_factor(saved(sae, tmp_path), "scaling_factor", torch.ones(2), said=True))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reshape_activations", "per_head", r"reshape_activations is 'per_head'; expected 'none' or 'hook_z'"),
        ("hook_name_out", "blocks.3.hook_resid_post", r"hook_name_out is 'blocks.3.hook_resid_post', another than"),
        ("d_out", 7, r"d_out is 7, another than the input's 12"),
        ("prepend_bos", "no", r"prepend_bos is 'no'; expected true or false"),
    ],
)
def test_settings_of_something_else_than_an_sae_are_refused(key: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SAEFileError, match=message):
        load_sae(saved(random_sae(ReLU), tmp_path, **{key: value}))


def test_settings_that_are_not_understood_are_listed_once_for_a_whole_folder(tmp_path: Path) -> None:
    for n in range(3):
        site = f"blocks.{n}.hook_mlp_out"
        arguments = {"checkpoint_value": 1000, "dtype": "bfloat16"}
        saved(random_sae(ReLU, site=site), tmp_path / str(n), whitening=True, model_from_pretrained_kwargs=arguments)
    expected = r"not understood.*: metadata\.whitening, model_from_pretrained_kwargs\.checkpoint_value\.$"
    with pytest.warns(UserWarning, match=expected) as caught:
        load_saes(tmp_path)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=expected):
        load_sae(tmp_path / "1")


READS: list[tuple[dict[str, Any], list[int]]] = [
    ({"layers": range(2, 11)}, [2, 10]),
    ({"layers": [0]}, [0]),
    ({"sites": "blocks.[0-2].*mlp_out"}, [0, 2]),
    ({"sites": ["mlp_out"], "layers": [2, 3]}, [2]),
]


@pytest.mark.parametrize(("chosen", "layers"), READS)
def test_weights_outside_the_chosen_sites_and_layers_are_not_read(
    chosen: dict[str, Any], layers: list[int], tmp_path: Path
) -> None:
    for layer in (0, 2, 10):
        folder = saved(random_sae(ReLU, site=f"blocks.{layer}.hook_mlp_out"), tmp_path / str(layer))
        if layer not in layers:
            (folder / "sae_weights.safetensors").write_bytes(b"not read")
    assert list(load_saes(tmp_path, **chosen)) == [f"blocks.{layer}.hook_mlp_out" for layer in layers]


def test_choosing_nothing_is_an_error_that_lists_what_there_is(tmp_path: Path) -> None:
    for layer in (0, 2):
        saved(random_sae(ReLU, site=f"blocks.{layer}.hook_mlp_out"), tmp_path / str(layer))
    with pytest.raises(ValueError, match=r"No SAE lies in layers 3, 4\. There are SAEs in layers 0, 2\."):
        load_saes(tmp_path, layers=range(3, 5))
    with pytest.raises(LookupError, match=r"called 'resid_post'\. There are: mlp_out"):
        load_saes(tmp_path, sites="resid_post")


def test_sites_are_chosen_by_the_names_that_the_model_gives_them(tmp_path: Path) -> None:
    saved(random_sae(ReLU, site="blocks.0.mlp.hook_out"), tmp_path / "own")
    rename: Callable[[str], str] = {"blocks.0.mlp.hook_out": "blocks.0.hook_mlp_out"}.get  # pyright: ignore
    found = load_saes(tmp_path, sites="mlp_out", canonical=lambda name: rename(name) or name)
    assert list(found) == ["blocks.0.mlp.hook_out"]
    np.testing.assert_array_equal(found["blocks.0.mlp.hook_out"].b_dec, random_sae(ReLU).b_dec)
