"""Integrated gradients (IG), site path: all features and the error of u's site move on one straight line.

    effect(u) = (p_u − c_u) · Σ_k w_k ∂m/∂u at site = c + α_k (p − c)

Complete at each site: features and errors sum to the effect of patching the whole site, up to quadrature.
q forwards and q backwards per site, each from that site on. IG takes derivatives only, and a jump has none: if a gate
flips, no number of points helps. Source: Sundararajan et al. 2017; Marks et al. 2024.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from attribution.effects.effects import Effects
from attribution.effects.measurement import Method, Scores, Situation, measure
from attribution.effects.quadrature import Quadrature, midpoint
from attribution.effects.scoring import scores_from_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.resuming import resume
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel

SITE_LAW = "of the site where it is largest: effect of patching the whole site − Σ effects of its nodes"


def integrated_gradients(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = midpoint(5),  # noqa: B008  (a frozen value)
    batch_size: int = 16,
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> Effects:
    """Site-path IG of every node whose values differ; arguments as in `attribution_patching`.

    `points` is the quadrature along each site's path. The residual of a pair is that of the site where it is largest:
    effect of patching the whole site − Σ effects of its nodes. `runs_at_once` is the number of runs, one for each pair
    and point, whose graphs are held at a time; by default all of a batch.
    """
    method = Method(
        "integrated_gradients",
        lambda s: _score_site_paths(s, points, runs_at_once),
        ("live", "frozen", "zero"),
        SITE_LAW,
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


def _score_site_paths(situation: Situation, points: Quadrature, runs_at_once: int | None) -> Scores:
    gradients: dict[str, Tensor] = {}
    patch_effect: dict[str, Tensor] = {}
    sites = (TOKENS, *situation.spliced.sites)
    parts = points.parts(None if runs_at_once is None else runs_at_once // len(situation.batch.last))
    for done, site in enumerate(sites, start=1):
        start = situation.clean.entry if site == TOKENS else situation.clean.sites[site].output
        change = _site_change(situation, site)
        if change is None:
            gradients[site] = torch.zeros_like(start)
            continue
        gradients[site], patch_effect[site] = _integrate(situation, site, start, change.to(start.dtype), parts)
        situation.progress(done / len(sites))
    scores = scores_from_gradients(situation, gradients)
    return replace(scores, residual=_worst_site(scores, patch_effect))


def _site_change(situation: Situation, site: str) -> Float[Tensor, "row pos width"] | None:
    """Patch output minus clean output when all nodes of the site take their patch values."""
    if site == TOKENS:
        entry = situation.changes.entry
        return None if entry is None else entry - situation.clean.entry
    change = situation.changes.features[site]
    written = situation.feature_writes(site, change)
    error = situation.error_change(site)
    total = (
        torch.zeros_like(situation.clean.sites[site].output, dtype=written.dtype) if error is None else error.clone()
    )
    place = change.row * total.shape[1] + change.pos
    total.flatten(0, 1).index_add_(0, place, written)  # in one order, whatever the number of threads
    return total


def _integrate(
    situation: Situation, site: str, start: Tensor, change: Tensor, parts: Sequence[Quadrature]
) -> tuple[Float[Tensor, "row pos width"], Float[Tensor, " row"]]:
    """Mean gradient along the site's path, and the effect of patching the whole site."""
    gradient = torch.stack([_weighted_gradient(situation, site, start, change, part) for part in parts]).sum(0)
    row = torch.arange(len(start), device=start.device)
    with torch.no_grad():
        end = resume(situation.spliced, situation.clean, row, site, start + change, situation.error_mode)
        effect = situation.metric(end, situation.batch) - situation.clean_metric
    return gradient, effect


def _weighted_gradient(
    situation: Situation, site: str, start: Tensor, change: Tensor, points: Quadrature
) -> Float[Tensor, "row pos width"]:
    """Σ_k w_k ∂m/∂u over some points of the site's path, all of them run at once."""
    count, alpha = len(points.points), _by_point(points.points, start)
    leaf = rearrange(start + alpha * change, "point row pos width -> (point row) pos width").requires_grad_()
    rows = repeat(torch.arange(len(start), device=start.device), "row -> (point row)", point=count)
    with torch.enable_grad():
        logits = resume(situation.spliced, situation.clean, rows, site, leaf, situation.error_mode)
        metric = situation.metric(logits, situation.batch.rows(rows))
        gradient = torch.autograd.grad(metric.sum(), leaf)[0]
    per_point = rearrange(gradient, "(point row) pos width -> point row pos width", point=count)
    return (_by_point(points.weights, start) * per_point).sum(0)


def _worst_site(scores: Scores, patch_effect: dict[str, Tensor]) -> Float[Tensor, " row"]:
    residuals = []
    for site, effect in patch_effect.items():
        if site == TOKENS:
            assert scores.tokens is not None
            explained = scores.tokens.sum(-1)
        else:
            change, feature_effect = scores.features[site]
            explained = torch.zeros_like(effect).index_add(0, change.row, feature_effect.to(effect.dtype))
            if site in scores.errors:
                explained = explained + scores.errors[site].sum(-1)
        residuals.append(effect - explained)
    stacked = torch.stack(residuals)
    return stacked.gather(0, stacked.abs().argmax(0, keepdim=True))[0]


def _by_point(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "point 1 1 1"]:
    return rearrange(torch.tensor(values, dtype=like.dtype, device=like.device), "point -> point 1 1 1")
