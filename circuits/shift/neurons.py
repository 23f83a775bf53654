"""The dimensions of an activation as features: a baseline that SAE features have to beat.

    f = x,   D(f) = f      error 0

Ablating "feature" i sets dimension i of the activation to 0. Whatever works on features works on neurons too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.splice.spliced_model import SplicedModel


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Neurons(SAE):
    """The encoder f = x. Features are signed and have no gates."""

    kind: ClassVar[str] = "neurons"
    encoder_tensors: ClassVar = {}

    def value_and_margin(self, projection: Float[Tensor, "*batch d_sae"]) -> tuple[Float[Tensor, "*batch d_sae"], None]:
        return projection, None


def with_neurons(spliced: SplicedModel, sites: Iterable[str] | None = None) -> SplicedModel:
    """The same model with neurons in place of SAE features, at all its sites or at the given ones of them."""
    chosen = spliced.sites if sites is None else tuple(spliced.site(site) for site in sites)
    saes: dict[str, SAE] = {}
    for site in chosen:
        like = spliced.saes[site].b_dec
        identity = torch.eye(len(like), dtype=like.dtype, device=like.device)
        saes[site] = Neurons(W_enc=identity, W_dec=identity, b_dec=torch.zeros_like(like), site=site)
    return SplicedModel(spliced.model, saes, splice_bos=spliced.splice_bos, dtype=next(iter(saes.values())).W_dec.dtype)
