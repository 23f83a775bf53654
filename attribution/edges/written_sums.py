"""What writes one feature, summed over places: by layer, head and source token, by MLP, and by the embedding.

    p_d = Σ_l Σ_h Σ_s pattern_l[h, d, s] · v_l[h, s] W_O,l[h] · u + Σ_l mlp_l[d] · u + embedding[d] · u + constants
    sum[...] = Σ_d (that part of p_d)          d: the places where the feature is active; all places

u = W_enc[:, f], times the place's scale if the SAE normalises. At an attention output only its own layer's heads write;
in the residual stream, all below do. Exact, like `direct_feature_attribution.py`, whose sum over places this is. The
output of an MLP has no such parts: its neurons are not linear in what they read. One forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.edges.direct_feature_attribution import (
    ATTENTION_SITES,
    TOLERANCE,
    TOLERANCE_LOW_PRECISION,
    as_read,
    attention_hooks,
    square_pattern,
    values_by_head,
)
from attribution.models.hooks import activations_at
from attribution.models.site_names import ENTRY_SITE, layer_of
from attribution.splice.spliced_model import SplicedModel
from graphs.short_repr import short_repr

_RESIDUAL: Final = {"hook_resid_pre": (0, 0), "hook_resid_mid": (1, 0), "hook_resid_post": (1, 1)}
"""How many attentions and MLPs of a site's own layer have written to it."""


@dataclass(frozen=True)
class WrittenSums:
    """Sums of the parts of one feature's projection, in its units: over the places where it is active, and over all.

    Attributes:
        heads: by layer; sources with the same token are one.
        mlps: by layer.
        embedding: by the token at the place itself.
        biases: of all attention outputs; it differs from place to place only where the SAE normalises.
        projection: p itself.
        places: how many there are.
    """

    __repr__ = short_repr

    heads: Mapping[int, Float[Tensor, "2 head vocab"]]
    mlps: Mapping[int, Float[Tensor, "2"]]
    embedding: Float[Tensor, "2 vocab"]
    biases: Float[Tensor, "2"]
    projection: Float[Tensor, "2"]
    places: Float[Tensor, "2"]

    def plus(self, other: "WrittenSums") -> "WrittenSums":
        """The sums over the places of both."""
        return WrittenSums(
            {layer: own + other.heads[layer] for layer, own in self.heads.items()},
            {layer: own + other.mlps[layer] for layer, own in self.mlps.items()},
            self.embedding + other.embedding,
            self.biases + other.biases,
            self.projection + other.projection,
            self.places + other.places,
        )


def has_writers(site: str) -> bool:
    """True where the parts that write a feature can be told apart: at attention outputs and in the residual stream."""
    return site.endswith((*ATTENTION_SITES, *_RESIDUAL))


def written_sums(
    spliced: SplicedModel, site: str, index: int, ids: Int[Tensor, "row pos"], here: Bool[Tensor, "row pos"]
) -> WrittenSums:
    """The sums over the places of a batch that are in `here`, in the bare model's run (`live` mode), in float64.

    Raises:
        ValueError: the site has no such parts, or the model's activation there is not their sum.
    """
    site = spliced.site(site)
    if not has_writers(site):
        raise ValueError(
            f"What writes a feature of {site!r} cannot be told apart exactly: it can at attention outputs and in the "
            "residual stream."
        )
    sae, model = spliced.saes[site], spliced.model
    attentions, mlps = _below(site)
    names = [name for n in attentions for name in attention_hooks(n)]
    entry = [] if site.endswith(ATTENTION_SITES) else [ENTRY_SITE]
    seen = activations_at(model, ids, [*names, *(f"blocks.{n}.hook_mlp_out" for n in mlps), *entry, site])
    x = seen[site]
    (direction,), factor = as_read(sae, x, torch.tensor([index], device=ids.device))
    encoding = sae.encode(x)
    chosen = torch.stack([here & (encoding.features[..., index] > 0), here])
    weight = chosen.to(x.dtype) * factor[..., 0]
    on_z = site.endswith("hook_z")
    heads, biases = {}, weight.new_zeros(2)
    for n in attentions:
        W_O, b_O = model.attention_output(n)
        reads = rearrange(direction, "(head d) -> head d", head=len(W_O)) if on_z else W_O @ direction
        heads[n] = _by_source(seen, n, reads, weight, ids, model.d_vocab)
        biases = biases if on_z else biases + (b_O @ direction) * weight.sum((1, 2))
    embedding = torch.zeros_like(weight) if not entry else weight * (seen[ENTRY_SITE] @ direction)
    found = WrittenSums(
        heads=heads,
        mlps={n: (weight * (seen[f"blocks.{n}.hook_mlp_out"] @ direction)).sum((1, 2)).double().cpu() for n in mlps},
        embedding=_by_token(embedding, ids, model.d_vocab),
        biases=biases.double().cpu(),
        projection=(chosen * encoding.projection[..., index]).sum((1, 2)).double().cpu(),
        places=chosen.sum((1, 2)).double().cpu(),
    )
    constant = float(-(sae.b_dec @ sae.W_enc[:, index])) if sae.apply_b_dec_to_input else 0.0
    size = float((weight[1] * x.norm(dim=-1) * direction.norm()).sum())
    _refuse_other_sum(found, constant, size, site, x.dtype)
    return found


def _below(site: str) -> tuple[range, range]:
    """The layers whose attention, and those whose MLP, write what the site reads."""
    layer = layer_of(site)
    if site.endswith(ATTENTION_SITES):
        return range(layer, layer + 1), range(0)
    attention, mlp = next(own for name, own in _RESIDUAL.items() if site.endswith(name))
    return range(layer + attention), range(layer + mlp)


def _by_source(
    seen: Mapping[str, Tensor],
    layer: int,
    reads: Float[Tensor, "head d_head"],
    weight: Float[Tensor, "2 row dest"],
    ids: Int[Tensor, "row source"],
    vocab: int,
) -> Float[Tensor, "2 head vocab"]:
    """What each head of a layer writes from each source token; `reads` is the direction that reads its values."""
    pattern, values = (seen[name] for name in attention_hooks(layer))
    square = square_pattern(pattern, ids.shape[1])
    written = einsum(values_by_head(values, *reads.shape), reads, "row source head d, head d -> row head source")
    seen_from = einsum(square, weight, "row head dest source, both row dest -> both row head source")
    return _by_token(rearrange(seen_from * written, "both row head source -> both head row source"), ids, vocab)


def _by_token(
    parts: Float[Tensor, "*case row pos"], ids: Int[Tensor, "row pos"], vocab: int
) -> Float[Tensor, "*case vocab"]:
    """Sums over the positions with the same token, in float64."""
    sums = torch.zeros(*parts.shape[:-2], vocab, dtype=torch.float64, device=ids.device)
    return sums.index_add(-1, ids.flatten(), parts.flatten(-2).double()).cpu()


def _refuse_other_sum(found: WrittenSums, constant: float, size: float, site: str, dtype: torch.dtype) -> None:
    parts = [*(own.sum((1, 2)) for own in found.heads.values()), *found.mlps.values(), found.embedding.sum(1)]
    total = sum(parts, found.biases + constant * found.places)
    gap = float((total - found.projection).abs().max())
    if not gap <= TOLERANCE.get(dtype, TOLERANCE_LOW_PRECISION) * size:
        raise ValueError(
            f"The activation at {site!r} is not the sum of what attention heads, MLPs and the embedding write (its "
            f"projections differ by {gap:.2g} of {size:.2g}): what writes its features cannot be told apart."
        )
