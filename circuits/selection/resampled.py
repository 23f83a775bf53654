"""How stable a search is: the same search on resampled pairs, side by side with the search itself.

A resample draws pairs with replacement; pair i counts w_i times. It starts with all nodes and drops, in every round, as
many as the search does, those first that help least by its own mean over pairs:

    A_w(u) = Σ_i w_i · (part of pair i in A(u))        A(u) = Σ_i (part of pair i)

The parts are measured on the path to the search's set, also for nodes that only a resample still has. So resamples cost
no forward of their own. Whole searches on resampled pairs find almost the same sets (`docs/measured.md`).
Source: this project.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

TOGETHER: Final = 16
"""Resamples whose attributions are held in memory at once."""


@dataclass(frozen=True)
class ResampledSearch:
    """The searches on resampled pairs.

    Args:
        weights: how often each training pair is drawn, as a share of all draws.
        alive: the nodes that are left in each.
        order: when each node was dropped; nodes dropped later matter more.
    """

    weights: Float[np.ndarray, "resample pair"]
    alive: Bool[np.ndarray, "resample node"]
    order: np.ndarray

    @classmethod
    def of(cls, weights: Float[np.ndarray, "resample pair"], nodes: int) -> "ResampledSearch":
        """Searches that have dropped nothing yet."""
        shape = len(weights), nodes
        return cls(weights, np.ones(shape, bool), np.full(shape, np.iinfo(np.int64).max))

    def drop(
        self,
        parts: Float[np.ndarray, "pair node"],
        unsigned: Bool[np.ndarray, " resample"],
        count: int,
        start: int,
    ) -> None:
        """Drop `count` nodes from every resample's set.

        Args:
            parts: each pair's part in the attribution of each node.
            unsigned: in which resamples nodes with the smallest |A| go first, whatever their sign.
            count: number of nodes.
            start: the first of the numbers that `order` gives to them.
        """
        for first in range(0, len(self.weights), TOGETHER):
            rows = slice(first, first + TOGETHER)
            score = self.weights[rows] @ parts * len(parts)
            score = np.where(unsigned[rows, None], np.abs(score), score)
            score[~self.alive[rows]] = np.inf
            dropped = np.argpartition(score, count - 1, axis=1)[:, :count]
            by_score = np.argsort(np.take_along_axis(score, dropped, 1), axis=1, kind="stable")
            dropped = np.take_along_axis(dropped, by_score, 1)
            np.put_along_axis(self.alive[rows], dropped, False, 1)
            np.put_along_axis(self.order[rows], dropped, np.arange(start, start + count), 1)

    def sets(self, size: int) -> Bool[np.ndarray, "resample node"]:
        """The set of `size` nodes that each resample found: those that it would have dropped last."""
        last = np.argsort(-self.order, axis=1, kind="stable")[:, :size]
        found = np.zeros_like(self.alive)
        np.put_along_axis(found, last, True, 1)
        return found
