"""Normalisation: what an SAE does to an activation before encoding and undoes after decoding.

    none                    x_n = x
    centred                 x_n = x - mean                        x_hat = r + mean
    layer_norm              x_n = (x - mean) / (std + 1e-5)       x_hat = std * r + mean
    constant_norm_rescale   x_n = x * sqrt(d_in) / |x|            x_hat = r * |x| / sqrt(d_in)

r is the decoder's output; std is the unbiased one (n - 1); the 1e-5 is added on the way in only. Both are as in
SAELens. Its "expected_average_only_in" is one constant for all activations, which is folded into the weights when the
file is read (`formats/saelens_folding.py`). "centred" is for SAEs of a model whose weights were centred
(`formats/saelens_training.py`): they never saw the mean, and what they write keeps that of the stream.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graphs.short_repr import short_repr

Normalisation = Literal["none", "centred", "layer_norm", "constant_norm_rescale"]

LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class Frame:
    """What undoes a normalisation: x = scale * x_n + mean (for layer_norm, up to its 1e-5)."""

    __repr__ = short_repr

    scale: Float[Tensor, "*batch 1"]
    mean: Float[Tensor, "*batch 1"]


def normalise(
    x: Float[Tensor, "*batch d_in"], normalisation: Normalisation
) -> tuple[Float[Tensor, "*batch d_in"], Frame | None]:
    """The normalised activation and the frame that undoes the normalisation; no frame for "none".

    constant_norm_rescale leaves an activation that is exactly zero as it is, with scale 0.
    """
    if normalisation == "none":
        return x, None
    if normalisation in ("centred", "layer_norm"):
        mean = x.mean(dim=-1, keepdim=True)
        centred = x - mean
        if normalisation == "centred":
            return centred, Frame(scale=torch.ones_like(mean), mean=mean)
        std = centred.std(dim=-1, keepdim=True)
        return centred / (std + LAYER_NORM_EPSILON), Frame(scale=std, mean=mean)
    norm = x.norm(dim=-1, keepdim=True)
    coefficient = x.shape[-1] ** 0.5 / torch.where(norm > 0, norm, 1.0)
    scale = torch.where(norm > 0, 1.0 / coefficient, 0.0)
    return x * coefficient, Frame(scale=scale, mean=torch.zeros_like(scale))


def restore(r: Float[Tensor, "*batch d_in"], frame: Frame) -> Float[Tensor, "*batch d_in"]:
    """Undo a normalisation: scale * r + mean."""
    return r * frame.scale + frame.mean
