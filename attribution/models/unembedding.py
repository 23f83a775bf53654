"""From the last residual stream to logits: final norm, unembedding and soft cap.

logits = cap · tanh(z / cap),   z = scale · (norm(x) · W_U + b_U)          without a soft cap, logits = z
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def all_logits(module: Any, hidden: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos vocab"]:
    """The logits of every position."""
    return _capped(module, module.unembed(_last_norm(module, hidden)))


def chosen_logits(
    module: Any, hidden: Float[Tensor, "run d_model"], columns: Int[Tensor, "run column"]
) -> Float[Tensor, "run column"]:
    """The logits of chosen tokens only, for each run's last residual stream."""
    unembed = module.unembed
    bias = getattr(unembed, "b_U", None) if hasattr(unembed, "W_U") else getattr(unembed, "bias", None)
    by_token = unembed.W_U.T if hasattr(unembed, "W_U") else unembed.weight
    logits = torch.einsum("rd,rcd->rc", _last_norm(module, hidden[:, None])[:, 0], by_token.detach()[columns])
    return _capped(module, logits if bias is None else logits + bias.detach()[columns])


def logits_of_directions(
    module: Any, directions: Float[Tensor, "direction d_model"], dtype: torch.dtype
) -> Float[Tensor, "direction vocab"]:
    """Logits of a last residual stream that holds one direction alone, minus the logits of an empty stream.

    Each direction is scaled to root mean square 1; the stream has the model's `dtype`. The final norm rescales a lone
    direction (LayerNorm also centres it), so this is the direction through the norm's weight and the unembedding, up to
    a positive factor. No soft cap.
    """
    size = directions.pow(2).mean(-1, keepdim=True).sqrt()
    alone = torch.where(size > 0, directions / torch.where(size > 0, size, 1), 0)
    streams = torch.cat([alone, torch.zeros_like(alone[:1])])[:, None].to(dtype)
    logits = module.unembed(_last_norm(module, streams))[:, 0].to(directions.dtype)
    return logits[:-1] - logits[-1]


def _last_norm(module: Any, hidden: Tensor) -> Tensor:
    norm = getattr(module, "ln_final", None)
    return hidden if norm is None else norm(hidden)


def _capped(module: Any, logits: Tensor) -> Tensor:
    scale = _logit_scale(module)
    logits = logits if scale == 1 else logits * scale
    cap = getattr(module.cfg, "output_logits_soft_cap", None)
    return cap * torch.tanh(logits / cap) if cap is not None and cap > 0 else logits


def _logit_scale(module: Any) -> float:
    """What a Hugging Face model multiplies its logits by: Cohere's `logit_scale`, Granite's 1 / `logits_scaling`."""
    config = getattr(getattr(module, "original_model", None), "config", None)
    if config is None:
        return 1.0
    text = config.get_text_config()
    return float(getattr(text, "logit_scale", None) or 1.0) / float(getattr(text, "logits_scaling", None) or 1.0)
