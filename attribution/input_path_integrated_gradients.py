"""Integrated gradients (IG), input path: one line in the token embeddings serves all sites at once.

    effect(u) = Σ_k ∂m/∂u (α_k) · (change of u over step k)

In `path` mode the errors move on the line too. The changes telescope to p_u − c_u. Complete for the sources: tokens
(and errors) sum to m(patch) − m(clean) where the metric is continuous along the line. 2q − 1 forwards and q
backwards for all sites. Across a gate that flips, no number of points helps: see `chord_integrated_gradients.py`.
Source: EAP-IG, Hanna et al. 2024.
"""

import itertools
from dataclasses import asdict

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from attribution.effects import Effects
from attribution.input_path import InputPath
from attribution.measurement import SOURCES, Method, Progress, Scores, Situation, measure, silent
from attribution.metric import Metric
from attribution.patch_values import PatchValue, counterfactual, refuse_without_patch_prompt
from attribution.prompt_pairs import PromptPairs
from attribution.quadrature import Quadrature, midpoint
from attribution.recording import FeatureChange, Recording
from attribution.scoring import dot, score_features, token_scores
from attribution.splice import TOKENS, ErrorMode, SplicedModel


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
    refuse_without_patch_prompt("Input-path IG", patch_value)
    method = Method(
        "input_path_integrated_gradients",
        lambda s: _score_input_path(s, points),
        ("path", "live", "zero"),
        SOURCES,
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
    """The model run at each α between the clean and the patch run, rows of one α together."""
    count, examples = len(alphas), len(situation.batch.last)
    row = torch.arange(examples, device=situation.clean.last.device)
    alpha = torch.tensor(alphas, dtype=situation.clean.entry.dtype, device=row.device)
    return InputPath.of(situation).record(
        repeat(row, "row -> (point row)", point=count),
        repeat(alpha, "point -> (point row)", row=examples),
        with_gradients=with_gradients,
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
