"""Activation difference: a baseline without gradients and without patched runs.

    effect(u) = |p_u − c_u|      (errors and tokens: the L2 norm of the difference)

Two forward passes. In units of the activation and without a sign: it ranks nodes and estimates nothing, so it is exact
nowhere. A method that does not rank better than this baseline should not be used. Source: this project.
"""

import torch

from attribution.effects.effects import Effects
from attribution.effects.measurement import Method, Scores, Situation, measure
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.spliced_model import ErrorMode, SplicedModel


def activation_difference(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    progress: Progress = silent,
) -> Effects:
    """|p − c| of every node whose values differ; arguments as in `attribution_patching`."""
    method = Method(
        "activation_difference",
        _score,
        ("live", "frozen", "zero"),
        through_encoders=False,
        residual_law="none: activation differences do not add up to an effect",
        unit="activation",
        sign="unsigned: how far the node moves, not what that does to the metric",
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


def _score(situation: Situation) -> Scores:
    changes = situation.changes
    errors = {s: situation.error_change(s) for s in situation.spliced.sites}
    entry = changes.entry
    return Scores(
        features={s: (c, (c.new - c.old).abs()) for s, c in changes.features.items()},
        errors={s: torch.linalg.vector_norm(e, dim=-1) for s, e in errors.items() if e is not None},
        tokens=None if entry is None else torch.linalg.vector_norm(entry - situation.clean.entry, dim=-1),
    )
