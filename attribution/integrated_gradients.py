"""Integrated gradients (IG): the gradient averaged along a straight path, for every node.

Site path [Sundararajan 2017; Marks 2024]: all features and the error of u's site move together,

    effect(u) = (p_u − c_u) · Σ_k w_k ∂m/∂u at site = c + α_k (p − c)

Complete at each site: features and errors sum to the effect of patching the whole site, up to quadrature.
q forwards and q backwards per site, each from that site on.

Input path [EAP-IG, Hanna 2024]: one line in the token embeddings (and, in `path` mode, in the errors) serves all
sites at once,

    effect(u) = Σ_k ∂m/∂u (α_k) · (change of u over step k)

so that the changes telescope to p_u − c_u. Complete for the sources: tokens (and errors) sum to
m(patch) − m(clean) where the metric is continuous along the line. 2q − 1 forwards and q backwards for all sites.

IG takes derivatives only. A jump has none: across a gate that flips, no number of points helps.
"""

import itertools
from dataclasses import replace

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from attribution.effects import Effects
from attribution.measurement import SOURCES, Method, Progress, Scores, Situation, measure, silent
from attribution.metric import Metric
from attribution.patch_values import PatchValue, counterfactual
from attribution.prompt_pairs import PromptPairs
from attribution.quadrature import Quadrature, midpoint
from attribution.recording import FeatureChange, Recording
from attribution.resuming import resume
from attribution.scoring import dot, score_features, scores_from_gradients, token_scores
from attribution.splice import TOKENS, ErrorMode, SplicedModel

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
    progress: Progress = silent,
) -> Effects:
    """Site-path IG of every node whose values differ; arguments as in `attribution_patching`.

    The residual is that of the site where it is largest: whole-site patch effect minus the sum of its nodes.
    """
    method = Method(
        "integrated_gradients",
        lambda s: _score_site_paths(s, points),
        ("live", "frozen", "zero"),
        SITE_LAW,
        settings=points.settings(),
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


def input_path_integrated_gradients(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "path",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = midpoint(5),  # noqa: B008  (a frozen value)
    batch_size: int = 4,
    progress: Progress = silent,
) -> Effects:
    """Input-path IG of every node; error mode `path`, `live` or `zero`, patch value counterfactual only.

    Nodes that move along the path but end where they began are included: their effect need not be 0.
    """
    if patch_value is not counterfactual:
        raise ValueError(
            f"Input-path IG needs a patch prompt to walk to; patch value {patch_value.name!r} has none. "
            "Use `counterfactual`, or integrated_gradients (site path)."
        )
    method = Method(
        "input_path_integrated_gradients",
        lambda s: _score_input_path(s, points),
        ("path", "live", "zero"),
        SOURCES,
        settings=points.settings(),
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


def _score_site_paths(situation: Situation, points: Quadrature) -> Scores:
    gradients: dict[str, Tensor] = {}
    patch_effect: dict[str, Tensor] = {}
    sites = (TOKENS, *situation.spliced.sites)
    for done, site in enumerate(sites, start=1):
        start = situation.clean.entry if site == TOKENS else situation.clean.sites[site].output
        change = _site_change(situation, site)
        if change is None:
            gradients[site] = torch.zeros_like(start)
            continue
        gradients[site], patch_effect[site] = _integrate(situation, site, start, change.to(start.dtype), points)
        situation.progress(done / len(sites))
    scores = scores_from_gradients(situation, gradients)
    return replace(scores, residual=_worst_site(scores, patch_effect))


def _site_change(situation: Situation, site: str) -> Float[Tensor, "row pos width"] | None:
    """Patch output minus clean output when all nodes of the site take their patch values."""
    if site == TOKENS:
        entry = situation.changes.entry
        return None if entry is None else entry - situation.clean.entry
    change = situation.changes.features[site]
    written = (change.new - change.old)[:, None] * situation.feature_directions(site, change)
    error = situation.error_change(site)
    total = (
        torch.zeros_like(situation.clean.sites[site].output, dtype=written.dtype) if error is None else error.clone()
    )
    return total.index_put_((change.row, change.pos), written, accumulate=True)


def _integrate(
    situation: Situation, site: str, start: Tensor, change: Tensor, points: Quadrature
) -> tuple[Float[Tensor, "row pos width"], Float[Tensor, " row"]]:
    """Mean gradient along the site's path, and the effect of patching the whole site."""
    row = torch.arange(len(start), device=start.device)
    count = len(points.points)
    alpha = _column(points.points, start)
    leaf = rearrange(start + alpha * change, "point row pos width -> (point row) pos width").requires_grad_()
    rows = repeat(row, "row -> (point row)", point=count)
    with torch.enable_grad():
        logits = resume(situation.spliced, situation.clean, rows, site, leaf, situation.error_mode)
        metric = situation.metric(logits, situation.batch.rows(rows))
        gradient = torch.autograd.grad(metric.sum(), leaf)[0]
    per_point = rearrange(gradient, "(point row) pos width -> point row pos width", point=count)
    with torch.no_grad():
        end = resume(situation.spliced, situation.clean, row, site, start + change, situation.error_mode)
        effect = situation.metric(end, situation.batch) - situation.clean_metric
    return (_column(points.weights, start) * per_point).sum(0), effect


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


def _score_input_path(situation: Situation, points: Quadrature) -> Scores:
    clean, changes = situation.clean, situation.changes
    assert changes.patch is not None
    on_path = _record_along(situation, points.points, with_gradients=True)
    gradients = _gradients(situation, on_path)
    edges = [clean]
    if len(points.points) > 1:
        inner = _record_along(situation, points.edges[1:-1], with_gradients=False)
        edges += [inner.block(k, len(points.points) - 1) for k in range(len(points.points) - 1)]
    edges.append(changes.patch)
    situation.progress(0.9)
    zeros = torch.zeros_like(clean.spliced, dtype=gradients[TOKENS].dtype)
    at_points = [on_path.block(k, len(points.points)) for k in range(len(points.points))]
    features = {
        site: _walk_features(situation, site, edges, at_points, gradients[site]) for site in situation.spliced.sites
    }
    errors = {
        site: sum((dot(step, g) for step, g in zip(steps, gradients[site], strict=True)), start=zeros)
        for site in situation.spliced.sites
        if (steps := _error_steps(situation, edges, site)) is not None
    }
    weights = _column(points.weights, gradients[TOKENS])
    return Scores(features, errors, token_scores(situation, (weights * gradients[TOKENS]).sum(0)))


def _record_along(situation: Situation, alphas: tuple[float, ...], *, with_gradients: bool) -> Recording:
    """The model run with embeddings (in `path` mode also errors) at each α between the clean and the patch run."""
    clean, patch, count = situation.clean, situation.changes.patch, len(alphas)
    assert patch is not None

    def between(old: Tensor, new: Tensor) -> Tensor:
        moved = old + _column(alphas, old) * (new - old)
        return rearrange(moved, "point row pos width -> (point row) pos width")

    errors = None
    if situation.error_mode == "path":
        errors = {}
        for site, record in clean.sites.items():
            new = patch.sites[site].error
            assert record.error is not None
            assert new is not None
            errors[site] = between(record.error, new)
    return situation.spliced.record(
        repeat(clean.ids, "row pos -> (point row) pos", point=count),
        repeat(clean.last, "row -> (point row)", point=count),
        situation.error_mode,
        with_gradients=with_gradients,
        entry=between(clean.entry, patch.entry),
        errors=errors,
    )


def _gradients(situation: Situation, on_path: Recording) -> dict[str, Float[Tensor, "point row pos width"]]:
    """The metric's gradient at every site's output and at the tokens, at each point of the path."""
    examples = len(situation.batch.last)
    rows = torch.arange(len(on_path.last), device=on_path.last.device) % examples
    with torch.enable_grad():
        metric = situation.metric(on_path.logits, situation.batch.rows(rows)).sum()
    outputs = {TOKENS: on_path.entry} | {site: record.output for site, record in on_path.sites.items()}
    gradients = torch.autograd.grad(metric, list(outputs.values()))
    return {
        site: rearrange(g, "(point row) pos width -> point row pos width", row=examples)
        for site, g in zip(outputs, gradients, strict=True)
    }


def _walk_features(
    situation: Situation,
    site: str,
    edges: list[Recording],
    at_points: list[Recording],
    gradients: Float[Tensor, "point row pos width"],
) -> tuple[FeatureChange, Float[Tensor, " changed"]]:
    """Σ over steps of slope at the point times change over the step, for every feature that ever changes."""
    steps = [
        FeatureChange.between(old.sites[site].features, new.sites[site].features, situation.batch.reached)
        for old, new in itertools.pairwise(edges)
    ]
    effects = [
        score_features(situation, site, step, gradient, frame=point.sites[site].frame)
        for step, point, gradient in zip(steps, at_points, gradients, strict=True)
    ]
    node = torch.cat([torch.stack([step.row, step.pos, step.index]) for step in steps], dim=1)
    nodes, place = torch.unique(node, dim=1, return_inverse=True)
    effect = effects[0].new_zeros(nodes.shape[1]).index_add(0, place, torch.cat(effects))
    row, pos, index = nodes
    old, new = (edge.sites[site].features.lookup(row, pos, index) for edge in (edges[0], edges[-1]))
    return FeatureChange(row, pos, index, old, new), effect


def _error_steps(
    situation: Situation, edges: list[Recording], site: str
) -> list[Float[Tensor, "row pos width"]] | None:
    errors = [error for edge in edges if (error := edge.sites[site].error) is not None]
    reached = situation.batch.reached[..., None]
    return [torch.where(reached, new - old, 0) for old, new in itertools.pairwise(errors)] or None


def _column(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "point 1 1 1"]:
    return rearrange(torch.tensor(values, dtype=like.dtype, device=like.device), "point -> point 1 1 1")
