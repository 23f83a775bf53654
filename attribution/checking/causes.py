"""Causes: why an estimate is wrong at a node. Its error is split into parts that add up.

    AtP − exact           = curvature (AtP − S_u)   + jump (S_u − exact)
    site-path IG − exact  = interaction (IG − S_u)  + jump (S_u − exact)
    input-path IG − exact = jump (IG − chord IG)    + interaction (chord IG − exact)
    chord IG − exact      = interaction

S_u is the integral of the derivative along u's own path without the jumps (`own_path.py`). Interaction arises because
other nodes move together with u on a joint path. In `live` mode effects meet no gate, and S_u = exact. Source: METHODS
of this project, section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attribution.checking.own_path import GateFlip, OwnPath, own_paths_in_time, path_values
from attribution.effects.effects import Effects
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, progress_between, silent
from attribution.runs.time_limit import Limit, TimeLimit, TimeUp, never
from attribution.splice.node_keys import KINDS
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import CrossedGate, FeatureNode, NodeVerdict, PathTrace, TokenNode, Verdict
from graphs.nodes import node_name
from graphs.verdict import Cause

OWN_PATH_METHODS = ("attribution_patching", "integrated_gradients")
_MOST_GATES = 12
_GATES_SHOWN = 3
_TOLERANCE = 1e-3
"""Precision of a walk whose result is drawn: of parts as shares of the exact effect, and of α between jumps."""


def parts_of_error(
    method: str, estimate: float, exact: float, path: OwnPath | None, chord: float | None
) -> Mapping[Cause, float] | None:
    """The parts of one node's error, in units of the metric; None for a method whose error is not split.

    Args:
        method: name of the method, as in `Effects.method`.
        estimate, exact: the node's two effects.
        path: the node's own path; None in `live` mode.
        chord: the node's chord IG attribution; None in `live` mode.
    """
    if method in OWN_PATH_METHODS:
        first: Cause = "curvature" if method == "attribution_patching" else "interaction"
        smooth, jump = (exact, 0.0) if path is None else (path.smooth, path.jump)
        return {first: estimate - smooth, "jump": -jump}
    if method == "input_path_integrated_gradients":
        jump = 0.0 if chord is None else estimate - chord
        return {"jump": jump, "interaction": estimate - exact if chord is None else chord - exact}
    if method == "chord_integrated_gradients":
        return {"interaction": estimate - exact}
    return None


def crossed_gates(path: OwnPath) -> tuple[CrossedGate, ...]:
    """The gates that flip on a node's path, in order of decreasing |jump|; at most 12."""
    jumps = sorted(path.jumps, key=lambda jump: -abs(jump.size))
    gates = [
        CrossedGate(flip.site, flip.position, flip.index, flip.opened, jump.alpha, jump.size)
        for jump in jumps
        for flip in jump.flips
    ]
    return tuple(gates[:_MOST_GATES])


def with_own_paths(
    verdict: Verdict,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    chosen: Sequence[NodeVerdict],
    *,
    patch_value: PatchValue = counterfactual,
    room: Room | None = None,
    limit: Limit = never,
    progress: Progress = silent,
) -> Verdict:
    """The verdict with gates, causes and traces of some of its flagged nodes.

    Args:
        verdict: the verdict of `check` on these pairs.
        estimate: effects that include the chosen nodes, such as the estimate that was checked.
        chosen: some of `verdict.flagged`. A node whose gates are known is not walked again. A node gets no trace if
            its two values are equal when its pair runs alone: rounding depends on the batch. They are walked in this
            order.
        room: batch sizes that fit into memory; by default into half of what is free.
        limit: nodes that are not walked when the time is over are counted in `unwalked`.
    """
    mode: ErrorMode = verdict.exact_error_mode  # pyright: ignore[reportAssignmentType]
    entries = {id(flagged): _effect_of_node(estimate, flagged) for flagged in chosen}
    keys = [int(entries[id(flagged)].keys()[0]) for flagged in chosen if mode != "live" and not flagged.gates]
    paths, ends = dict[int, OwnPath](), limit()
    room = room or Room.of(spliced, pairs, mode)
    spliced, runs = room.fitted(spliced), room.walked_runs
    if keys:
        nodes = estimate.subset(np.isin(estimate.keys(), keys))
        number_of = {key: n for n, key in enumerate(nodes.keys().tolist())}
        paths = own_paths_in_time(
            spliced,
            pairs,
            metric,
            nodes,
            [number_of[key] for key in dict.fromkeys(keys)],
            ends,
            runs_at_once=runs,
            error_mode=mode,
            patch_value=patch_value,
            rtol=_TOLERANCE,
            resolution=_TOLERANCE,
            progress=progress_between(progress, 0.0, 0.5),
        )
    explained: dict[int, NodeVerdict] = {}
    traces: list[PathTrace] = []
    for number, flagged in enumerate(chosen, start=1):
        one = entries[id(flagged)]
        explained[id(flagged)] = _explained(verdict.method, flagged, paths.get(int(one.keys()[0])))
        try:
            trace = _trace(spliced, pairs, metric, one, explained[id(flagged)], mode, patch_value, runs, ends)
        except TimeUp:
            trace = None
        traces += [] if trace is None else [trace]
        progress(0.5 + 0.5 * number / len(chosen))
    return replace(
        verdict,
        flagged=tuple(explained.get(id(v), v) for v in verdict.flagged),
        traces=tuple(traces),
        unwalked=verdict.unwalked + sum(key not in paths for key in keys),
    )


def _effect_of_node(estimate: Effects, flagged: NodeVerdict) -> Effects:
    """The entry of a flagged node, as effects of length 1."""
    node = flagged.node
    mask = (estimate.example == flagged.example) & (estimate.position == node.position)
    mask &= estimate.kind == KINDS.index(node.kind)
    if not isinstance(node, TokenNode):
        mask &= estimate.site == estimate.sites.index(node.site)
    if isinstance(node, FeatureNode):
        mask &= estimate.index == node.index
    return estimate.subset(mask)


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
    runs: int,
    limit: TimeLimit,
) -> PathTrace | None:
    gates = tuple(GateFlip(g.site, g.position, g.index, g.opened) for g in flagged.gates[:_GATES_SHOWN])
    try:
        about = {"error_mode": mode, "patch_value": patch_value, "runs_at_once": runs, "limit": limit}
        values = path_values(spliced, pairs, metric, one, gates, **about)
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
