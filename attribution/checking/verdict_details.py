"""What a verdict shows beside its numbers: completeness by number of points, and the worst nodes' own paths."""

from dataclasses import replace

import numpy as np

from attribution.checking.flagged_paths import with_paths
from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects.effects import Effects
from attribution.effects.measurement import Progress, silent, within
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, path_mode
from attribution.splice.spliced_model import SplicedModel
from graphs import ResidualCurve, Verdict

_POINTS = (3, 5, 10, 20, 50)


def with_details(
    verdict: Verdict,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    *,
    patch_value: PatchValue = counterfactual,
    examples: int = 8,
    traced: int = 3,
    progress: Progress = silent,
) -> Verdict:
    """The verdict with residual curves of IG and chord IG (input path) and traces of the worst nodes.

    Args:
        verdict: what `check` gave for these pairs and this estimate.
        examples: how many pairs the residual curves rest on.
        traced: how many flagged nodes, largest errors first, are walked along their own paths.
    """
    mode: ErrorMode = verdict.exact_error_mode  # pyright: ignore[reportAssignmentType]
    curves: tuple[ResidualCurve, ...] = ()
    if patch_value is counterfactual:
        curves = _residual_curves(spliced, pairs.head(examples), metric, mode)
    progress(0.6)
    chosen, paths = verdict.flagged[:traced], within(progress, 0.6, 1.0)
    given = spliced, pairs, metric, estimate, chosen
    traces = with_paths(verdict, *given, patch_value=patch_value, progress=paths).traces
    return replace(verdict, residuals=curves, traces=traces)  # whose cause is told was decided by `check`


def _residual_curves(
    spliced: SplicedModel, pairs: PromptPairs, metric: Metric, mode: ErrorMode
) -> tuple[ResidualCurve, ...]:
    found: list[ResidualCurve] = []
    for name, method in (("IG", input_path_integrated_gradients), ("chord IG", chord_integrated_gradients)):
        shares: list[np.ndarray] = []
        for count in _POINTS:
            effects = method(spliced, pairs, metric, error_mode=path_mode(mode), points=gauss_legendre(count))
            assert effects.residual is not None
            total = np.abs(effects.total_effect)
            shares.append(np.abs(effects.residual[total > 0]) / total[total > 0])
        if len(shares[0]):
            medians, largest = tuple(float(np.median(s)) for s in shares), tuple(float(s.max()) for s in shares)
            found.append(ResidualCurve(name, _POINTS, medians, largest))
    return tuple(found)
