"""The five encoders as plain formulas on tensors, to judge the shipped files without any SAE library.

standard   f = relu(z)                               z = x @ W_enc + b_enc
jumprelu   f = relu(z) * (z > threshold)
topk       f = relu(z) where z is among the k largest, else 0
gated      f = relu(x @ (W_enc * exp(r_mag)) + b_mag) * (x @ W_enc + b_gate > 0)
prolu      f = relu(m) * (m + b_enc > 0)             m = (x - b_dec) @ W_enc
decoded    f @ W_dec + b_dec
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]


def read_sae(folder: Path) -> tuple[dict[str, Any], Weights]:
    """The config and the weights, in float32, of an SAE's folder."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    return config, {key: value.float() for key, value in weights.items()}


def write_sae(folder: Path, config: dict[str, Any], weights: Weights) -> None:
    """Write a folder in SAELens's format. Weights are in float16; the config says float32, so that loaders upcast."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n")
    halves = {key: value.detach().half().contiguous() for key, value in weights.items()}
    save_file(halves, folder / "sae_weights.safetensors")


def encode(config: dict[str, Any], w: Weights, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_sae"]:
    """Feature activations. Inputs are not normalised, because the recipe's configs normalise nothing."""
    kind = config["architecture"]
    if kind == "prolu":
        m = (x - w["b_dec"]) @ w["W_enc"]
        return m.relu() * (m + w["b_enc"] > 0)
    if config["apply_b_dec_to_input"]:
        x = x - w["b_dec"]
    if kind == "gated":
        gate = x @ w["W_enc"] + w["b_gate"] > 0
        return (x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu() * gate
    z = x @ w["W_enc"] + w["b_enc"]
    if kind == "jumprelu":
        return z.relu() * (z > w["threshold"])
    if kind == "topk":
        top = z.topk(config["k"], dim=-1)
        return torch.zeros_like(z).scatter(-1, top.indices, top.values.relu())
    if kind == "standard":
        return z.relu()
    raise ValueError(f"There is no encoder {kind!r}. Choose one of: standard, jumprelu, topk, gated, prolu.")


def decode(w: Weights, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_model"]:
    """The reconstruction of the activation."""
    return f @ w["W_dec"] + w["b_dec"]
