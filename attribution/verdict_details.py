"""What a verdict shows beside its numbers: completeness by number of points, and the worst nodes' own paths."""

from dataclasses import replace

import numpy as np

from attribution.causes import crossed_gates
from attribution.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects import KINDS, Effects
from attribution.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.measurement import Progress, silent
from attribution.metric import Metric
from attribution.own_path import GateFlip, own_paths, path_values
from attribution.patch_values import PatchValue, counterfactual
from attribution.prompt_pairs import PromptPairs
from attribution.quadrature import gauss_legendre
from attribution.recording import ErrorMode, path_mode
from attribution.splice import SplicedModel
from graphs import FeatureNode, NodeVerdict, PathTrace, ResidualCurve, TokenNode, Verdict
from graphs.node import node_name

_POINTS = (3, 5, 10, 20, 50)
_GATES_SHOWN = 3


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
    traces: list[PathTrace] = []
    for number, flagged in enumerate(verdict.flagged[:traced], start=1):
        trace = _trace(spliced, pairs, metric, estimate, flagged, mode, patch_value)
        traces += [] if trace is None else [trace]
        progress(0.6 + 0.4 * number / traced)
    return replace(verdict, residuals=curves, traces=tuple(traces))


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


def _trace(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    flagged: NodeVerdict,
    mode: ErrorMode,
    patch_value: PatchValue,
) -> PathTrace | None:
    """None where the node, by rounding, has the same value in both runs of its pair alone."""
    node = flagged.node
    here = (estimate.example == flagged.example) & (estimate.position == node.position)
    here &= estimate.kind == KINDS.index(node.kind)
    if not isinstance(node, TokenNode):
        here &= estimate.site == estimate.sites.index(node.site)
    if isinstance(node, FeatureNode):
        here &= estimate.index == node.index
    one = estimate.subset(here)
    crossed = flagged.gates
    if not crossed and mode != "live":
        paths = own_paths(
            spliced, pairs, metric, one, error_mode=mode, patch_value=patch_value, rtol=1e-3, resolution=1e-3
        )
        if not paths:
            return None
        crossed = crossed_gates(paths[int(one.keys()[0])])
    gates = tuple(GateFlip(g.site, g.position, g.index, g.opened) for g in crossed[:_GATES_SHOWN])
    try:
        values = path_values(spliced, pairs, metric, one, gates, error_mode=mode, patch_value=patch_value)
    except LookupError:
        return None
    return PathTrace(
        node=node,
        example=flagged.example,
        alpha=tuple(values.alpha.tolist()),
        metric=tuple(values.metric.tolist()),
        slope=tuple(values.slope.tolist()),
        margins={
            node_name(FeatureNode(g.site, g.position, g.index)): tuple(m.tolist()) for g, m in values.margins.items()
        },
    )
