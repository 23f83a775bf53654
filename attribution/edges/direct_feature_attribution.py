"""Direct feature attribution (DFA): which heads, at which source positions, write a feature of an attention SAE.

    p_d[f] = Σ_h Σ_s part[h, s] + constants          p: the encoder's projection at destination d, before its own bias
    part[h, s] = pattern[h, d, s] · v[h, s] W_O[h] · u          attn_out;   u = W_enc[:, f]
    part[h, s] = pattern[h, d, s] · v[h, s] · u[h]              hook_z
    constants  = b_O · u (attn_out) and −b_dec · W_enc[:, f] (where the SAE subtracts it)

Exact, because p is linear in the values once the attention pattern is given. If the SAE normalises its input, the scale
is taken as given too: u is divided by the destination's scale (and centred for layer_norm and centred). One forward.
Source: Kissane et al. 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.dictionaries.kinds.normalisation import LAYER_NORM_EPSILON, normalise
from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.models.hooks import activations_at
from attribution.models.site_names import layer_of
from attribution.splice.spliced_model import SplicedModel
from graphs.short_repr import short_repr

ATTENTION_SITES: Final = ("hook_attn_out", "attn.hook_z")
# Some models compute the softmax in float32, whatever their dtype.
TOLERANCE: Final = {torch.float64: 1e-5, torch.float32: 1e-4}
TOLERANCE_LOW_PRECISION: Final = 3e-2


@dataclass(frozen=True)
class FeatureWriters:
    """What wrote one feature at one destination of each row.

    Attributes:
        parts: contributions by head and source position, in units of the encoder's projection p. Positive parts raise
            the feature; sources after the destination contribute 0.
        constants: contributions of no source: `attention bias` and `decoder bias`.
        projection: p as the encoder computes it, the sum of parts and constants.
        activation: the feature itself, after the encoder's own bias and gate.
    """

    __repr__ = short_repr

    site: str
    index: Int[Tensor, " row"]
    destination: Int[Tensor, " row"]
    parts: Float[Tensor, "row head source"]
    constants: Mapping[Literal["attention bias", "decoder bias"], Float[Tensor, " row"]]
    projection: Float[Tensor, " row"]
    activation: Float[Tensor, " row"]

    def strongest(self, row: int, count: int) -> tuple[tuple[int, int, float], ...]:
        """The largest parts of one row as (head, source, part), by decreasing |part|; parts of 0 are left out."""
        flat = self.parts[row].flatten()
        chosen = flat.abs().argsort(descending=True, stable=True)[:count].tolist()
        sources = self.parts.shape[2]
        return tuple((c // sources, c % sources, float(flat[c])) for c in chosen if flat[c] != 0)


def direct_feature_attribution(
    spliced: SplicedModel,
    site: str,
    index: int | Sequence[int],
    ids: Int[Tensor, "row pos"],
    *,
    destination: Int[Tensor, " row"] | None = None,
    last: Int[Tensor, " row"] | None = None,
) -> FeatureWriters:
    """Decompose a feature's projection by head and source, in the bare model's run (`live` mode).

    Args:
        site: `blocks.<l>.hook_attn_out` or `blocks.<l>.attn.hook_z`, with an SAE.
        index: the feature, or one for each row.
        destination: where the feature is read in each row; default: its last real position.
        last: each row's last real position; default: no padding.

    Raises:
        ValueError: another site, a feature that the SAE does not have, a destination that is not spliced, or a model
            whose attention output is not pattern · values · W_O + bias, or an SAE without encoder directions.
    """
    site = spliced.site(site)
    refuse_other_sites(site)
    refuse_pursuits({site: spliced.saes[site]}, "direct_feature_attribution")
    sae, ids = spliced.saes[site], ids.to(spliced.model.device)
    row = torch.arange(len(ids), device=ids.device)
    last = torch.full_like(ids[:, 0], ids.shape[1] - 1) if last is None else last.to(ids.device)
    at = last if destination is None else destination.to(ids.device)
    features = torch.tensor([index] * len(ids) if isinstance(index, int) else list(index), device=ids.device)
    _check_places(spliced, site, features, at, ids, last)
    weights = spliced.model.attention_output(layer_of(site))
    seen = activations_at(spliced.model, ids, (*attention_hooks(layer_of(site)), site))
    x = seen[site][row, at]
    mixing = _Mixing.of(weights, site, seen, row, at)
    mixing.check(x, site)
    columns, factor = as_read(sae, x, features)
    to_projection = columns * factor
    by_head = mixing.before_output(to_projection)
    normalised, _ = normalise(x.to(sae.W_enc.dtype), sae.normalisation)
    encoding = sae.encode(seen[site][row, at])
    bias = -(sae.b_dec @ sae.W_enc)[features]
    return FeatureWriters(
        site=site,
        index=features,
        destination=at,
        parts=mixing.pattern
        * einsum(mixing.values, by_head, "row source head d_head, row head d_head -> row head source"),
        constants={
            "attention bias": to_projection @ mixing.bias,
            "decoder bias": bias.to(x.dtype) if sae.apply_b_dec_to_input else torch.zeros_like(x[:, 0]),
        },
        projection=sae.project(normalised)[row, features],
        activation=encoding.features[row, features],
    )


def refuse_other_sites(site: str) -> None:
    """Refuse a site that does not read attention's output.

    Raises:
        ValueError: attention does not write what the SAE at this site reads.
    """
    if not site.endswith(ATTENTION_SITES):
        raise ValueError(
            f"{site!r} is no attention output: only SAEs on hook_attn_out or attn.hook_z have features that heads "
            "and source positions write directly."
        )


@dataclass(frozen=True)
class _Mixing:
    """One layer's attention at one destination of each row. `output`, `bias`: W_O and b_O, or None and 0 for hook_z."""

    pattern: Float[Tensor, "row head source"]
    values: Float[Tensor, "row source head d_head"]
    output: Float[Tensor, "head d_head d_model"] | None
    bias: Float[Tensor, " width"]

    @classmethod
    def of(
        cls, weights: tuple[Tensor, Tensor], site: str, seen: Mapping[str, Tensor], row: Tensor, at: Int[Tensor, " row"]
    ) -> "_Mixing":
        W_O, b_O = weights
        heads, d_head, _ = W_O.shape
        pattern, values = (seen[name] for name in attention_hooks(layer_of(site)))
        square = square_pattern(pattern, values.shape[1])
        shared = values_by_head(values, heads, d_head)
        on_z = site.endswith("hook_z")
        return cls(square[row, :, at], shared, None if on_z else W_O, values.new_zeros(heads * d_head) if on_z else b_O)

    def before_output(self, direction: Float[Tensor, "row width"]) -> Float[Tensor, "row head d_head"]:
        """A direction that reads the site, as the direction that reads each head's mixed values."""
        if self.output is None:
            return rearrange(direction, "row (head d_head) -> row head d_head", head=self.values.shape[2])
        return einsum(direction, self.output, "row width, head d_head width -> row head d_head")

    def check(self, x: Float[Tensor, "row width"], site: str) -> None:
        """Check that the recorded parts are those of the model: pattern · values (· W_O + b_O) is the activation."""
        mixed = einsum(self.pattern, self.values, "row head source, row source head d_head -> row head d_head")
        if self.output is None:
            written = rearrange(mixed, "row head d_head -> row (head d_head)")
        else:
            written = einsum(mixed, self.output, "row head d_head, head d_head width -> row width") + self.bias
        gap, size = (written - x).abs().max(), x.abs().max()
        if not gap <= TOLERANCE.get(x.dtype, TOLERANCE_LOW_PRECISION) * size:
            raise ValueError(
                f"The activation at {site!r} is not pattern · values · W_O + bias (they differ by {gap:.2g} of "
                f"{size:.2g}): its features cannot be split by head and source."
            )


def as_read(
    sae: SAE, x: Float[Tensor, "*place width"], features: Int[Tensor, " feature"] | slice
) -> tuple[Float[Tensor, "feature width"], Float[Tensor, "*place 1"]]:
    """The directions of features, and the factor at each place, by which p = factor · direction · x + constant.

    The factor is that of the SAE's normalisation, taken as given; 1 without one.
    """
    columns = sae.W_enc[:, features].T.to(x.dtype)
    _, frame = normalise(x.to(sae.W_enc.dtype), sae.normalisation)
    if frame is None:
        return columns, torch.ones_like(x[..., :1])
    scale = frame.scale.to(x.dtype)
    if sae.normalisation == "constant_norm_rescale":
        return columns, torch.where(scale > 0, 1 / torch.where(scale > 0, scale, 1), 0)
    centred = columns - columns.mean(-1, keepdim=True)
    return centred, 1 / (scale + LAYER_NORM_EPSILON) if sae.normalisation == "layer_norm" else scale


def attention_hooks(layer: int) -> tuple[str, str]:
    """The hooks of a layer's attention pattern and values."""
    return f"blocks.{layer}.attn.hook_pattern", f"blocks.{layer}.attn.hook_v"


def square_pattern(pattern: Float[Tensor, "row head places"], positions: int) -> Float[Tensor, "row head query key"]:
    """A recorded attention pattern, of which queries and keys came as one axis."""
    return rearrange(pattern, "row head (query key) -> row head query key", key=positions)


def values_by_head(
    values: Float[Tensor, "row source width"], heads: int, d_head: int
) -> Float[Tensor, "row source head d_head"]:
    """Recorded values, one for each head. Grouped queries: consecutive heads share one value head."""
    kept = rearrange(values, "row source (kept d_head) -> row source kept d_head", d_head=d_head)
    return repeat(kept, "row source kept d -> row source (kept group) d", group=heads // kept.shape[2])


def _check_places(spliced: SplicedModel, site: str, features: Tensor, at: Tensor, ids: Tensor, last: Tensor) -> None:
    if not len(features) == len(at) == len(ids):
        raise ValueError(f"{len(ids)} prompts need as many features and destinations; got {len(features)}, {len(at)}.")
    d_sae = spliced.saes[site].d_sae
    if outside := [int(f) for f in features if not 0 <= f < d_sae]:
        raise ValueError(f"{site!r} has no feature {outside[0]}: its SAE has features 0 to {d_sae - 1}.")
    inside = spliced.spliced_positions(ids, last)
    for row, position in enumerate(at.tolist()):
        if not 0 <= position < ids.shape[1] or not inside[row, position]:
            raise ValueError(
                f"Row {row}: position {position} is not spliced (BOS is only with splice_bos=True, padding never)."
            )
