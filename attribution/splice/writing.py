"""What a splice writes back when nodes are changed.

    f, e  ->  f', e'                             by the edits of a site, in the order given
    live      y = x + (D(f') + e' − D(f) − e)    e = x − D(f), recomputed in this run
    frozen    y = D(f') + e'                     e: the error of the run without edits
    zero      y = D(f') + e'                     e = 0 before the edits

and where all nodes but a few take their reference value (`kept_only`: the engine of m(C)):

    y = x + Σ over features outside of (g_i^ref − g_i) · W_dec[i]          where the error is kept
    y = Σ over all features of (g_i or g_i^ref) · W_dec[i] + r^ref          where it is not

x is what arrives in this run, g = scale · f what each feature writes along its decoder direction, and r the part that
no feature writes: the error plus the offset scale · b_dec + mean. `scale` and `mean` are the frame of an SAE that
normalises (1 and 0 for others). So a node keeps the frame of the run that its value comes from, and the offset goes
with the error. Where everything is kept, y equals x to the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries import SAE, Frame
from attribution.splice.edits import KeepOnly, NodeEdit, ReferenceValues, Touched, changed_values
from attribution.splice.gate_rounding import Keep, settled
from attribution.splice.interventions import Intervention
from attribution.splice.recording import ErrorMode, SparseFeatures
from attribution.splice.resuming import with_error

Edit = Intervention | NodeEdit | KeepOnly

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
        cls,
        sae: SAE,
        x: Float[Tensor, "row pos width"],
        spliced: Bool[Tensor, "row pos"],
        keep: Keep | None = None,
        *,
        settle: bool = False,
    ) -> "Parts":
        """The parts of x; `keep` and `settle` as in `SplicedModel.record_site`."""
        here = spliced[..., None]
        encoding = sae.encode(x)
        if keep is not None:
            encoding = keep(encoding)
        elif settle:
            encoding = settled(sae, x, encoding, spliced)[0]
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

    `encoded` is E(x), what arrived, before the edits; `features` and `error` are as they were written back, in the
    frame of this run; `touched` belongs to the edits other than `Intervention`s, in their order.
    """

    encoded: Float[Tensor, "row pos d_sae"]
    features: Float[Tensor, "row pos d_sae"]
    error: Float[Tensor, "row pos width"]
    output: Float[Tensor, "row pos width"]
    touched: tuple[Touched, ...]


def write_site(
    sae: SAE,
    x: Float[Tensor, "row pos width"],
    spliced: Bool[Tensor, "row pos"],
    edits: Sequence[Edit],
    error_mode: ErrorMode,
    error: Float[Tensor, "row pos width"] | None = None,
    keep: Keep | None = None,
) -> Written:
    """What a site's edits make of the activation that arrives there.

    `error` is the error of the run without edits; it is needed in `frozen` mode only. `keep` holds that run's gates at
    their threshold (`gate_rounding.py`) in `frozen` and `zero` mode.

    Raises:
        ValueError: a `KeepOnly` beside another edit of the same site.
    """
    before = Parts.of(sae, x, spliced, keep, settle=error_mode != "live")
    start = before.error
    if error_mode == "frozen":
        assert error is not None
        start = error
    elif error_mode == "zero":
        start = torch.zeros_like(start)
    changing = [edit for edit in edits if not isinstance(edit, KeepOnly)]
    if len(changing) < len(edits):
        if len(edits) > 1:
            raise ValueError(f"Cannot keep only some nodes of {edits[0].site} and edit that site in another way, too.")
        return _write_kept(sae, x, spliced, cast(KeepOnly, edits[0]), before, start)
    now, touched = (before.features, start), list[Touched]()
    for edit in changing:
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


def _write_kept(
    sae: SAE, x: Tensor, spliced: Bool[Tensor, "row pos"], edit: KeepOnly, before: Parts, start: Tensor
) -> Written:
    """One site of which only some nodes stay; `start` is the error that a kept error node has in this mode."""
    kept = edit.kept(*before.features.shape)
    carried = x.to(before.error.dtype) + (start - before.error)
    output = kept_only(sae, before.features, before.frame, carried, kept, edit.reference)
    here, reference, frame = spliced[..., None], edit.reference, before.frame
    values, errors = reference.features, reference.errors
    if reference.offset is not None and frame is not None:
        values, errors = values / frame.scale, errors + (reference.offset - decoder_offset(sae, frame))
    features = torch.where(kept[..., :-1] | ~here, before.features, values.to(before.features))
    error = torch.where(kept[..., -1:] | ~here, start, errors.to(start))
    changed = changed_values((before.features, start), (features, error))
    touched = Touched(edit.nodes.node[:0], int(changed.sum()))
    return Written(before.features, features, error, torch.where(here, output.to(x.dtype), x), (touched,))


def kept_only(
    sae: SAE,
    features: Float[Tensor, "row pos d_sae"],
    frame: Frame | None,
    carried: Float[Tensor, "row pos width"],
    kept: Bool[Tensor, "row pos columns"],
    reference: ReferenceValues,
) -> Float[Tensor, "row pos width"]:
    """y where only the nodes `kept` stay (last column: the error) and all others take their reference value.

    Args:
        features: E(x) in this run, with its `frame`.
        carried: D(E(x)) plus the error that a kept error node has: x itself in `live` mode.
    """
    g = decoder_weights(features, frame)
    g_reference = reference.features if reference.offset is not None else decoder_weights(reference.features, frame)
    error_kept = kept[..., -1:]
    new_g = torch.where(kept[..., :-1], g, g_reference.to(g))
    written = (new_g - g * error_kept) @ sae.W_dec
    offset = decoder_offset(sae, frame) if reference.offset is None else reference.offset
    return written + torch.where(error_kept, carried.to(written.dtype), (reference.errors + offset).to(written.dtype))


def decoder_weights(features: Float[Tensor, "*shape"], frame: Frame | None) -> Float[Tensor, "*shape"]:
    """g = scale · f: what each feature writes along its decoder direction."""
    return features if frame is None else features * frame.scale


def decoder_offset(sae: SAE, frame: Frame | None) -> Float[Tensor, "*batch width"]:
    """scale · b_dec + mean: what the decoder writes without any feature."""
    return sae.b_dec if frame is None else sae.b_dec * frame.scale + frame.mean
