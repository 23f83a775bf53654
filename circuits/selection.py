"""Which nodes of a ranking make a circuit: a number of them, a threshold, or a share of the total."""

from dataclasses import dataclass

import numpy as np

from circuits.aggregate import Ranking


@dataclass(frozen=True)
class Selection:
    """Exactly one of three rules.

    Attributes:
        nodes: the strongest so many.
        threshold: those with |mean effect| >= threshold, in units of the metric.
        share: the fewest that carry at least this share of Σ |mean effect| over all nodes.
    """

    nodes: int | None = None
    threshold: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if sum(rule is not None for rule in (self.nodes, self.threshold, self.share)) != 1:
            raise ValueError("Choose nodes by exactly one of: their number, a threshold, a share of the total effect.")
        if self.nodes is not None and self.nodes < 1:
            raise ValueError(f"A circuit needs at least 1 node; got {self.nodes}.")
        if self.threshold is not None and not self.threshold > 0:
            raise ValueError(f"The threshold must be positive, in units of the metric; got {self.threshold}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"A share lies above 0 and is at most 1; got {self.share}.")

    def of(self, ranking: Ranking) -> Ranking:
        """The chosen nodes. A threshold that none reaches is an error."""
        sizes = np.abs([weighted.effect for weighted in ranking.nodes])
        if self.threshold is not None:
            count = int((sizes >= self.threshold).sum())
            if count == 0:
                raise ValueError(
                    f"No node reaches the threshold {self.threshold}: the largest |effect| is {sizes[0]:.3g}."
                )
            return ranking.top(count)
        if self.share is not None:
            wanted = self.share * sizes.sum() * (1 - 1e-12)
            return ranking.top(int(np.searchsorted(np.cumsum(sizes), wanted)) + 1)
        assert self.nodes is not None
        return ranking.top(self.nodes)
