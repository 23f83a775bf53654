"""From the last residual stream to logits: final norm, unembedding and soft cap.

logits = cap · tanh(z / cap),   z = norm(x) · W_U + b_U          without a soft cap, logits = z
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
    b_U = getattr(unembed, "b_U", None)
    logits = torch.einsum("rd,rcd->rc", _last_norm(module, hidden[:, None])[:, 0], unembed.W_U.detach().T[columns])
    return _capped(module, logits if b_U is None else logits + b_U.detach()[columns])


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
    cap = getattr(module.cfg, "output_logits_soft_cap", None)
    return cap * torch.tanh(logits / cap) if cap is not None and cap > 0 else logits
