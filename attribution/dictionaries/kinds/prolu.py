"""ProLU SAE.

    v = relu(p);   mu = p + b_enc        the bias moves the gate, never the value

With b_enc < 0 a feature jumps by -b_enc when its gate opens; with b_enc >= 0 it is a ReLU.
Source: Taggart 2024.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ProLU(SAE):
    """f = relu(p) where p + b_enc > 0, else 0."""

    kind: ClassVar[str] = "prolu"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",)}
    margin_tensors: ClassVar = ("b_enc",)

    b_enc: Float[Tensor, " d_sae"]

    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"]]:
        return projection.relu(), projection + self.b_enc
