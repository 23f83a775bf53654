"""Why some flagged nodes were flagged: each one's own path, the gates that flip on it, the parts of its error.

In `live` mode no gate is met: the path is smooth, and there is nothing to take apart.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attribution.checking.causes import crossed_gates, parts_of_error
from attribution.checking.own_path import GateFlip, OwnPath, own_paths, path_values
from attribution.effects.effects import Effects
from attribution.effects.measurement import Progress, silent, within
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import FeatureNode, NodeVerdict, PathTrace, TokenNode, Verdict
from graphs.nodes import node_name

_GATES_SHOWN = 3
_TOLERANCE = 1e-3
"""Of a path's parts, as a share of the exact effect, and of α between two jumps: what a picture can show."""


def with_paths(
    verdict: Verdict,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    chosen: Sequence[NodeVerdict],
    *,
    patch_value: PatchValue = counterfactual,
    progress: Progress = silent,
) -> Verdict:
    """The verdict with gates, causes and traces of the chosen ones of its flagged nodes.

    Args:
        verdict: what `check` gave for these pairs.
        estimate: effects that hold the chosen nodes, such as the estimate that was checked.
        chosen: of `verdict.flagged`. A node whose gates are known already is not walked again. One that has, by
            rounding, the same value in both runs of its pair alone has no path and gets no trace.
    """
    mode: ErrorMode = verdict.exact_error_mode  # pyright: ignore[reportAssignmentType]
    entries = {id(flagged): _entry(estimate, flagged) for flagged in chosen}
    unknown = [flagged for flagged in chosen if mode != "live" and not flagged.gates]
    paths: dict[int, OwnPath] = {}
    if unknown:
        keys = [entries[id(flagged)].keys() for flagged in unknown]
        nodes = estimate.subset(np.isin(estimate.keys(), np.concatenate(keys)))
        paths = own_paths(
            spliced,
            pairs,
            metric,
            nodes,
            error_mode=mode,
            patch_value=patch_value,
            rtol=_TOLERANCE,
            resolution=_TOLERANCE,
            progress=within(progress, 0.0, 0.5),
        )
    told: dict[int, NodeVerdict] = {}
    traces: list[PathTrace] = []
    for number, flagged in enumerate(chosen, start=1):
        one = entries[id(flagged)]
        told[id(flagged)] = _explained(verdict.method, flagged, paths.get(int(one.keys()[0])))
        trace = _trace(spliced, pairs, metric, one, told[id(flagged)], mode, patch_value)
        traces += [] if trace is None else [trace]
        progress(0.5 + 0.5 * number / len(chosen))
    return replace(verdict, flagged=tuple(told.get(id(v), v) for v in verdict.flagged), traces=tuple(traces))


def _entry(estimate: Effects, flagged: NodeVerdict) -> Effects:
    """The one entry of the effects that is this node in this example."""
    node = flagged.node
    here = (estimate.example == flagged.example) & (estimate.position == node.position)
    here &= estimate.kind == KINDS.index(node.kind)
    if not isinstance(node, TokenNode):
        here &= estimate.site == estimate.sites.index(node.site)
    if isinstance(node, FeatureNode):
        here &= estimate.index == node.index
    return estimate.subset(here)


def _explained(method: str, flagged: NodeVerdict, path: OwnPath | None) -> NodeVerdict:
    if path is None:
        return flagged
    parts = flagged.parts or parts_of_error(method, flagged.estimate, flagged.exact, path, None)
    return replace(flagged, parts=parts, gates=crossed_gates(path))


def _trace(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    one: Effects,
    flagged: NodeVerdict,
    mode: ErrorMode,
    patch_value: PatchValue,
) -> PathTrace | None:
    gates = tuple(GateFlip(g.site, g.position, g.index, g.opened) for g in flagged.gates[:_GATES_SHOWN])
    try:
        values = path_values(spliced, pairs, metric, one, gates, error_mode=mode, patch_value=patch_value)
    except LookupError:
        return None
    return PathTrace(
        node=flagged.node,
        example=flagged.example,
        alpha=tuple(values.alpha.tolist()),
        metric=tuple(values.metric.tolist()),
        slope=tuple(values.slope.tolist()),
        margins={
            node_name(FeatureNode(g.site, g.position, g.index)): tuple(m.tolist()) for g, m in values.margins.items()
        },
    )
