"""From gradients at the sites' outputs to scores of nodes: effect(u) = (p_u − c_u) · <what u writes, gradient>."""

from collections.abc import Mapping

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from attribution.measurement import Scores, Situation
from attribution.recording import FeatureChange
from attribution.saes import Frame
from attribution.splice import TOKENS

WORTH_A_PRODUCT = 400
"""A gathered direction costs about as much as so many entries of a product: from one profile on a CPU, width 512."""

PLACES_AT_ONCE = 256


def score_features(
    situation: Situation,
    site: str,
    change: FeatureChange,
    gradient: Float[Tensor, "row pos width"],
    frame: Frame | None = None,
) -> Float[Tensor, " changed"]:
    """(new − old) · decoder direction · gradient at the feature's row and position.

    `frame` is the normalisation of the run that the gradient belongs to, by default the clean run's.
    """
    return (change.new - change.old) * feature_slopes(situation, site, change, gradient, frame)


def feature_slopes(
    situation: Situation,
    site: str,
    change: FeatureChange,
    gradient: Float[Tensor, "row pos width"],
    frame: Frame | None = None,
) -> Float[Tensor, " changed"]:
    """Decoder direction · gradient at the feature's row and position: from the output's multiplier to the feature's.

    Products with the whole decoder cost less than to gather a direction for every feature, where many change.
    """
    sae, positions = situation.spliced.saes[site], gradient.shape[1]
    frame = frame or situation.clean.sites[site].frame
    scaled = (gradient if frame is None else frame.scale * gradient).to(sae.W_dec.dtype)
    places, own = torch.unique(change.row * positions + change.pos, return_inverse=True)
    at_places = scaled.flatten(0, 1)[places]
    if WORTH_A_PRODUCT * len(change.row) <= len(places) * sae.d_sae:
        return einsum(sae.W_dec[change.index], at_places[own], "changed width, changed width -> changed")
    slopes = at_places.new_empty(len(change.row))
    for part in torch.arange(len(places), device=places.device).split(PLACES_AT_ONCE):
        (chosen,) = torch.nonzero((own >= part[0]) & (own <= part[-1]), as_tuple=True)
        products = einsum(at_places[part], sae.W_dec, "place width, feature width -> place feature")
        slopes[chosen] = products[own[chosen] - part[0], change.index[chosen]]
    return slopes


def dot(
    difference: Float[Tensor, "row pos width"], gradient: Float[Tensor, "row pos width"]
) -> Float[Tensor, "row pos"]:
    """Inner product at every row and position."""
    return einsum(difference, gradient.to(difference.dtype), "row pos width, row pos width -> row pos")


def scores_from_gradients(situation: Situation, gradients: Mapping[str, Float[Tensor, "row pos width"]]) -> Scores:
    """Scores of all nodes from one (mean) gradient at every site's output and at `TOKENS`."""
    changes = situation.changes
    errors = {s: situation.error_change(s) for s in situation.spliced.sites}
    return Scores(
        features={s: (c, score_features(situation, s, c, gradients[s])) for s, c in changes.features.items()},
        errors={s: dot(difference, gradients[s]) for s, difference in errors.items() if difference is not None},
        tokens=token_scores(situation, gradients[TOKENS]),
    )


def token_scores(situation: Situation, gradient: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos"] | None:
    """Token effects from the gradient at block 0's input; None where tokens are not patched."""
    entry = situation.changes.entry
    return None if entry is None else dot(entry - situation.clean.entry.detach(), gradient)
