"""What a splice writes back when nodes are changed.

    f, e  ->  f', e'                             by the edits of a site, in the order given
    live      y = x + (D(f') + e' − D(f) − e)    e = x − D(f), recomputed in this run
    frozen    y = D(f') + e'                     e: the error of the run without edits
    zero      y = D(f') + e'                     e = 0 before the edits

Where all nodes but a few take their reference value (`KeepOnly`), a site writes what `masking.py` says.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries import SAE, Frame
from attribution.splice.edits import KeepOnly, NodeEdit, Touched, changed_values
from attribution.splice.gate_rounding import Keep, settled
from attribution.splice.interventions import Intervention
from attribution.splice.masking import KeptMask, decoder_offset, through_projection, worth_a_product, write_masked
from attribution.splice.recording import ErrorMode, SparseFeatures
from attribution.splice.resuming import with_error

Edit = Intervention | NodeEdit | KeepOnly


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
    value = through_projection(features, projection, sae.open_slope()[features.index])
    if worth_a_product(len(value), math.prod(features.shape)):
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
    mask = KeptMask(kept, before.features.dtype)
    output = write_masked(sae, before.features, before.frame, carried, mask, edit.reference)
    here, reference, frame = spliced[..., None], edit.reference, before.frame
    values, errors = reference.features, reference.errors
    if reference.offset is not None and frame is not None:
        values, errors = values / frame.scale, errors + (reference.offset - decoder_offset(sae, frame))
    features = torch.where(kept[..., :-1] | ~here, before.features, values.to(before.features))
    error = torch.where(kept[..., -1:] | ~here, start, errors.to(start))
    changed = changed_values((before.features, start), (features, error))
    touched = Touched(edit.nodes.node[:0], int(changed.sum()))
    return Written(before.features, features, error, torch.where(here, output.to(x.dtype), x), (touched,))
