"""TopK SAE.

    z = p + b_enc;   v = relu(z);   mu = z - (k-th largest z + (k+1)-th largest z) / 2

The threshold moves with z, so a gate opens only when another closes, and the feature jumps to its value at once.
Source: Gao et al. 2024.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.kinds.topk_threshold import threshold_shares


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class TopK(SAE):
    """f = relu(z) for the k features with the largest z, else 0; a chosen z <= 0 gives f = 0."""

    kind: ClassVar[str] = "topk"
    encoder_tensors: ClassVar = {"b_enc": ("d_sae",)}
    margin_tensors: ClassVar = ("b_enc",)
    threshold_moves: ClassVar = True

    b_enc: Float[Tensor, " d_sae"]
    k: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.d_sae:
            raise ValueError(f"TopK SAE: k is {self.k}; expected 1 <= k <= d_sae = {self.d_sae}")

    def value_and_margin(
        self, projection: Float[Tensor, "*batch d_sae"]
    ) -> tuple[Float[Tensor, "*batch d_sae"], Float[Tensor, "*batch d_sae"] | None]:
        """Margin None if k = d_sae: every gate is always open."""
        z = projection + self.b_enc
        if self.k == self.d_sae:
            return z.relu(), None
        largest, indices = torch.topk(z, self.k, dim=-1, sorted=False)
        chosen = torch.zeros_like(z, dtype=torch.bool).scatter(-1, indices, True)
        runner_up = z.masked_fill(chosen, -torch.inf).amax(dim=-1, keepdim=True)
        margin = z - (largest.amin(dim=-1, keepdim=True) + runner_up) / 2
        # Between equal or neighbouring floats the midpoint separates nothing, so topk's choice decides.
        smallest = torch.finfo(z.dtype).tiny
        return z.relu(), torch.where(chosen, margin.clamp(min=smallest), margin.clamp(max=0.0))

    def threshold_shares(
        self, clean: Float[Tensor, "place d_sae"], patch: Float[Tensor, "place d_sae"]
    ) -> Float[Tensor, "place d_sae"] | None:
        """The threshold is the midpoint of two entries of z, and moves with them; see `topk_threshold.py`."""
        if self.k == self.d_sae:
            return None
        return threshold_shares(clean + self.b_enc, patch + self.b_enc, self.k)
