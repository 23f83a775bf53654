"""The obvious rival of chord IG: a JumpReLU whose gate has a kernel-smoothed (straight-through) gradient.

    f = z where z > θ, otherwise 0                         forward: the encoder itself
    ∂f/∂z = [z > θ] + z · K((z − θ) / (c θ)) / (c θ)       backward: K is the rectangle kernel of width 1

Source: the gradient that trains JumpReLU SAEs, Rajamanoharan et al. 2024b.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from attribution import SAE, JumpReLU


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothedJumpReLU(SAE):
    """A JumpReLU with a smoothed gate. `width` is c, the kernel's width in units of the threshold."""

    kind: ClassVar[str] = "smoothed_jumprelu"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",), "threshold": ("d_sae",)}

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]
    width: float

    @classmethod
    def of(cls, sae: JumpReLU, width: float) -> "SmoothedJumpReLU":
        """The same encoder with a smoothed gradient."""
        return cls(**{f.name: getattr(sae, f.name) for f in fields(sae)}, width=width)

    def value_and_margin(self, projection: Float[Tensor, "*batch d_sae"]) -> tuple[Float[Tensor, "*batch d_sae"], None]:
        z = projection + self.b_enc
        value, margin = z.relu(), z - self.threshold
        gate = (margin / (self.width * self.threshold).clamp(min=1e-6) + 0.5).clamp(0, 1)
        feature = torch.where(margin > 0, value, 0)
        return feature + value.detach() * (gate - gate.detach()), None
