"""Fuzz: files of SAEs. What a reader accepts computes finite numbers."""

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from attribution import load_gemma_scope, load_sae, save_sae
from attribution.dictionaries.kinds.jumprelu import JumpReLU
from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.kinds.topk import TopK
from tests.fuzz.hostile_json import CORPUS, encoded, hostile_bytes, hostile_json
from tests.fuzz.trial import fuzz
from tests.worlds.random_saes import random_sae

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
TRAINING: dict[str, Any] = {
    "model_from_pretrained_kwargs": {"center_writing_weights": True, "dtype": "float32"},
    "sae_lens_version": "6.0.0",
    "seqpos_slice": [1, None],
    "context_size": 128,
    "prepend_bos": True,
}
OLD: dict[str, Any] = {
    "activation_fn_str": "topk",
    "activation_fn_kwargs": {"k": 3},
    "hook_point": "blocks.3.hook_mlp_out",
    "normalize_activations": "expected_average_only_in",
    "from_pretrained_kwargs": {},
}


def computes(sae: SAE) -> None:
    assert torch.isfinite(sae.encode(torch.zeros(1, sae.d_in)).features).all()


def saved(folder: Path, sae: SAE, **config: Any) -> Path:
    save_sae(sae, folder)
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | config))
    return folder


def loads(folder: Path, name: str) -> Callable[[bytes], None]:
    """Writes one file of a folder, and loads the SAE in it."""

    def use(content: bytes) -> None:
        (folder / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            computes(load_sae(folder))

    return use


@pytest.mark.parametrize("spelling", ["new", "old"])
def test_settings_are_refused_in_a_sentence_or_make_an_sae(spelling: str, tmp_path: Path) -> None:
    sae, own = (random_sae(JumpReLU), {}) if spelling == "new" else (random_sae(TopK), OLD)
    folder = saved(tmp_path, sae, **(own or {"metadata": {"hook_name": sae.site, **TRAINING}}))
    (folder / SCALER).write_text('{"scaling_factor": 2.0}')
    right = json.loads((folder / CONFIG).read_text())
    wrong_architecture = encoded(right | {"architecture": ["jumprelu"]})
    fuzz(f"SAE ({CONFIG}, {spelling})", hostile_json(right), loads(folder, CONFIG), (*CORPUS, wrong_architecture))


def test_a_scaling_factor_is_refused_in_a_sentence_or_makes_an_sae(tmp_path: Path) -> None:
    folder = saved(tmp_path, random_sae(TopK), **OLD)
    fuzz(f"SAE ({SCALER})", hostile_json({"scaling_factor": 2.0}), loads(folder, SCALER), CORPUS)


@st.composite
def hostile_safetensors(draw: st.DrawFn, right: bytes) -> bytes:
    """Weights with another header, other numbers, or other bytes."""
    (length,) = struct.unpack("<Q", right[:8])
    head, body = right[8 : 8 + length], right[8 + length :]
    how = draw(st.sampled_from(["head", "head", "dtype", "number", "length", "bytes"]))
    if how == "head":
        head = draw(hostile_json(json.loads(head)))
    elif how == "dtype":
        content = json.loads(head)
        entry = content[draw(st.sampled_from([name for name in content if name != "__metadata__"]))]
        entry["dtype"] = draw(
            st.sampled_from(["F64", "F16", "BF16", "I32", "F8_E4M3", "F8_E5M2", "BOOL", "C64", "U16"])
        )
        entry["shape"] = draw(st.sampled_from([entry["shape"], [0, 2**40], [2**62, 4], [-1], entry["shape"][::-1]]))
        head = encoded(content)
    elif how == "number":
        at = 4 * draw(st.integers(0, len(body) // 4 - 1))
        number = draw(st.sampled_from([float("nan"), float("inf"), -1.0, 3e38, -3e38, 1e-45]))
        body = body[:at] + struct.pack("<f", number) + body[at + 4 :]
    elif how == "length":
        length = draw(st.sampled_from([0, 1, length - 1, length + 8, 2**31, 2**63, 2**64 - 1]))
        return struct.pack("<Q", length) + head + body
    whole = struct.pack("<Q", len(head)) + head + body
    return draw(hostile_bytes(whole)) if how == "bytes" else whole


def test_weights_are_refused_in_a_sentence_or_make_an_sae(tmp_path: Path) -> None:
    folder = saved(tmp_path, random_sae(JumpReLU))
    right = (folder / WEIGHTS).read_bytes()
    fuzz(f"SAE ({WEIGHTS})", hostile_safetensors(right), loads(folder, WEIGHTS), (b"", b"{}", b"\x00" * 8, *CORPUS))


@st.composite
def hostile_npz(draw: st.DrawFn, right: dict[str, np.ndarray]) -> bytes:
    """An archive with another array, another header of one, or other bytes."""
    arrays = dict(right)
    name = draw(st.sampled_from(sorted(arrays)))
    kinds = ["f2", "f8", ">f4", "f16", "i4", "U3", "M8[s]", "c8", "?", "O", "f4,f4"]
    how = draw(st.sampled_from(["type", "number", "shape", "gone", "head", "bytes"]))
    if how == "type":
        arrays[name] = np.zeros(arrays[name].shape, draw(st.sampled_from(kinds)))
    elif how == "number":
        arrays[name] = np.full_like(arrays[name], draw(st.floats(width=32)))
    elif how == "shape":
        arrays[name] = np.zeros(draw(st.sampled_from([(), (0,), (1,), (3, 2, 1), (0, 5)])), np.float32)
    elif how == "gone":
        del arrays[name]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, values in arrays.items():
            entry = io.BytesIO()
            np.save(entry, values, allow_pickle=True)
            content = entry.getvalue()
            if how == "head" and key == name:
                shape = draw(st.sampled_from(["(2, 99999999999)", "(-1,)", "()", "((", "f()", "(" * 500, "None"]))
                content = content.replace(str(values.shape).encode(), shape.encode(), 1)
            archive.writestr(f"{key}.npy", content)
    return draw(hostile_bytes(buffer.getvalue())) if how == "bytes" else buffer.getvalue()


def test_an_archive_is_refused_in_a_sentence_or_makes_an_sae(tmp_path: Path) -> None:
    file = tmp_path / "params.npz"
    right = {name: tensor.numpy() for name, tensor in random_sae(JumpReLU).tensors().items()}

    def use(content: bytes) -> None:
        file.write_bytes(content)
        computes(load_gemma_scope(file, site="blocks.0.hook_mlp_out"))

    fuzz("SAE (params.npz)", hostile_npz(right), use, (b"", b"PK\x03\x04", b"\x93NUMPY"))
