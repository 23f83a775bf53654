"""Exact activation patching: the reference for every estimate.

    effect(u) = m(do(u = p_u)) − m(clean)

Always exact. One run per node, batched; a run executes only what the patch can change (`attribution/cones`). In `live`
mode nothing else is spliced into the run; in `frozen` and `zero` mode it passes the encoders downstream.
Source: Vig et al. 2020; Meng et al. 2022.
"""

import numpy as np

from attribution.cones.exact_engine import ExactEngine, pairs_in_chunk
from attribution.effects.effects import Effects
from attribution.effects.measurement import SOURCES, Method, measure
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.spliced_model import ErrorMode, SplicedModel

PARTIAL_LAW = "none: not every node was measured"


def exact_patching(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    runs_at_once: int = 256,
    bytes_at_once: int = BYTES_AT_ONCE,
    only: np.ndarray | None = None,
    in_float64: bool = True,
    progress: Progress = silent,
) -> Effects:
    """Exact effect of every feature, error and token whose clean and patch values differ.

    Arguments as in `attribution_patching`, and:

    Args:
        bytes_at_once: bytes that patched runs in cones may hold at a time.
        runs_at_once: patched runs of whole blocks in one forward pass.
        only: keys (`Effects.keys`) of the nodes to measure; by default all.
        in_float64: measure again what rounding could decide, in float64; its copies take 8 bytes for each weight.
            Without it such effects are marked as near.

    Raises:
        ValueError: another error mode than `live`, `frozen` or `zero`, `runs_at_once` below 1, or pairs that do not fit
            the model.
    """
    refuse_other_types(pairs, metric, patch_value)
    if runs_at_once < 1:
        raise ValueError(f"runs_at_once must be at least 1; got {runs_at_once}.")
    law = SOURCES if only is None else PARTIAL_LAW
    patcher = ExactEngine(spliced, metric, runs_at_once, bytes_at_once, only, in_float64)
    in_chunk = pairs_in_chunk(spliced, pairs)
    method = Method(
        "exact_patching",
        patcher.score,
        ("live", "frozen", "zero"),
        law,
        through_encoders=False,
        only=only,
        pairs_in_chunk=in_chunk,
        depends_on={} if in_float64 else {"in_float64": False},
    )
    effects = measure(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )
    return effects if only is None else effects.subset(np.isin(effects.keys(), only))
