"""What a site writes where every node has a mask λ: the engine of m(C), of keep-only edits and of the mask path.

    value(u) = reference_u + λ_u · (own_u − reference_u)        own_u: what u computes in this run

    y = Σ_i (g_i^ref + λ_i · (g_i − g_i^ref) − λ_ε · g_i) · W_dec[i]  +  λ_ε · x  +  (1 − λ_ε) · r^ref

x is what the site carries in this run (in `live` mode, what arrives), g = scale · f what each feature writes along its
decoder direction, λ_ε the mask of the error, and r what no feature writes: the error plus the offset scale · b_dec +
mean. `scale` and `mean` are the frame of an SAE that normalises (1 and 0 for others). So a node keeps the frame of the
run that its value comes from, and the offset goes with the error. With every λ = 1, y equals x to the last bit.

Features that are off in this run and in the reference add nothing and cost nothing.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries import SAE, Frame
from attribution.dictionaries.kinds.sae import places_of
from attribution.splice.edits import ReferenceValues
from attribution.splice.recording import SparseFeatures

WORTH_A_PRODUCT: Final = 16
"""Decoding one active feature costs about as much as so many entries of a product with the whole decoder: measured on
a CPU at width 512 and 768."""

WORTH_A_CALL: Final = 10_000
"""Entries of a product that cost about as much as to decode active features at all: measured likewise."""


@runtime_checkable
class SiteMask(Protocol):
    """The masks of one site's nodes for a batch."""

    def of_features(self, key: Int[Tensor, " entry"]) -> Float[Tensor, " entry"]:
        """λ of the features at these entries, numbered through [row, position, feature]."""
        ...

    def of_errors(self) -> Float[Tensor, "row pos"]:
        """λ of the error at each position."""
        ...


@dataclass(frozen=True)
class KeptMask:
    """λ = 1 at the nodes kept and 0 at all others; the last column is the error's."""

    kept: Bool[Tensor, "row pos columns"]
    dtype: torch.dtype

    def of_features(self, key: Int[Tensor, " entry"]) -> Float[Tensor, " entry"]:
        place = key.div(self.kept.shape[-1] - 1, rounding_mode="floor")
        return self.kept.flatten()[key + place].to(self.dtype)

    def of_errors(self) -> Float[Tensor, "row pos"]:
        return self.kept[..., -1].to(self.dtype)


@dataclass(frozen=True)
class Secants:
    """Slopes for gates that jump between the two ends of a path: (f₁ − f₀) / (p₁ − p₀), by the entry's key."""

    key: Int[Tensor, " entry"]
    slope: Float[Tensor, " entry"]

    @classmethod
    def between(
        cls,
        features: tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos d_sae"]],
        projections: tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos d_sae"]],
    ) -> "Secants":
        """Of the features that are on at one end only. A projection that does not move has no secant: slope 0.

        The slope is at most `STEEPEST`: a projection that hardly moves would make a single node carry everything.
        """
        (f_0, f_1), (p_0, p_1) = features, projections
        key = places_of(((f_0 != 0) != (f_1 != 0)).flatten())
        rise, run = (f_1 - f_0).flatten()[key], (p_1 - p_0).flatten()[key]
        slope = torch.where(run != 0, rise / torch.where(run != 0, run, 1), 0)
        return cls(key, slope.clamp(-STEEPEST, STEEPEST))

    def repeated(self, count: int, entries: int) -> "Secants":
        """Those of a batch that holds every row `count` times; the rows have so many entries together."""
        blocks = torch.arange(count, device=self.key.device)[:, None] * entries
        return Secants((blocks + self.key).flatten(), self.slope.repeat(count))


STEEPEST: Final = 10.0
"""The largest slope of a secant, in units of the slope of an open gate."""


def write_masked(
    sae: SAE,
    features: Float[Tensor, "row pos d_sae"],
    frame: Frame | None,
    carried: Float[Tensor, "row pos width"],
    mask: SiteMask,
    reference: ReferenceValues,
    *,
    projection: Float[Tensor, "row pos d_sae"] | None = None,
    secants: Secants | None = None,
) -> Float[Tensor, "row pos width"]:
    """y, as the top of this file defines it.

    Args:
        features: E(x) in this run, with its `frame`.
        carried: D(E(x)) plus the error that an unmasked error node has: x itself in `live` mode.
        mask: λ of every node of the site.
        reference: values at λ = 0.
        projection: what the features were made of, where gradients flow through the encoder. The derivative of a
            feature is the slope of its open gate, or its secant.
        secants: of gates that jump along a path; their slopes are used whether the gate is open or not.
    """
    g_ref = reference.features.to(features).expand_as(features)
    on = features.bool() | g_ref.bool()
    key = places_of(on.flatten())
    if secants is not None:
        key = torch.unique(torch.cat([key, secants.key]))
    entries = SparseFeatures(key, features.flatten()[key], (features.shape[0], features.shape[1], features.shape[2]))
    own, ref = through_projection(entries, projection, _slopes(sae, entries, secants)), g_ref.flatten()[key]
    if frame is not None:
        scale = frame.scale.expand(*features.shape[:2], 1).flatten().index_select(0, entries.place)
        own = own * scale
        ref = ref if reference.offset is not None else ref * scale
    error = mask.of_errors()
    weight = (
        torch.lerp(ref, own, mask.of_features(key).to(own))
        - error.flatten().index_select(0, entries.place).to(own) * own
    )
    offset = decoder_offset(sae, frame) if reference.offset is None else reference.offset
    written = summed(sae, SparseFeatures(key, weight, entries.shape))
    rest = (reference.errors + offset).to(written.dtype).expand_as(written)
    return written + torch.lerp(rest, carried.to(written.dtype), error[..., None].to(written.dtype))


def _slopes(sae: SAE, entries: SparseFeatures, secants: Secants | None) -> Float[Tensor, " entry"]:
    """df/dp of each entry: the open gate's, 0 where the gate is closed, the secant's where there is one."""
    slope = torch.where(entries.value != 0, sae.open_slope()[entries.index], 0)
    if secants is not None:
        slope = slope.index_put((torch.searchsorted(entries.key, secants.key),), secants.slope.to(slope))
    return slope


def summed(sae: SAE, weights: SparseFeatures) -> Float[Tensor, "row pos width"]:
    """Σ weight · W_dec at each position, by the cheaper of a product and a sum over the entries."""
    if worth_a_product(len(weights.key), math.prod(weights.shape)):
        return weights.dense() @ sae.W_dec
    return sae.summed(weights.starts, weights.index, weights.value).unflatten(0, weights.shape[:2])


def through_projection(
    entries: SparseFeatures, projection: Float[Tensor, "row pos d_sae"] | None, slope: Float[Tensor, " entry"]
) -> Float[Tensor, " entry"]:
    """The entries' values, whose gradients go to the projection with the given slopes, where it has gradients."""
    if projection is None or not projection.requires_grad:
        return entries.value
    p = projection.flatten()[entries.key]
    return entries.value + slope * (p - p.detach())


def worth_a_product(active: int, entries: int) -> bool:
    """Whether a product with the whole decoder costs less than a sum over the active entries."""
    return WORTH_A_PRODUCT * active + WORTH_A_CALL > entries


def decoder_weights(features: Float[Tensor, "*shape"], frame: Frame | None) -> Float[Tensor, "*shape"]:
    """g = scale · f: what each feature writes along its decoder direction."""
    return features if frame is None else features * frame.scale


def decoder_offset(sae: SAE, frame: Frame | None) -> Float[Tensor, "*batch width"]:
    """scale · b_dec + mean: what the decoder writes without any feature."""
    return sae.b_dec if frame is None else sae.b_dec * frame.scale + frame.mean
