"""SAELens folders: what is written comes back, every spelling of cfg.json reads, every fault is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from attribution.dictionaries import (
    SAE,
    BatchTopK,
    JumpReLU,
    Normalisation,
    ReLU,
    SAEFileError,
    TopK,
    load_sae,
    save_sae,
)
from tests.worlds.random_saes import D_IN, D_SAE, KINDS, K, activations, random_sae

WEIGHTS = "sae_weights.safetensors"


def saved(sae: SAE, folder: Path) -> Path:
    save_sae(sae, folder)
    return folder


def edit_config(folder: Path, remove: tuple[str, ...] = (), **changes: Any) -> None:
    """Change keys of cfg.json in place."""
    file = folder / "cfg.json"
    config = {k: v for k, v in json.loads(file.read_text()).items() if k not in remove}
    file.write_text(json.dumps(config | changes))


def edit_weights(folder: Path, remove: tuple[str, ...] = (), **changes: Any) -> None:
    """Change tensors of the weights file in place."""
    kept = {k: v for k, v in load_file(folder / WEIGHTS).items() if k not in remove}
    save_file(kept | changes, folder / WEIGHTS)


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("apply_b_dec_to_input", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_give_the_same_sae_back(
    kind: type[SAE], apply_b_dec_to_input: bool, normalisation: Normalisation, tmp_path: Path
):
    sae = random_sae(kind, normalisation=normalisation, apply_b_dec_to_input=apply_b_dec_to_input)
    back = load_sae(saved(sae, tmp_path / "sae"))
    assert type(back) is kind
    assert back.site == sae.site
    assert back.digest() == sae.digest()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_dtypes_are_cast_to_the_dtype_asked_for(dtype: torch.dtype, tmp_path: Path):
    sae = random_sae(JumpReLU).to(dtype=dtype)
    folder = saved(sae, tmp_path)
    assert load_sae(folder, dtype=dtype).digest() == sae.digest()
    assert load_sae(folder).digest() == sae.to(dtype=torch.float32).digest()


def test_a_site_given_at_load_wins_over_the_one_in_the_file(tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    assert load_sae(folder).site == "blocks.3.hook_mlp_out"
    assert load_sae(folder, site="blocks.1.hook_resid_post").site == "blocks.1.hook_resid_post"


def test_a_folder_that_names_no_hook_gives_an_empty_site(tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    edit_config(folder, remove=("metadata",))
    assert load_sae(folder).site == ""


@pytest.mark.parametrize("hook_key", ["hook_name", "hook_point"])
def test_the_spelling_before_version_6_reads_the_same(hook_key: str, tmp_path: Path):
    sae = random_sae(ReLU, normalisation="none")
    folder = saved(sae, tmp_path)
    edit_config(
        folder,
        remove=("metadata", "architecture", "apply_b_dec_to_input", "reshape_activations"),
        normalize_activations=False,
        activation_fn_str="relu",
        use_ghost_grads=False,
        hook_head_index=None,
        **{hook_key: sae.site},
    )
    back = load_sae(folder)
    assert (back.site, back.digest()) == (sae.site, sae.digest())


def test_the_old_topk_spelling_reads_the_same(tmp_path: Path):
    sae = random_sae(TopK)
    folder = saved(sae, tmp_path)
    edit_config(
        folder,
        remove=("k",),
        architecture="standard",
        activation_fn_str="topk",
        activation_fn_kwargs={"k": K},
    )
    assert load_sae(folder).digest() == sae.digest()


def test_a_logarithm_of_the_threshold_is_undone(tmp_path: Path):
    sae = random_sae(JumpReLU)
    folder = saved(sae, tmp_path)
    threshold = sae.tensors()["threshold"]
    edit_weights(folder, remove=("threshold",), log_threshold=threshold.log())
    torch.testing.assert_close(load_sae(folder).tensors()["threshold"], threshold)


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("key", ["threshold", "topk_threshold"])
def test_a_global_batchtopk_threshold_may_be_a_scalar(key: str, architecture: str, tmp_path: Path):
    sae = random_sae(BatchTopK)
    folder = saved(sae, tmp_path)
    edit_config(folder, architecture=architecture)
    edit_weights(folder, remove=("threshold",), **{key: torch.tensor(0.7, dtype=torch.float64)})
    assert load_sae(folder).digest() == sae.digest()


def test_thresholds_that_training_left_below_zero_act_as_zero(tmp_path: Path):
    sae = random_sae(JumpReLU)
    folder = saved(sae, tmp_path)
    threshold = sae.tensors()["threshold"] - 0.3
    edit_weights(folder, threshold=threshold)
    back = load_sae(folder)
    x = activations(20)
    z = (x - sae.b_dec) @ sae.W_enc + sae.tensors()["b_enc"]
    assert (threshold < 0).any()
    assert (back.tensors()["threshold"] >= 0).all()
    assert torch.equal(back.encode(x).features, z.relu() * (z > threshold))


@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_rescaling_by_decoder_norms_is_folded_into_the_weights(kind: type[SAE], tmp_path: Path):
    sae = random_sae(kind, dtype=torch.float64)
    folder = saved(sae, tmp_path)
    edit_config(folder, rescale_acts_by_decoder_norm=True)
    back = load_sae(folder, dtype=torch.float64)
    x = activations(9, dtype=torch.float64)
    norms = sae.W_dec.norm(dim=-1)
    z = ((x - sae.b_dec) @ sae.W_enc + sae.tensors()["b_enc"]) * norms
    least = z.topk(K).values[:, -1:] if kind is TopK else torch.nextafter(torch.tensor(0.7).double(), z[0, :1])
    features = torch.where(z >= least, z.relu(), 0.0)
    torch.testing.assert_close(back.encode(x).features, features)
    torch.testing.assert_close(back.decode(features, None), (features / norms) @ sae.W_dec + sae.b_dec)


def test_a_decoder_row_of_zeros_survives_the_folding_of_norms(tmp_path: Path):
    sae = random_sae(TopK)
    sae.W_dec[4] = 0.0
    folder = saved(sae, tmp_path)
    edit_config(folder, rescale_acts_by_decoder_norm=True)
    back = load_sae(folder)
    features = back.encode(activations(5)).features
    assert (features[:, 4] == 0).all()
    assert torch.isfinite(back.decode(features, None)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaling_factor_in_the_folder_is_folded_into_the_weights(kind: type[SAE], tmp_path: Path):
    sae = random_sae(kind, dtype=torch.float64)
    folder = saved(sae, tmp_path)
    edit_config(folder, normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 2.5}))
    back = load_sae(folder, dtype=torch.float64)
    x = activations(9, dtype=torch.float64)
    encoding = sae.encode(2.5 * x)
    torch.testing.assert_close(back.encode(x).features, encoding.features)
    torch.testing.assert_close(back.decode(encoding.features, None), sae.decode(encoding.features, None) / 2.5)


def test_a_scaling_factor_that_is_nowhere_is_a_warning_and_not_applied(tmp_path: Path):
    sae = random_sae(ReLU)
    folder = saved(sae, tmp_path)
    edit_config(folder, normalize_activations="expected_average_only_in")
    with pytest.warns(UserWarning, match=r"cfg\.json.*does not hold the scaling factor"):
        back = load_sae(folder)
    assert back.digest() == sae.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "temporal"}, r"architecture is 'temporal'; expected one of standard, jumprelu"),
        ({"architecture": ["jumprelu"]}, r"architecture is \['jumprelu'\]; expected text"),
        ({"normalize_activations": {}}, r"normalize_activations is \{\}; expected true, false or one of none"),
        ({"seqpos_slice": ["x"]}, r"seqpos_slice\[0\] is 'x'; expected a whole number"),
        ({"seqpos_slice": []}, r"seqpos_slice is \[\]; expected \[stop\]"),
        ({"context_size": "128"}, r"context_size is '128'; expected a whole number"),
        ({"model_from_pretrained_kwargs": [1]}, r"model_from_pretrained_kwargs is \[1\]; expected an object"),
        ({"metadata": {"sae_lens_version": 6}}, r"sae_lens_version is 6; expected text"),
        ({"d_sae": 10**30}, r"d_sae is 1000000000000000000000000000000; expected a positive integer below 2\^31"),
        ({"d_sae": 2**31}, r"d_sae is 2147483648; expected a positive integer below 2\^31"),
        ({"d_in": "12"}, r"d_in is '12'; expected a positive integer"),
        ({"d_sae": 0}, r"d_sae is 0; expected a positive integer"),
        ({"apply_b_dec_to_input": "yes"}, r"apply_b_dec_to_input is 'yes'; expected true or false"),
        (
            {"normalize_activations": "covariance_whitening"},
            r"normalize_activations is 'covariance_whitening'",
        ),
        ({"activation_fn_str": "tanh-relu"}, r"activation_fn is 'tanh-relu'; expected 'relu' or 'topk'"),
        ({"hook_head_index": 3, "metadata": {}}, r"hook_head_index is 3; expected null"),
        ({"metadata": {"hook_name": 7}}, r"hook_name is 7; expected a hook's name"),
        ({"metadata": "x"}, r"metadata is 'x'; expected an object"),
        ({"k": D_SAE + 1}, rf"k is 41; expected an integer with 1 <= k <= d_sae = {D_SAE}"),
        ({"k": 0}, r"k is 0; expected an integer"),
        ({"k": 4.5}, r"k is 4\.5; expected an integer"),
        ({"k": None}, r"k is None; expected an integer"),
    ],
)
def test_a_faulty_setting_is_an_error_that_names_file_key_expected_and_found(
    changes: dict[str, Any], message: str, tmp_path: Path
):
    folder = saved(random_sae(TopK), tmp_path)
    edit_config(folder, **changes)
    with pytest.raises(SAEFileError, match=rf"{tmp_path}/cfg\.json: {message}"):
        load_sae(folder)


@pytest.mark.parametrize("key", ["d_in", "d_sae"])
def test_a_missing_size_is_an_error(key: str, tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    edit_config(folder, remove=(key,))
    with pytest.raises(SAEFileError, match=rf"cfg\.json: {key} is missing"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"W_enc": torch.zeros(D_IN, 33)},
            r"W_enc has shape \(12, 33\); expected \(d_in, d_sae\) = \(12, 40\)",
        ),
        (
            {"W_dec": torch.zeros(D_IN, D_SAE)},
            r"W_dec has shape \(12, 40\); expected \(d_sae, d_in\) = \(40, 12\)",
        ),
        ({"b_dec": torch.zeros(D_SAE)}, r"b_dec has shape \(40,\); expected \(d_in\) = \(12,\)"),
        ({"b_enc": torch.zeros(D_SAE, 1)}, r"b_enc has shape \(40, 1\); expected \(d_sae\) = \(40,\)"),
        ({"threshold": torch.zeros(3)}, r"threshold has shape \(3,\); expected \(d_sae\) = \(40,\)"),
        (
            {"b_enc": torch.full((D_SAE,), torch.nan)},
            r"b_enc has 40 entries that are NaN or infinite, the first at \(0,\)",
        ),
        (
            {"threshold": torch.tensor([1.0] * 39 + [torch.inf])},
            r"threshold has 1 entries that are NaN or infinite, the first at \(39,\)",
        ),
        (
            {"b_enc": torch.zeros(D_SAE, dtype=torch.int64)},
            r"b_enc has dtype torch\.int64; expected floating",
        ),
        (
            {"b_gate": torch.zeros(D_SAE)},
            r"b_gate not expected; architecture 'jumprelu' has W_dec, W_enc, b_dec",
        ),
        ({"scaling_factor": torch.full((D_SAE,), 1.5)}, r"scaling_factor is not 1 everywhere"),
    ],
)
def test_a_faulty_tensor_is_an_error_that_names_file_key_expected_and_found(
    changes: dict[str, Any], message: str, tmp_path: Path
):
    folder = saved(random_sae(JumpReLU), tmp_path)
    edit_weights(folder, **changes)
    with pytest.raises(SAEFileError, match=rf"{tmp_path}/sae_weights\.safetensors: {message}"):
        load_sae(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_tensor_is_an_error_that_says_what_is_there(kind: type[SAE], tmp_path: Path):
    for name in kind.tensor_axes():
        folder = saved(random_sae(kind), tmp_path / name)
        edit_weights(folder, remove=(name,))
        with pytest.raises(SAEFileError, match=rf"{name} missing; architecture '\w+' has .*{name}.*; found "):
            load_sae(folder)


def test_a_scaling_factor_of_ones_is_ignored(tmp_path: Path):
    sae = random_sae(JumpReLU)
    folder = saved(sae, tmp_path)
    edit_weights(folder, scaling_factor=torch.ones(D_SAE))
    assert load_sae(folder).digest() == sae.digest()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("cfg.json", b"{not json", "cannot be read as JSON"),
        ("cfg.json", b"[1, 2]", "holds a JSON list; expected an object of settings"),
        ("cfg.json", b"\xff\xfe\x00", "cannot be read as JSON"),
        (WEIGHTS, b"not safetensors", "cannot be read as safetensors"),
        (WEIGHTS, b"", "cannot be read as safetensors"),
    ],
)
def test_an_unreadable_file_is_an_error_that_names_it(file: str, content: bytes, message: str, tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    (folder / file).write_bytes(content)
    with pytest.raises(SAEFileError, match=rf"{tmp_path}/{file}: {message}"):
        load_sae(folder)


def test_weights_that_are_not_there_are_an_error(tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    (folder / WEIGHTS).unlink()
    with pytest.raises(SAEFileError, match=r"sae_weights\.safetensors: no such file"):
        load_sae(folder)


@pytest.mark.parametrize("factor", [0, -1.0, "2", True])
def test_an_unusable_scaling_factor_is_an_error(factor: Any, tmp_path: Path):
    folder = saved(random_sae(ReLU), tmp_path)
    edit_config(folder, normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    with pytest.raises(SAEFileError, match=r"activation_scaler\.json: scaling_factor is .*; expected a positive"):
        load_sae(folder)
