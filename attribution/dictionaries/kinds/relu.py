"""ReLU SAE.

    z = p + b_enc;   v = relu(z);   no gate

Continuous: no feature ever jumps. Source: Bricken et al. 2023; SAELens architecture "standard".
"""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ReLU(SAE):
    """f = relu(z)."""

    kind: ClassVar[str] = "relu"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",)}

    b_enc: Float[Tensor, " d_sae"]

    def value_and_margin(self, projection: Float[Tensor, "*batch d_sae"]) -> tuple[Float[Tensor, "*batch d_sae"], None]:
        return (projection + self.b_enc).relu(), None
