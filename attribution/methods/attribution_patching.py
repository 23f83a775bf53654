"""Attribution patching (AtP): first-order estimate of every node's effect.

    effect(u) = (p_u − c_u) · ∂m/∂u   at the clean run

One clean forward, one patch forward and one backward, whatever the number of nodes. Exact if the metric is affine
in u. In `live` mode the gradient is the bare model's; in `frozen` and `zero` mode it passes the encoders
downstream, whose gates it takes as fixed. Source: Nanda 2023; Kramár et al. 2024, eq. 4.
"""

import torch

from attribution.effects.effects import Effects
from attribution.effects.measurement import SOURCES, Method, Scores, Situation, measure
from attribution.effects.scoring import scores_from_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel


def attribution_patching(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    progress: Progress = silent,
) -> Effects:
    """AtP of every feature, error and token whose clean and patch values differ.

    Args:
        spliced: the model with its SAEs.
        pairs: prompt pairs; effects are per pair, in units of the metric, positive if the metric rises when the node
            takes its patch value.
        metric: what effects are measured on.
        error_mode: `live`, `frozen` or `zero`.
        patch_value: where p comes from: the patch prompt, zero, or a mean.
        batch_size: pairs per batch.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: another error mode, a metric whose gradient is zero at the clean run, or pairs that do not fit the
            model.
    """
    method = Method("attribution_patching", _score, ("live", "frozen", "zero"), SOURCES, with_gradients=True)
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
    clean = situation.clean
    outputs = [clean.entry, *(record.output for record in clean.sites.values())]
    gradients = torch.autograd.grad(situation.clean_metric.sum(), outputs)
    return scores_from_gradients(situation, dict(zip((TOKENS, *clean.sites), gradients, strict=True)))
