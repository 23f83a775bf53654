"""What a splice writes back when nodes are changed.

f, e  ->  f', e'                             by the edits, in the order given
live      y = x + (D(f') + e' − D(f) − e)    e = x − D(f), recomputed in this very run
frozen    y = D(f') + e'                     e: that of the run without edits
zero      y = D(f') + e'                     e = 0 before the edits
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.gate_rounding import Keep, settled
from attribution.intervention import Intervention
from attribution.node_edits import NodeEdit, Touched
from attribution.recording import ErrorMode, SparseFeatures
from attribution.resuming import with_error
from attribution.saes import SAE, Frame

Edit = Intervention | NodeEdit

WORTH_A_PRODUCT = 16
"""Decoding one active feature costs about as much as so many entries of a product with the whole decoder: measured on
a CPU at width 512 and 768."""

WORTH_A_CALL = 10_000
"""Entries of a product that cost about as much as to decode active features at all: measured likewise."""


@dataclass(frozen=True)
class Parts:
    """What an SAE makes of an activation: x = decoded + error; features and error are 0 where nothing is spliced."""

    frame: Frame | None
    features: Float[Tensor, "row pos d_sae"]
    decoded: Float[Tensor, "row pos width"]
    error: Float[Tensor, "row pos width"]

    @classmethod
    def of(
        cls, sae: SAE, x: Float[Tensor, "row pos width"], spliced: Bool[Tensor, "row pos"], keep: Keep | None = None
    ) -> "Parts":
        here = spliced[..., None]
        encoding = sae.encode(x)
        encoding = settled(sae, x, encoding, spliced)[0] if keep is None else keep(encoding)
        features = torch.where(here, encoding.features, 0)
        reconstruction = decoded(sae, features, SparseFeatures.of(features), encoding.frame)
        error = torch.where(here, x.to(features.dtype) - reconstruction, 0)
        return cls(encoding.frame, features, reconstruction, error)


def decoded(
    sae: SAE,
    dense: Float[Tensor, "row pos d_sae"],
    features: SparseFeatures,
    frame: Frame | None,
    projection: Float[Tensor, "row pos d_sae"] | None = None,
) -> Float[Tensor, "row pos width"]:
    """D(f) of features given `dense` and as the list of those that count: from the cheaper of the two.

    The same features give the same bits wherever they are decoded. It means nothing at positions where features do not
    count. Gradients go to the projection that the features were made of, where it is given and has them.
    """
    value = features.value
    if projection is not None and projection.requires_grad:
        p = projection.flatten()[features.key]
        value = value + sae.open_slope()[features.index] * (p - p.detach())
    if WORTH_A_PRODUCT * len(value) + WORTH_A_CALL > math.prod(features.shape):
        if value.requires_grad:
            dense = dense.flatten().index_put((features.key,), value).unflatten(0, features.shape)
        return sae.decode(dense, frame)
    flat = None if frame is None else Frame(frame.scale.flatten(0, 1), frame.mean.flatten(0, 1))
    return sae.decode_active(features.starts, features.index, value, flat).unflatten(0, features.shape[:2])


@dataclass(frozen=True)
class Written:
    """One site in a run with edits.

    `encoded` is E(x), what arrived, before the edits; `features` and `error` are as they were written back;
    `touched` belongs to the `NodeEdit`s among the edits, in their order.
    """

    encoded: Float[Tensor, "row pos d_sae"]
    features: Float[Tensor, "row pos d_sae"]
    error: Float[Tensor, "row pos width"]
    output: Float[Tensor, "row pos width"]
    touched: tuple[Touched, ...]


def write(
    sae: SAE,
    x: Float[Tensor, "row pos width"],
    spliced: Bool[Tensor, "row pos"],
    edits: Sequence[Edit],
    error_mode: ErrorMode,
    error: Float[Tensor, "row pos width"] | None = None,
    keep: Keep | None = None,
) -> Written:
    """What a site's edits make of the activation that arrives there; `error`, `keep` are of the run without edits."""
    before = Parts.of(sae, x, spliced, keep)
    start = before.error
    if error_mode == "frozen":
        assert error is not None
        start = error
    elif error_mode == "zero":
        start = torch.zeros_like(start)
    now, touched = (before.features, start), list[Touched]()
    for edit in edits:
        old, now = now, edit.applied(*now, spliced)
        if isinstance(edit, NodeEdit):
            touched.append(edit.touched(old, now))
    features, error = now
    output = x
    if edits or error_mode != "live":
        reconstruction = decoded(sae, features, SparseFeatures.of(features), before.frame)
        written = _combined(x, before, reconstruction, error, error_mode)
        output = torch.where(spliced[..., None], written.to(x.dtype), x)
    return Written(before.features, features, error, output, tuple(touched))


def _combined(x: Tensor, before: Parts, decoded: Tensor, error: Tensor, error_mode: ErrorMode) -> Tensor:
    if error_mode == "live":
        return x + ((decoded + error) - (before.decoded + before.error))
    return decoded + error if error_mode == "zero" else with_error(x, decoded, error)
