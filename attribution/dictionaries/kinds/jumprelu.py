"""JumpReLU SAE.

    z = p + b_enc;   v = relu(z);   mu = z - threshold        threshold >= 0, one per feature

A feature jumps by its threshold when its gate opens.
Source: Erichson et al. 2019; Rajamanoharan et al. 2024b.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.kinds.tensor_faults import negative_fault


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class JumpReLU(SAE):
    """f = z where z > threshold, else 0."""

    kind: ClassVar[str] = "jumprelu"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",), "threshold": ("d_sae",)}
    margin_tensors: ClassVar = ("b_enc", "threshold")

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if fault := negative_fault("threshold", self.threshold):
            raise ValueError(f"JumpReLU SAE: {fault}")

    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"]]:
        z = projection + self.b_enc
        return z.relu(), z - self.threshold
