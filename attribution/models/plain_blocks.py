"""Transformer blocks as plain functions of activations at chosen positions, without hooks: what the cone runs.

    x -> norm -> q, k, v -> attention -> z -> output [-> norm] = a        mid = x + a
                                       mid -> norm -> MLP [-> norm] = m   out = mid + m

A parallel block feeds its MLP from x. `architectures.py` builds the blocks of a model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TensorMap = Callable[[Tensor], Tensor]
Rotation = tuple[Float[Tensor, "*pos rotated"], Float[Tensor, "*pos rotated"]]


@dataclass(frozen=True)
class PlainBlock:
    """One block. Maps act on the last axis; queries, keys and values are [..., head, d_head], before any rotation.

    Pattern = softmax over keys of `softcap`ped `scaling` · q·k, computed in the dtype `softmax_in` (None: that of the
    scores, which is `scores_in`; None: that of queries and keys). A query sees at most `window` keys (None: all up to
    its own position). `interleaved`: rotary tables hold each angle twice in a row, not once in each half.
    """

    norm: TensorMap
    queries_keys_values: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    output: TensorMap
    norm_mlp: TensorMap
    mlp: TensorMap
    scaling: float
    after_attention: TensorMap | None = None
    after_mlp: TensorMap | None = None
    parallel: bool = False
    softcap: float | None = None
    window: int | None = None
    softmax_in: torch.dtype | None = None
    scores_in: torch.dtype | None = None
    interleaved: bool = False

    def mlp_written(
        self, x: Float[Tensor, "*places d_model"], attention: Float[Tensor, "*places d_model"]
    ) -> Float[Tensor, "*places d_model"]:
        """The MLP's output before the norm that may follow it, given the block's input and what attention added."""
        return self.mlp(self.norm_mlp(x if self.parallel else x + attention))

    def norm_after(self, part: str) -> TensorMap | None:
        """The norm between a part (`hook_attn_out`, `hook_mlp_out`) and the residual stream; None if there is none."""
        return self.after_attention if part == "hook_attn_out" else self.after_mlp


@dataclass(frozen=True)
class PlainModel:
    """All blocks of a model. `rotation` gives, for a length, the cosines and sines of its rotary positions, if any.

    A run that hands them to its blocks is believed instead: they may differ from layer to layer.
    """

    blocks: tuple[PlainBlock, ...]
    rotation: Callable[[int], Rotation] | None


def rotated(values: Float[Tensor, "*batch pos head d_head"], rotation: Rotation | None) -> Tensor:
    """Queries or keys, the first dimensions of each head rotated by position; the first half pairs with the second."""
    if rotation is None:
        return values
    cos, sin = (part[..., None, :].to(values.dtype) for part in rotation)
    size = cos.shape[-1]
    half, turned = size // 2, values[..., :size] * cos
    turned[..., :half] -= values[..., half:size] * sin[..., :half]
    turned[..., half:] += values[..., :half] * sin[..., half:]
    return turned if size == values.shape[-1] else torch.cat([turned, values[..., size:]], -1)


def rotation_in_halves(rotation: Rotation) -> Rotation:
    """Tables that hold each angle twice in a row, with each angle once in each half."""
    cos, sin = (torch.cat([part[..., ::2], part[..., ::2]], -1) for part in rotation)
    return cos, sin
