"""The search for a small faithful set: attribute on the mask path to what is left, drop what helps least, repeat.

    C_0 = all nodes        C_{k+1} = C_k without the share of its nodes that help least, by A_{C_k}

The order of removal is a ranking, and F of every set on the way is its curve. F may exceed 1 where nodes that oppose
the task have been dropped. They are part of the mechanism: while F is above 1 + `BAND`, nodes with the smallest |A| are
dropped, whatever their sign.

Attribution is on the training pairs in both directions (clean and patch exchanged), which costs twice as much and finds
sets that hold on other pairs. The validation pairs choose the size: the smallest set with F − one standard error >=
target. The rounds on both sides of it are searched by bisection, nodes just outside are exchanged for nodes just inside
where that raises F, and at last single nodes are dropped as long as the target holds. Source: this project.

Searches on resampled pairs can run beside it (`resampled.py`): in how many of them a node is kept is its stability.
"""

import math
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from attribution.effects.quadrature import midpoint
from attribution.masks.masked_metric import MaskPath, upper_half
from attribution.runs.progress import Progress, silent
from circuits.selection.finishing import BAND, edge_of, reaches, refined, smallest, without
from circuits.selection.node_sets import Directions, NodeSet, NodeSets
from circuits.selection.resampled import ResampledSearch
from circuits.selection.watch import UNWATCHED, Round, SearchCost, Watch

DROP: Final = 0.15
"""Share of the nodes dropped in a round."""
FEWEST_POINTS: Final = 8
MOST_POINTS: Final = 16
FAIR_RESIDUAL: Final = 0.05
"""Points of the path are doubled until the residual is at most this share of F, or `MOST_POINTS` are reached."""
NEGLIGIBLE: Final = 0.005
"""A round drops more than its share where the nodes that help least, up to half of all, carry less than this in all."""
LOST: Final = 0.5
"""The search ends when F on the deciding pairs is below this share of the target."""


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        chosen: the nodes of the set.
        rounds: every set on the way, the largest first: the faithfulness curve.
        training, validation: F of the chosen set.
        reached: whether it has the F asked for; if not, it is the most faithful set of at most the size allowed.
        order: when each node was dropped; nodes dropped later matter more.
        slopes: the attribution of each node when it was dropped, in units of F; negative for opponents of the task.
        resampled: the searches on resampled pairs; None without any.
    """

    chosen: NodeSet
    rounds: tuple[Round, ...]
    training: float
    validation: float | None
    reached: bool
    order: np.ndarray
    slopes: Float[np.ndarray, " node"]
    resampled: ResampledSearch | None = None

    def opponents(self, most: int = 5) -> tuple[int, ...]:
        """The nodes left out that opposed the task most when they were dropped, the strongest first."""
        worst = np.argsort(np.where(self.chosen, 0.0, self.slopes))[:most]
        return tuple(int(n) for n in worst if self.slopes[n] < 0 and not self.chosen[n])


def iterate(
    training: NodeSets,
    both: Directions,
    validation: NodeSets | None,
    *,
    target: float | None = 0.8,
    most: int = 1000,
    nodes: int | None = None,
    drop: float = DROP,
    refine: bool = True,
    weights: Float[np.ndarray, "resample pair"] | None = None,
    progress: Progress = silent,
    watch: Watch = UNWATCHED,
) -> Search:
    """Search for the smallest set that is faithful.

    Args:
        training: sets on the training pairs.
        both: sets of the same nodes on the training pairs in both directions; attribution is on these.
        validation: sets of the same nodes on the pairs that choose the size. None: the training pairs choose.
        target: the F to reach on the deciding pairs, with one standard error to spare. None with `nodes`.
        most: the largest set allowed.
        nodes: the size of the set, instead of `target`.
        drop: share of the nodes dropped in a round.
        refine: exchange nodes at the edge of the set and drop single ones.
        weights: how often each resample draws each training pair, as a share of all draws; a search runs on each.
        progress: told the share of work done.
        watch: told the cost before the first round, and the set of every round.

    Raises:
        ValueError: F is undefined on the pairs; a share outside (0, 1).
    """
    if not 0 < drop < 1:
        raise ValueError(f"The share dropped in a round lies between 0 and 1; got {drop}.")
    deciding = training if validation is None else validation
    found = _Rounds(training, both, validation, drop, weights)
    everything = np.ones(len(training.nodes), bool)
    watch.begins(found.cost)
    least = nodes if nodes is not None else 1
    limit = LOST * (target or 0.0)
    kept, sets = everything, list[NodeSet]()
    while True:
        sets.append(kept)
        latest = found.measured(kept)
        watch.went(latest)
        progress(0.8 * math.log(len(everything) / latest.size + 1e-9) / math.log(len(everything) + 1))
        lost = (
            target is not None
            and latest.size <= most
            and deciding.faithfulness(kept) < limit
            and latest.training < limit
        )
        if latest.size <= least or lost:
            break
        kept = found.next(kept, least)
    if nodes is not None:
        chosen = sets[-1]
    else:
        assert target is not None
        chosen = smallest(sets, found.order, deciding, target, most)
    if refine:
        chosen = refined(chosen, found.edge, training, both, deciding, None if nodes is not None else target)
    progress(1.0)
    watch.ended()
    reached = target is None or reaches(deciding, chosen, target)
    return Search(
        chosen,
        tuple(found.rounds),
        training.faithfulness(chosen),
        None if validation is None else validation.faithfulness(chosen),
        reached,
        found.order,
        found.slopes,
        found.resampled,
    )


class _Rounds:
    """The rounds so far, and what each dropped node was worth."""

    def __init__(
        self,
        training: NodeSets,
        both: Directions,
        validation: NodeSets | None,
        drop: float,
        weights: Float[np.ndarray, "resample pair"] | None,
    ) -> None:
        self.training, self.both, self.validation, self.drop = training, both, validation, drop
        count = len(training.nodes)
        self.resampled = None if weights is None else ResampledSearch.of(weights, count)
        self.rounds: list[Round] = []
        self.order = np.full(count, np.iinfo(np.int64).max)
        self.slopes = np.zeros(count)
        self.points, self.seconds = self._points()

    @property
    def cost(self) -> SearchCost:
        points = self.points // 2
        return SearchCost(len(self.order), self.both.prompts, points, self.drop, points * self.seconds)

    def _points(self) -> tuple[int, float]:
        """Points on the whole path, doubled from 8 until the residual is fair; and the seconds that one takes."""
        everything = np.ones(len(self.training.nodes), bool)
        points = FEWEST_POINTS
        while True:
            start = time.perf_counter()
            residual = self.both.residual(everything, midpoint(points))
            if points == MOST_POINTS or residual <= FAIR_RESIDUAL:
                return points, (time.perf_counter() - start) / points
            points *= 2

    def measured(self, kept: NodeSet) -> Round:
        validation = None if self.validation is None else self.validation.faithfulness(kept)
        self.rounds.append(Round(int(kept.sum()), self.training.faithfulness(kept), validation))
        return self.rounds[-1]

    def next(self, kept: NodeSet, least: int) -> NodeSet:
        """The set without the nodes that help least; every resample's set loses as many."""
        size, resampled = int(kept.sum()), self.resampled
        path = self._path(kept, None if resampled is None else kept | resampled.alive.any(0))
        worst, _ = self._edge(kept, path)
        idle = int(np.searchsorted(np.cumsum(np.abs(self.slopes[worst])), NEGLIGIBLE))
        count = min(max(1, int(size * self.drop), min(idle, size // 2)), size - least)
        start = len(self.rounds) * len(kept)
        if resampled is not None and path.by_pair is not None:
            above = self.training.faithfulness_of(kept, resampled.weights) > 1 + BAND
            resampled.drop(path.by_pair, above, count, start)
        dropped = worst[:count]
        self.order[dropped] = start + np.arange(count)
        return without(kept, dropped)

    def edge(self, kept: NodeSet) -> tuple[np.ndarray, np.ndarray]:
        """The nodes at the edge of a set (`finishing.edge_of`)."""
        return self._edge(kept, self._path(kept, None))

    def _path(self, kept: NodeSet, by_pair: NodeSet | None) -> MaskPath:
        return self.both.shares(kept, upper_half(self.points // 2), by_pair)

    def _edge(self, kept: NodeSet, path: MaskPath) -> tuple[np.ndarray, np.ndarray]:
        self.slopes[kept] = path.attribution[kept]
        return edge_of(kept, path, overshoots=self.training.faithfulness(kept) > 1 + BAND)
