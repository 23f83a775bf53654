"""Integrated gradients (IG), input path: one line in the token embeddings serves all sites at once.

    effect(u) = Σ_k ∂m/∂u (α_k) · (change of u over step k)

In `path` mode the errors move on the line too. The changes over all steps sum to p_u − c_u. Complete for the sources:
tokens (and errors) sum to m(patch) − m(clean), up to quadrature, if the metric is continuous along the line. 2q − 1
forwards and q backwards for all sites. If a gate flips, no number of points helps: see `chord_integrated_gradients.py`.
Source: EAP-IG, Hanna et al. 2024.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries import Frame
from attribution.effects.effects import Effects
from attribution.effects.measurement import SOURCES, Method, Scores, Situation, measure
from attribution.effects.quadrature import Quadrature, midpoint
from attribution.effects.scoring import dot, score_features, token_scores
from attribution.methods.input_path import InputPath
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual, refuse_without_patch_prompt
from attribution.splice.recording import FeatureChange, Recording, SparseFeatures
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel


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

    Other arguments as in `attribution_patching`; `points` is the quadrature along the path. Nodes that move along the
    path but end where they began are included, because their effect need not be 0.
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
    frames = {site: record.frame for site, record in on_path.sites.items()}
    del on_path
    edges = [clean, changes.patch]
    if len(points.points) > 1:
        edges.insert(1, _record_along(situation, points.edges[1:-1], with_gradients=False))
    situation.progress(0.9)
    reached = repeat(situation.batch.reached, "row pos -> (point row) pos", point=len(points.points))
    features = {
        site: _walk_features(situation, site, _Steps.between(edges, site, reached), gradients[site], frames[site])
        for site in situation.spliced.sites
    }
    errors = {
        site: _over_points(situation, dot(steps, gradients[site])).sum(0)
        for site in situation.spliced.sites
        if (steps := _error_steps(edges, site, reached)) is not None
    }
    at_tokens = _over_points(situation, gradients[TOKENS])
    return Scores(features, errors, token_scores(situation, (_by_point(points.weights, at_tokens) * at_tokens).sum(0)))


def _record_along(situation: Situation, alphas: tuple[float, ...], *, with_gradients: bool) -> Recording:
    """Runs at each α between the clean and the patch run, all rows of one α after the other."""
    count, examples = len(alphas), len(situation.batch.last)
    row = torch.arange(examples, device=situation.clean.last.device)
    alpha = torch.tensor(alphas, dtype=situation.clean.entry.dtype, device=row.device)
    return InputPath.of(situation).record(
        repeat(row, "row -> (point row)", point=count),
        repeat(alpha, "point -> (point row)", row=examples),
        with_gradients=with_gradients,
    )


def _gradients(situation: Situation, on_path: Recording) -> dict[str, Float[Tensor, "run pos width"]]:
    """The metric's gradient at every site's output and at the tokens, at each point of the path."""
    examples = len(situation.batch.last)
    rows = torch.arange(len(on_path.last), device=on_path.last.device) % examples
    with torch.enable_grad():
        metric = situation.metric(on_path.logits, situation.batch.rows(rows)).sum()
    outputs = {TOKENS: on_path.entry} | {site: record.output for site, record in on_path.sites.items()}
    return dict(zip(outputs, torch.autograd.grad(metric, list(outputs.values())), strict=True))


@dataclass(frozen=True)
class _Steps:
    """Changes of a site's features over each step of the path, all rows of one step after the other."""

    change: FeatureChange
    clean: SparseFeatures
    patch: SparseFeatures

    @classmethod
    def between(cls, edges: Sequence[Recording], site: str, reached: Bool[Tensor, "run pos"]) -> "_Steps":
        features = [edge.sites[site].features for edge in edges]
        old, new = SparseFeatures.stacked(features[:-1]), SparseFeatures.stacked(features[1:])
        return cls(FeatureChange.between(old, new, reached), features[0], features[-1])


def _walk_features(
    situation: Situation,
    site: str,
    steps: _Steps,
    gradient: Float[Tensor, "run pos width"],
    frame: Frame | None,
) -> tuple[FeatureChange, Float[Tensor, " changed"]]:
    """Σ over steps of (slope at the point · change over the step), for every feature that changes in any step."""
    step, (rows, positions, d_sae) = steps.change, steps.clean.shape
    keys, place = torch.unique(
        (step.row % rows * positions + step.pos) * d_sae + step.index,
        return_inverse=True,
    )
    along = score_features(situation, site, step, gradient, frame=frame)
    effect = along.new_zeros(len(keys)).index_add(0, place, along)
    old, new = steps.clean.at(keys), steps.patch.at(keys)
    at = keys // d_sae
    return FeatureChange(at // positions, at % positions, keys - at * d_sae, old, new), effect


def _error_steps(
    edges: Sequence[Recording], site: str, reached: Bool[Tensor, "run pos"]
) -> Float[Tensor, "run pos width"] | None:
    errors = [error for edge in edges if (error := edge.sites[site].error) is not None]
    return torch.where(reached[..., None], torch.cat(errors[1:]) - torch.cat(errors[:-1]), 0) if errors else None


def _over_points(situation: Situation, values: Float[Tensor, "run *rest"]) -> Float[Tensor, "point row *rest"]:
    return values.unflatten(0, (-1, len(situation.batch.last)))


def _by_point(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "point 1 1 1"]:
    return rearrange(torch.tensor(values, dtype=like.dtype, device=like.device), "point -> point 1 1 1")
