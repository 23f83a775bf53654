"""Effects that rounding would decide, measured again in float64; what float64 cannot decide is marked.

    nodes to repeat   a gate of their patched run is near its threshold (`splice/gate_watch.py`), or their own gate is
                      at its threshold in the clean or the patch run; in `zero` mode, where these runs pass all gates,
                      every node of a pair of which one of them has such a gate
    effect            m(do(u = p_u)) − m(clean), both in float64, gates within one rounding of the weights closed
    open effect       the same with such gates open, in all three runs
    undecided         the two differ by more than 1e-4 of the larger of |m(clean)| and |m(patch)|

In a large model nearly every patched run has such a gate somewhere. So no more runs are repeated than the share or the
FLOPs that `exact_engine.py` states allow: the strongest effects are, the others are marked as near.

TopK keeps as many features open as it chose: of lowest index in the one, of highest in the other.

The model's and the SAEs' weights are promoted exactly, for as long as the runs take, so that they need 8 more bytes for
each weight; those of a file in half precision are taken at their word. In cones or whole blocks, as the sweep was.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.cones.cone_patching import PatchedRuns, WatchedRuns
from attribution.effects.decided_nodes import DecidedNodes
from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.effects.patches import Patches, all_patches
from attribution.prompts.metrics import Metric
from attribution.splice.gate_rounding import GateRule
from attribution.splice.gate_watch import undecided_by
from attribution.splice.node_keys import columns_of_keys
from attribution.splice.recording import Recording

TELLING: Final = 1e-4
"""Two values of an effect that are closer, as a share of the metric, are the same."""

Runs = Callable[[Situation, list[Patches], WatchedRuns], list[PatchedRuns]]
"""Makes patched runs of a situation."""


def nodes_to_repeat(situation: Situation, patches: Sequence[Patches], runs: Sequence[PatchedRuns]) -> np.ndarray:
    """The keys, sorted, of the nodes whose effect rounding may decide."""
    found = [np.zeros(0, np.int64)]
    for patch, of in zip(patches, runs, strict=True):
        chosen = of.near | _own_gate(situation, patch)
        if situation.error_mode == "zero":
            chosen = chosen | _at_threshold(situation)[patch.row]
        if chosen.any():
            found.append(patch.only(chosen).keys(situation))
    return np.sort(np.concatenate(found))


def strongest_of(
    keys: np.ndarray, situation: Situation, patches: Sequence[Patches], runs: Sequence[PatchedRuns], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most so many of some nodes, those with the strongest effects, and the others; both sorted by key."""
    if len(keys) <= most:
        return keys, keys[:0]
    size = np.zeros(len(keys))
    for patch, of in zip(patches, runs, strict=True):
        own = patch.keys(situation)
        here = np.isin(own, keys)
        size[np.searchsorted(keys, own[here])] = np.abs(numpy_of(of.effect))[here]
    order = np.argsort(-size, kind="stable")
    return np.sort(keys[order[:most]]), np.sort(keys[order[most:]])


def decided_in_float64(situation: Situation, metric: Metric, keys: np.ndarray, runs: Runs) -> DecidedNodes:
    """The effects of the nodes with these keys, which are sorted, in float64."""
    examples = columns_of_keys(keys)["example"]
    row_of = {int(e): n for n, e in enumerate(situation.batch.example.tolist())}
    own, place = np.unique(examples, return_inverse=True)
    rows = torch.tensor([row_of[e] for e in own.tolist()], device=situation.batch.last.device)
    batch, mode, dtype = situation.batch.rows(rows), situation.error_mode, situation.spliced.dtype
    closing, opening = (undecided_by(dtype, opened=opened) for opened in (False, True))
    with situation.spliced.in_float64(closing) as wide:
        again = prepare(wide, batch, metric, mode, situation.patch_value)
        closed, near = _effects(again, keys, runs, closing)
        at_threshold = numpy_of(_at_threshold(again))
        size = np.max([np.abs(numpy_of(end)) for end in (again.clean_metric, again.changes.metric)], axis=0)
        doubtful, opened = near | at_threshold[place], closed.copy()
        if doubtful.any():
            if at_threshold.any():
                again = prepare(wide.with_gates(opening), batch, metric, mode, situation.patch_value)
            opened[doubtful] = _effects(again, keys[doubtful], runs, opening)[0]
    return DecidedNodes(keys, closed, opened, np.abs(opened - closed) > TELLING * size[place])


def _effects(
    situation: Situation, keys: np.ndarray, runs: Runs, rule: GateRule
) -> tuple[Float[np.ndarray, " node"], Bool[np.ndarray, " node"]]:
    """The effect of each node, 0 where its two values are equal, and whether a gate of its run fell by the rule."""
    effect, near = np.zeros(len(keys)), np.zeros(len(keys), bool)
    patches = all_patches(situation, keys)
    for patch, of in zip(patches, runs(situation, patches, WatchedRuns(rule, decides=True)), strict=True):
        at = np.searchsorted(keys, patch.keys(situation))
        effect[at], near[at] = numpy_of(of.effect), numpy_of(of.near)
    return effect, near


def _recorded(situation: Situation) -> list[Recording]:
    """The clean run, and the patch run if there is one."""
    patch = situation.changes.patch
    return [situation.clean] if patch is None else [situation.clean, patch]


def _at_threshold(situation: Situation) -> Bool[Tensor, " row"]:
    """Pairs with a gate at its threshold in the clean or the patch run."""
    found = torch.zeros_like(situation.batch.last, dtype=torch.bool)
    for recording in _recorded(situation):
        for record in recording.sites.values():
            if record.at_threshold is not None:
                found[record.at_threshold.place // record.at_threshold.positions] = True
    return found


def _own_gate(situation: Situation, patch: Patches) -> Bool[Tensor, " patch"]:
    """Features whose own gate is at its threshold in the clean or the patch run."""
    found = torch.zeros_like(patch.row, dtype=torch.bool)
    for recording in _recorded(situation) if patch.kind == "feature" else ():
        gates = recording.sites[patch.site].at_threshold
        if gates is not None:
            d_sae = situation.spliced.saes[patch.site].d_sae
            own = gates.places(patch.row, patch.pos) * d_sae + patch.index
            found |= torch.isin(own, gates.place * d_sae + gates.index)
    return found
