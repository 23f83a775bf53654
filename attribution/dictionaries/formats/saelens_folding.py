"""Fold what SAELens stores beside the weights into the weights, so that encode and decode need nothing else.

    scaling factor s       W_enc *= s;   W_dec, b_dec /= s             x was trained on as s * x
    finetuning factor g    W_dec *= g                                  features were decoded as f * g
    decoder norms n        W_enc, b_enc *= n;   W_dec /= n             TopK, BatchTopK: f is in units of z * n
    log_threshold          threshold = exp(log_threshold)              older JumpReLU
    threshold < 0          threshold = 0                               same features, since v = relu(z)

Exact up to rounding: features and reconstruction equal SAELens's own. Dividing W_dec by s divides n by s,
and with it a BatchTopK threshold, which is in units of z * n.
"""

import torch
from torch import Tensor


def fold_scaling_factor(tensors: dict[str, Tensor], factor: float, *, threshold_follows: bool) -> dict[str, Tensor]:
    """The tensors of an SAE that takes raw activations, from one trained on activations times `factor`."""
    folded = tensors | {
        "W_enc": tensors["W_enc"] * factor,
        "W_dec": tensors["W_dec"] / factor,
        "b_dec": tensors["b_dec"] / factor,
    }
    if threshold_follows:
        folded["threshold"] = tensors["threshold"] / factor
    return folded


def fold_decoder_norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Features in units of decoder rows of norm 1. A row of zeros stays zero, and so does its feature."""
    norms = tensors["W_dec"].norm(dim=-1)
    return tensors | {
        "W_enc": tensors["W_enc"] * norms,
        "b_enc": tensors["b_enc"] * norms,
        "W_dec": tensors["W_dec"] / torch.where(norms > 0, norms, 1.0)[:, None],
    }


def fold_finetuning(tensors: dict[str, Tensor], factor: Tensor) -> dict[str, Tensor]:
    """One factor for each feature, by which finetuning made up for shrinkage: features stay, their writes change."""
    return tensors | {"W_dec": tensors["W_dec"] * factor[:, None]}


def fold_threshold(tensors: dict[str, Tensor], d_sae: int) -> dict[str, Tensor]:
    """One non-negative threshold per feature, from a logarithm, a global scalar or a vector.

    SAELens's JumpReLU trainer clamps thresholds at 0 before each step, so the last step can leave some below 0.
    """
    folded = dict(tensors)
    if "log_threshold" in folded:
        folded["threshold"] = folded.pop("log_threshold").exp()
    if "topk_threshold" in folded:
        folded["threshold"] = folded.pop("topk_threshold")
    if "threshold" in folded:
        threshold = folded["threshold"].clamp(min=0.0)
        folded["threshold"] = threshold.repeat(d_sae) if threshold.ndim == 0 else threshold
    return folded
