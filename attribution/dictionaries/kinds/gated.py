"""Gated SAE.

    v = relu(p * exp(r_mag) + b_mag);   mu = p + b_gate

Gate and magnitude share the encoder's directions. A feature jumps by its value when its gate opens.
Source: Rajamanoharan et al. 2024a.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Gated(SAE):
    """f = relu(magnitude) where the gate's pre-activation is positive, else 0."""

    kind: ClassVar[str] = "gated"
    encoder_tensors: ClassVar = {"b_gate": ("d_sae",), "b_mag": ("d_sae",), "r_mag": ("d_sae",)}
    margin_tensors: ClassVar = ("b_gate",)

    b_gate: Float[Tensor, " d_sae"]
    b_mag: Float[Tensor, " d_sae"]
    r_mag: Float[Tensor, " d_sae"]

    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"]]:
        magnitude = projection * self.r_mag.exp() + self.b_mag
        return magnitude.relu(), projection + self.b_gate

    def open_slope(self) -> Float[Tensor, " d_sae"]:
        """exp(r_mag)."""
        return self.r_mag.exp()
