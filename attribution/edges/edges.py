"""Edges as columns, with the balance of every target.

    e(u→d)   direct effect of node u on node d, in units of the metric

They are measured by `chord_edges.py` and `gradient_edges.py`; `exact_edges.py` measures single ones exactly.
"""

from dataclasses import dataclass

import numpy as np

METRIC_KEY = -1
"""Key of the metric among the targets."""


@dataclass(frozen=True)
class Edges:
    """Edges as columns, one entry per example and edge, and the balance of every target.

    Attributes:
        method: how the edges were measured, in words.
        example, source, target: the pair, and the two nodes by key (`Effects.keys`; METRIC_KEY for the metric).
        weight: e(source→target) in units of the metric; positive if the metric rises.
        target_example, target_key: every target, once per example.
        attribution: what each target carries, in units of the metric.
        undivided: its undivided jump.
        inflow: the sum over all its direct sources, including edges that were not kept.
        passing: what reaches it through changed normalisations. For chord edges attribution = undivided + inflow +
            passing, up to quadrature.
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

    def __repr__(self) -> str:
        examples = len(np.unique(self.target_example))
        return f"Edges({self.method}: {len(self):,} edges, {len(self.target_key):,} targets in {examples:,} examples)"

    @property
    def imbalance(self) -> np.ndarray:
        """Per target, attribution − undivided − inflow − passing; for chord edges, the quadrature error."""
        return self.attribution - self.undivided - self.inflow - self.passing
