"""Learned masks: a search that trains a gate on every node and keeps the nodes whose gates stay open.

The gates are hard-concrete. Their expected size is made small while F on the training pairs, in both directions, stays
at a goal (`mask_training.py`). The goal lies half-way between the target and 1, so that the target holds on other
pairs. The nodes are then ordered by their log α, which is a good order near the size that was learned and means little
far above it. As in the iterated search, the validation pairs choose the size along the order, and the set is refined
(`finishing.py`).
"""

from typing import Final

import numpy as np

from attribution.effects.quadrature import midpoint
from attribution.masks.masked_metric import upper_half
from attribution.runs.progress import Progress, progress_between, silent
from circuits.selection.finishing import BAND, edge_of, reaches, refined, smallest, without
from circuits.selection.iterated import DROP, Round, Search
from circuits.selection.mask_training import MaskTraining
from circuits.selection.node_sets import Directions, NodeSet, NodeSets

STEPS: Final = 400
"""Steps of Adam."""
POINTS: Final = 8
"""Points of the mask path to a set."""
SIDE_BY_SIDE: Final = 8
"""Nested sets that are measured together, between two reports of progress."""


def learn(
    training: NodeSets,
    both: Directions,
    validation: NodeSets | None,
    *,
    target: float | None = 0.8,
    most: int = 1000,
    nodes: int | None = None,
    seed: int = 0,
    steps: int = STEPS,
    refine: bool = True,
    progress: Progress = silent,
) -> Search:
    """Learn masks and take the smallest set of the nodes with the largest log α that is faithful.

    Args:
        training, both, validation, target, most, nodes, refine, progress: as in `iterate`.
        seed: of the gates' draws. The same seed gives the same set.
        steps: of Adam.

    Raises:
        ValueError: F is undefined on the pairs; fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"Learned masks take at least 1 step; got {steps}.")
    target = None if nodes is not None else target
    deciding = training if validation is None else validation
    everything = np.ones(len(training.nodes), bool)
    warm = both.shares(everything, midpoint(POINTS)).attribution
    goal = 1.0 if target is None else (1 + target) / 2
    log_alpha = MaskTraining(both, warm, goal, nodes, seed).learned(steps, progress_between(progress, 0.0, 0.8))
    order = np.empty(len(warm), np.int64)
    order[np.lexsort((warm, log_alpha))] = np.arange(len(warm))
    sets = nested_sets(order, nodes or 1)
    rounds: list[Round] = []
    for number, kept in enumerate(sets):
        if number % SIDE_BY_SIDE == 0:
            for own in filter(None, (training, validation)):
                own.measure(sets[number : number + SIDE_BY_SIDE])
        other = None if validation is None else validation.faithfulness(kept)
        rounds.append(Round(int(kept.sum()), training.faithfulness(kept), other))
        progress(0.8 + 0.15 * (number + 1) / len(sets))
    chosen = sets[-1] if target is None else smallest(sets, order, deciding, target, most)
    slopes = np.zeros(len(order))

    def edge(kept: NodeSet) -> tuple[np.ndarray, np.ndarray]:
        path = both.shares(kept, upper_half(POINTS // 2))
        slopes[:] = path.attribution + path.outside
        return edge_of(kept, path, overshoots=training.faithfulness(kept) > 1 + BAND)

    edge(chosen)
    if refine:
        chosen = refined(chosen, edge, training, both, deciding, target)
    progress(1.0)
    return Search(
        chosen,
        tuple(rounds),
        training.faithfulness(chosen),
        None if validation is None else validation.faithfulness(chosen),
        target is None or reaches(deciding, chosen, target),
        order,
        slopes,
    )


def nested_sets(order: np.ndarray, least: int, drop: float = DROP) -> list[NodeSet]:
    """The sets of the last nodes of an order, from all of them to `least`; each lacks a share of the one before."""
    by_order = np.argsort(order, kind="stable")
    sets = [np.ones(len(order), bool)]
    while (size := int(sets[-1].sum())) > least:
        count = min(max(1, int(size * drop)), size - least)
        gone = len(order) - size
        sets.append(without(sets[-1], by_order[gone : gone + count]))
    return sets
