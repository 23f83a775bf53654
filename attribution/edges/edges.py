"""The edges of a circuit as columns, with the balance of every target.

    e(u→d)   the direct effect of node u on node d, in units of the metric

Which files measure them: `chord_edges.py`, `gradient_edges.py` and `exact_edges.py`.
"""

from dataclasses import dataclass

import numpy as np

METRIC_KEY = -1
"""Stands for the metric among the keys of targets."""


@dataclass(frozen=True)
class Edges:
    """Edges as columns, one entry per example and edge, and the balance of every target.

    Attributes:
        method: how the edges were measured, in words.
        example, source, target: which pair, and the two nodes by key (`Effects.keys`; METRIC_KEY is the metric).
        weight: e(source→target) in units of the metric; positive: the metric rises.
        target_example, target_key: every target once per example.
        attribution, undivided, inflow, passing: of each target: what it carries, its undivided jump, the sum over all
            of its direct sources, those not kept included, and what comes through changed normalisations. For chord
            edges attribution = undivided + inflow + passing, up to quadrature.
    """

    method: str
    example: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    target_example: np.ndarray
    target_key: np.ndarray
    attribution: np.ndarray
    undivided: np.ndarray
    inflow: np.ndarray
    passing: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def imbalance(self) -> np.ndarray:
        """Per target: attribution − undivided − inflow − passing; quadrature only, for chord edges."""
        return self.attribution - self.undivided - self.inflow - self.passing
