"""How a search ends, whichever it was: the smallest set that reaches the target, and the nodes at its edge.

The sets on the way are nested, so the sets between two of them are searched by bisection. Then nodes just outside are
exchanged for nodes just inside where that raises F, and single nodes are dropped as long as the target holds.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from attribution.masks.masked_metric import MaskPath
from circuits.selection.node_sets import Directions, NodeSet, NodeSets

BAND: Final = 0.15
"""How far above 1 a search lets F rise on the training pairs."""
EDGE: Final = 8
"""Nodes inside and outside a set that are tried for exchange."""
TRIED: Final = 100
"""Nodes that are tried for removal one by one."""

EdgeOf = Callable[[NodeSet], tuple[np.ndarray, np.ndarray]]
"""The nodes of a set, those first that are to go first; and those outside it that would help, the best first."""


def edge_of(kept: NodeSet, path: MaskPath, *, overshoots: bool) -> tuple[np.ndarray, np.ndarray]:
    """The edge of a set by attribution on the path to it. Where F overshoots, weak nodes go before opponents."""
    members, outside = np.flatnonzero(kept), np.argsort(-path.outside, kind="stable")
    score = path.attribution[members]
    if overshoots:
        score = np.abs(score)
    return members[np.argsort(score, kind="stable")], outside[path.outside[outside] > 0]


def reaches(deciding: NodeSets, chosen: NodeSet, target: float) -> bool:
    """Whether F of a set reaches the target with one standard error to spare."""
    return bool(chosen.any()) and deciding.faithfulness(chosen) - deciding.standard_error(chosen) >= target


def smallest(sets: Sequence[NodeSet], order: np.ndarray, deciding: NodeSets, target: float, most: int) -> NodeSet:
    """The smallest set that reaches the target, between those given too; else the most faithful one that is allowed.

    `sets` are nested, the largest first; `order` says which nodes of one go first on the way to the next.
    """
    allowed = [n for n, kept in enumerate(sets) if kept.sum() <= most]
    good = [n for n in allowed if reaches(deciding, sets[n], target)]
    if not good:
        return max((sets[n] for n in allowed), key=lambda kept: -abs(1 - deciding.faithfulness(kept)))
    last = good[-1]
    if last + 1 == len(sets):
        return sets[last]
    between = np.flatnonzero(sets[last] & ~sets[last + 1])
    between = between[np.argsort(order[between])]
    low, high = 0, len(between)  # nodes of the round that can go: low of them can, high of them cannot
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(deciding, without(sets[last], between[:middle]), target):
            low = middle
        else:
            high = middle
    return without(sets[last], between[:low])


def refined(
    chosen: NodeSet,
    edge: EdgeOf,
    training: NodeSets,
    both: Directions,
    deciding: NodeSets,
    target: float | None,
) -> NodeSet:
    """The set with nodes exchanged at its edge; where it reaches the target, without those that are not needed.

    Without a target (None) the set keeps its size.
    """
    chosen = _exchanged(chosen, edge, training, deciding)
    if target is not None and reaches(deciding, chosen, target):
        chosen = _trimmed(chosen, both, deciding, training, target)
    return chosen


def without(kept: NodeSet, nodes: np.ndarray) -> NodeSet:
    """The set without these nodes."""
    left = kept.copy()
    left[nodes] = False
    return left


def _exchanged(chosen: NodeSet, edge: EdgeOf, training: NodeSets, deciding: NodeSets) -> NodeSet:
    """Nodes just outside exchanged for nodes just inside, as long as that raises F on the training pairs.

    Single nodes are tried side by side. An exchange stays if F does not fall on the deciding pairs.
    """
    inside, outside = (nodes[:EDGE] for nodes in edge(chosen))
    fewer = {int(n): without(chosen, np.array([n])) for n in inside}
    more = {int(n): _with(chosen, int(n)) for n in outside}
    training.measure([chosen, *fewer.values(), *more.values()])
    now = training.faithfulness(chosen)
    loss = {n: now - training.faithfulness(own) for n, own in fewer.items()}
    gain = {n: training.faithfulness(own) - now for n, own in more.items()}
    for out, into in zip(sorted(loss, key=lambda n: loss[n]), sorted(gain, key=lambda n: -gain[n]), strict=False):
        if gain[into] <= loss[out] or training.faithfulness(chosen) > 1:
            break
        trial = _with(without(chosen, np.array([out])), into)
        raised = training.faithfulness(trial) > training.faithfulness(chosen)
        if raised and deciding.faithfulness(trial) >= deciding.faithfulness(chosen):
            chosen = trial
    return chosen


def _with(kept: NodeSet, node: int) -> NodeSet:
    more = kept.copy()
    more[node] = True
    return more


def _trimmed(chosen: NodeSet, both: Directions, deciding: NodeSets, training: NodeSets, target: float) -> NodeSet:
    """Single nodes dropped, those first that F misses least in both directions, while the target holds."""
    members = np.flatnonzero(chosen)
    if len(members) > TRIED:
        return chosen
    fewer = {int(n): without(chosen, np.array([n])) for n in members}
    both.measure(list(fewer.values()))
    left = {n: both.faithfulness(own) for n, own in fewer.items()}
    failed = 0
    for node in sorted(left, key=lambda n: -left[n]):
        trial = without(chosen, np.array([node]))
        if reaches(deciding, trial, target) and training.faithfulness(trial) >= target:
            chosen = trial
        elif (failed := failed + 1) == EDGE:
            break
    return chosen
