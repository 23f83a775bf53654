"""BatchTopK and Matryoshka BatchTopK SAEs, at inference.

    z = p + b_enc;   v = relu(z);   mu = z - threshold        one threshold for all features

At inference there is no k: the threshold is the average, over training, of the batch's k-th largest activation. A
feature jumps by the threshold when its gate opens. Source: Bussmann et al. 2024.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.kinds.tensor_faults import negative_fault


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BatchTopK(SAE):
    """f = z where z > threshold, else 0. The threshold is stored for each feature, as in SAELens."""

    kind: ClassVar[str] = "batchtopk"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",), "threshold": ("d_sae",)}
    margin_tensors: ClassVar = ("b_enc", "threshold")

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if fault := negative_fault("threshold", self.threshold):
            raise ValueError(f"BatchTopK SAE: {fault}")

    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"]]:
        z = projection + self.b_enc
        return z.relu(), z - self.threshold
