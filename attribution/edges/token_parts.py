"""What each head writes from given tokens into every feature of an attention SAE, summed over places.

    sum_h[f] = Σ_d Σ_{s: token_s ∈ T} pattern[h, d, s] · v[h, s] W_O[h] · u_f      d: where f is active; all places

The places are summed before the features are read, so nothing has a head, a place and a feature axis: one product of a
[places, d_sae] and a [places, d_head] matrix for each head. Otherwise as in `written_sums.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.edges.direct_feature_attribution import as_read, attention_hooks, square_pattern, values_by_head
from attribution.models.site_names import layer_of
from attribution.splice.spliced_model import SplicedModel
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class TokenParts:
    """Sums over the places where each feature is active, and over all places, in units of its projection.

    Attributes:
        parts: what each head writes from the given tokens.
        projection: p itself.
        places: how many there are.
    """

    __repr__ = short_repr

    parts: Float[Tensor, "2 head d_sae"]
    projection: Float[Tensor, "2 d_sae"]
    places: Float[Tensor, "2 d_sae"]

    def plus(self, other: "TokenParts") -> "TokenParts":
        """The sums over the places of both."""
        return TokenParts(self.parts + other.parts, self.projection + other.projection, self.places + other.places)

    def shares(self) -> Float[Tensor, "head d_sae"]:
        """(mean part where active − mean part) / (the same of p); not finite where f is active nowhere, or everywhere.

        The shares of all tokens and heads together add up to 1 where the SAE does not normalise.
        """
        part, projection = (own[0] / self.places[0] - own[1] / self.places[1] for own in (self.parts, self.projection))
        return part / projection


def token_parts(
    spliced: SplicedModel,
    site: str,
    seen: Mapping[str, Tensor],
    ids: Int[Tensor, "row pos"],
    here: Bool[Tensor, "row pos"],
    tokens: Int[Tensor, " token"],
) -> TokenParts:
    """The sums over the places of a batch that are in `here`, in float64.

    Args:
        site: an attention output with an SAE.
        seen: what arrives at the site, and at the `attention_hooks` of its layer.
        tokens: ids of the tokens that heads read.
    """
    sae, x = spliced.saes[site], seen[site]
    W_O, _ = spliced.model.attention_output(layer_of(site))
    heads, d_head, _ = W_O.shape
    columns, factor = as_read(sae, x, slice(None))
    if site.endswith("hook_z"):
        reads = rearrange(columns, "feature (head d) -> head d feature", head=heads)
    else:
        reads = einsum(W_O, columns, "head d width, feature width -> head d feature")
    pattern, values = (seen[name] for name in attention_hooks(layer_of(site)))
    square = square_pattern(pattern, ids.shape[1]) * torch.isin(ids, tokens)[:, None, None]
    mixed = einsum(
        square, values_by_head(values, heads, d_head), "row head dest source, row source head d -> row head dest d"
    )
    mixed = mixed * factor[:, None]
    encoding = sae.encode(x)
    active = (here[..., None] & (encoding.features > 0)).to(x.dtype)
    where_active = einsum(active, mixed, "row dest feature, row head dest d -> head feature d")
    everywhere = einsum(here.to(x.dtype), mixed, "row dest, row head dest d -> head d")
    parts = (
        einsum(where_active, reads, "head feature d, head d feature -> head feature"),
        einsum(everywhere, reads, "head d, head d feature -> head feature"),
    )
    projection = torch.where(here[..., None], encoding.projection, 0)
    whole = (here.sum() * torch.ones_like(active[0, 0])).double()
    return TokenParts(
        torch.stack(parts).double().cpu(),
        torch.stack([(projection * active).sum((0, 1)), projection.sum((0, 1))]).double().cpu(),
        torch.stack([active.sum((0, 1)).double(), whole]).cpu(),
    )
