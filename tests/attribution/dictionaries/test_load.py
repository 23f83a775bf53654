"""Folders of SAEs, and Gemma Scope's params.npz."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attribution.dictionaries import (
    JumpReLU,
    ReLU,
    SAEFileError,
    TopK,
    load_gemma_scope,
    load_sae,
    load_saes,
    save_sae,
)
from tests.worlds.random_saes import activations, random_sae

SITES = ["blocks.0.hook_attn_out", "blocks.2.hook_mlp_out", "blocks.10.hook_mlp_out"]


def write_npz(file: Path, **changes: np.ndarray | None) -> JumpReLU:
    """A random JumpReLU SAE as params.npz, some arrays changed (None: left out)."""
    sae = random_sae(JumpReLU, apply_b_dec_to_input=False)
    assert isinstance(sae, JumpReLU)
    stored = {name: tensor.numpy() for name, tensor in sae.tensors().items()} | changes
    arrays: dict[str, Any] = {name: array for name, array in stored.items() if array is not None}
    np.savez(file, **arrays)
    return sae


def test_a_folder_of_folders_loads_by_site_in_natural_order(tmp_path: Path):
    for folder, site in zip(["b", "nested/c", "a"], SITES, strict=True):
        save_sae(random_sae(ReLU, site=site), tmp_path / folder)
    saes = load_saes(tmp_path)
    assert list(saes) == SITES
    assert all(sae.site == site for site, sae in saes.items())


def test_one_sae_folder_is_a_set_of_one(tmp_path: Path):
    save_sae(random_sae(TopK, site=SITES[0]), tmp_path)
    assert list(load_saes(tmp_path)) == SITES[:1]


def test_two_saes_for_one_site_are_an_error_that_names_both_folders(tmp_path: Path):
    for folder in ("first", "second"):
        save_sae(random_sae(ReLU, site=SITES[0]), tmp_path / folder)
    with pytest.raises(SAEFileError, match=rf"two SAEs for site '{SITES[0]}': {tmp_path}/first and .*second"):
        load_saes(tmp_path)


def test_a_folder_without_an_sae_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "one/two/three").mkdir(parents=True)
    save_sae(random_sae(ReLU), tmp_path / "one/two/three")
    with pytest.raises(SAEFileError, match=rf"{tmp_path}: no SAE found; expected folders that hold cfg\.json"):
        load_saes(tmp_path)


def test_an_sae_without_a_site_cannot_be_part_of_a_set(tmp_path: Path):
    save_sae(random_sae(ReLU, site=""), tmp_path / "sae")
    with pytest.raises(SAEFileError, match=r"sae/cfg\.json: metadata\.hook_name is missing"):
        load_saes(tmp_path)


def test_loading_from_a_folder_that_is_not_there_or_holds_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(SAEFileError, match=r"expected cfg\.json or params\.npz.*there is no such folder"):
        load_sae(tmp_path / "nowhere")
    with pytest.raises(SAEFileError, match=r"expected cfg\.json or params\.npz.*it holds neither"):
        load_sae(tmp_path)


def test_gemma_scope_is_a_jumprelu_that_does_not_subtract_b_dec(tmp_path: Path):
    sae = write_npz(tmp_path / "params.npz")
    loaded = load_gemma_scope(tmp_path / "params.npz", site="blocks.5.hook_resid_post")
    assert loaded.site == "blocks.5.hook_resid_post"
    assert loaded.digest() == sae.digest()
    x = activations(4)
    z = x @ sae.W_enc + sae.b_enc
    assert torch.equal(loaded.encode(x).features, z.relu() * (z > sae.threshold))


def test_gemma_scope_weights_may_be_spelt_in_lower_case_and_stored_in_half_precision(tmp_path: Path):
    sae = random_sae(JumpReLU, apply_b_dec_to_input=False).to(dtype=torch.float16)
    tensors = {name: tensor.numpy() for name, tensor in sae.tensors().items()}
    np.savez(
        tmp_path / "params.npz",
        w_enc=tensors["W_enc"],
        w_dec=tensors["W_dec"],
        b_enc=tensors["b_enc"],
        b_dec=tensors["b_dec"],
        threshold=tensors["threshold"],
    )
    loaded = load_gemma_scope(tmp_path / "params.npz", site="s")
    assert loaded.digest() == sae.to(dtype=torch.float32).digest()


def test_load_sae_reads_params_npz_when_told_the_site(tmp_path: Path):
    sae = write_npz(tmp_path / "params.npz")
    assert load_sae(tmp_path, site="blocks.5.hook_resid_post").digest() == sae.digest()
    with pytest.raises(SAEFileError, match=r"params\.npz: does not name its hook; pass site="):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, r"threshold missing; found W_dec, W_enc, b_dec, b_enc"),
        ({"b_enc": np.zeros(3, np.float32)}, r"b_enc has shape \(3,\); expected \(d_sae\) = \(40,\)"),
        ({"W_enc": np.zeros(3, np.float32)}, r"W_enc has shape \(3,\); expected \(d_in, d_sae\)"),
        ({"b_dec": np.full(12, np.inf, np.float32)}, r"b_dec has 12 entries that are NaN or infinite"),
        ({"threshold": np.full(40, -1, np.float32)}, r"threshold has negative entries, the least -1"),
        ({"W_enc": np.array([{"a": 1}])}, r"cannot be read as a \.npz of plain arrays.*allow_pickle"),
    ],
)
def test_a_faulty_npz_is_an_error_that_names_file_key_expected_and_found(
    changes: dict[str, Any], message: str, tmp_path: Path
):
    write_npz(tmp_path / "params.npz", **changes)
    with pytest.raises(SAEFileError, match=rf"{tmp_path}/params\.npz: {message}"):
        load_gemma_scope(tmp_path / "params.npz", site="s")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_an_npz_that_is_no_archive_is_an_error(content: bytes, tmp_path: Path):
    (tmp_path / "params.npz").write_bytes(content)
    with pytest.raises(SAEFileError, match=r"params\.npz: cannot be read as a \.npz"):
        load_gemma_scope(tmp_path / "params.npz", site="s")


def test_a_single_array_is_not_an_npz(tmp_path: Path):
    with (tmp_path / "params.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(SAEFileError, match=r"params\.npz: holds a single array; expected a \.npz"):
        load_gemma_scope(tmp_path / "params.npz", site="s")


def test_a_missing_npz_is_an_error(tmp_path: Path):
    with pytest.raises(SAEFileError, match=r"params\.npz: no such file"):
        load_gemma_scope(tmp_path / "params.npz", site="s")


def test_a_file_error_survives_the_way_back_from_a_worker():
    error = SAEFileError("weights.safetensors", "W_enc missing")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "weights.safetensors: W_enc missing"
