"""From gradients at the outputs of sites to scores of nodes: score(u) = (p_u − c_u) · ⟨what u writes, gradient⟩."""

from collections.abc import Mapping

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries import SAE, Frame
from attribution.effects.measurement import Scores, Situation
from attribution.splice.recording import FeatureChange
from attribution.splice.spliced_model import TOKENS

WORTH_A_PRODUCT = 30
"""One feature by itself costs about as much as so many entries of a product: measured on a CPU, width 512 and 768."""

WORTH_A_CALL = 10_000
"""Entries of a product that cost about as much as to look at features by themselves at all: measured likewise."""

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
    """Decoder direction · gradient at each feature's row and position: the metric's slope in the feature.

    If many features change, a product with the whole decoder costs less than one product per feature.
    """
    sae, positions = situation.spliced.saes[site], gradient.shape[1]
    frame = frame or situation.clean.sites[site].frame
    scaled = (gradient if frame is None else frame.scale * gradient).to(sae.W_dec.dtype)
    vectors, at = scaled.flatten(0, 1), change.row * positions + change.pos
    if WORTH_A_PRODUCT * len(at) + WORTH_A_CALL <= len(vectors) * sae.d_sae:
        return _by_themselves(sae, at, change.index, vectors)
    return _by_products(sae, at, change.index, vectors)


def _by_themselves(
    sae: SAE, at: Int[Tensor, " changed"], index: Int[Tensor, " changed"], vectors: Float[Tensor, "place width"]
) -> Float[Tensor, " changed"]:
    at, order = torch.sort(at, stable=True)
    starts = torch.searchsorted(at, torch.arange(len(vectors), device=at.device))
    slopes = torch.empty(len(at), dtype=vectors.dtype, device=vectors.device)
    slopes[order] = sae.written_along(starts, index[order], vectors)
    return slopes


def _by_products(
    sae: SAE, at: Int[Tensor, " changed"], index: Int[Tensor, " changed"], vectors: Float[Tensor, "place width"]
) -> Float[Tensor, " changed"]:
    places, own = torch.unique(at, return_inverse=True)
    slopes = vectors.new_empty(len(at))
    if len(places) <= PLACES_AT_ONCE:
        return einsum(vectors[places], sae.W_dec, "place width, feature width -> place feature")[own, index]
    for part in torch.arange(len(places), device=places.device).split(PLACES_AT_ONCE):
        (chosen,) = torch.nonzero((own >= part[0]) & (own <= part[-1]), as_tuple=True)
        products = einsum(vectors[places[part]], sae.W_dec, "place width, feature width -> place feature")
        slopes[chosen] = products[own[chosen] - part[0], index[chosen]]
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
