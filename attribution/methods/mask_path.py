"""Mask-path attribution: every node moves between its reference and what it computes itself, all by one mask.

    value(u)  =  reference_u + α · (own_u − reference_u)        own_u: computed in the run at α, from what arrives there
    effect(u) =  −Σ_k w_k ∂m/∂λ_u (λ = α_k for all nodes)

Complete: effects sum to m(∅) − m(M), up to quadrature and jumps on the path; gates that differ between the two ends are
seen as secants. It is the Aumann-Shapley value of the game m(C), and so asks what a circuit is judged by, where AtP and
IG ask about one node of the intact model. q forwards and backwards of whole runs, and two forwards more. Source: this
project (`attribution/masks`); Aumann & Shapley 1974.
"""

from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.effects.effects import Effects
from attribution.effects.measurement import Method, Scores, Situation, measure
from attribution.effects.quadrature import Quadrature, midpoint
from attribution.effects.situation_references import kept_reference
from attribution.masks.mask_nodes import MaskNodes
from attribution.masks.masked_batch import MaskedBatch
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import ERROR
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import SparseFeatures
from attribution.splice.references import SiteReference
from attribution.splice.spliced_model import ErrorMode, SplicedModel

LAW = "effect of setting every feature and error to its patch value − Σ effects of nodes"


def mask_path(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = midpoint(8),  # noqa: B008  (a frozen value)
    batch_size: int = 16,
    progress: Progress = silent,
) -> Effects:
    """Mask-path attribution of every feature and error whose values differ; arguments as in `attribution_patching`.

    `points` is the quadrature on α. Errors are nodes that each run computes anew (`live` mode, the only one). Tokens
    are inputs and have no effect here. The residual of a pair is the effect of setting every feature and error to its
    patch value − Σ effects; it holds what features add that are off at both ends of the path.
    """
    method = Method(
        "mask_path",
        lambda s: _score(s, points),
        ("live",),
        LAW,
        settings=points.settings(),
        depends_on=asdict(points),
    )
    return measure(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )


def _score(situation: Situation, points: Quadrature) -> Scores:
    spliced, ids = situation.spliced, situation.batch.clean_ids
    column = torch.arange(ids.numel(), device=ids.device).view_as(ids)
    nodes = _nodes_of(situation)
    references = {site: _reference(situation, site) for site in spliced.sites}
    batch = MaskedBatch.of(spliced, situation.batch, situation.metric, nodes, column, references)
    dtype = next(iter(spliced.saes.values())).W_dec.dtype
    everything = torch.ones(len(nodes), dtype=dtype, device=ids.device)
    jumps = batch.secants(everything)
    total = torch.zeros_like(everything)
    for done, (point, weight) in enumerate(zip(points.points, points.weights, strict=True), start=1):
        total -= batch.slopes(everything, [(point, weight)], jumps)
        situation.progress(done / len(points.points))
    with torch.no_grad():
        law = batch.metric(0 * everything) - batch.metric(everything)
    return _scores(situation, nodes, total, law)


def _nodes_of(situation: Situation) -> MaskNodes:
    """Every feature that differs, and every error, each at its own position of its own row."""
    sites, positions = situation.spliced.sites, situation.batch.clean_ids.shape[1]
    parts: list[np.ndarray] = []
    for place, site in enumerate(sites):
        change = situation.changes.features[site]
        feature = torch.stack([change.row * positions + change.pos, change.index])
        error = situation.clean.spliced.flatten().nonzero()[:, 0]
        both = torch.cat([feature, torch.stack([error, torch.full_like(error, ERROR)])], dim=1).cpu().numpy()
        parts.append(np.concatenate([np.full((1, both.shape[1]), place), both]))
    return MaskNodes(sites, *np.concatenate(parts, axis=1))


def _reference(situation: Situation, site: str) -> SiteReference:
    """The patch value of every node of a site, in its own frame where there is a patch run."""
    values = kept_reference(situation, site)
    return SiteReference(SparseFeatures.of(values.features), values.errors, values.offset)


def _scores(
    situation: Situation, nodes: MaskNodes, effect: Float[Tensor, " node"], law: Float[Tensor, " row"]
) -> Scores:
    spliced, ids = situation.spliced, situation.batch.clean_ids
    features, errors = {}, {}
    for place, site in enumerate(spliced.sites):
        own = torch.from_numpy(np.flatnonzero(nodes.site == place)).to(effect.device)
        change = situation.changes.features[site]
        features[site] = (change, effect[own[: len(change.index)]])
        at = torch.zeros(ids.numel(), dtype=effect.dtype, device=effect.device)
        at[situation.clean.spliced.flatten()] = effect[own[len(change.index) :]]
        errors[site] = at.view_as(ids)
    residual = law.clone()
    for change, effects in features.values():
        residual.index_add_(0, change.row, -effects.to(law.dtype))
    residual -= sum(e.sum(-1) for e in errors.values())
    return Scores(features, errors, residual=residual)
