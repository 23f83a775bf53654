"""Which nodes of a ranking make a circuit: a number, those above a threshold, a share, or enough to be faithful."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from circuits.faithfulness.smallest_faithful import smallest_faithful
from circuits.ranking.aggregate import Ranking
from circuits.ranking.question import Question
from circuits.selection.iterated import DROP, Search, iterate
from circuits.selection.learned import learn
from circuits.selection.watch import UNWATCHED, Watch
from graphs import TokenNode
from graphs.short_repr import in_brief

SEARCHES: Final = {"iterated": "iterated mask path", "learned": "learned masks"}
"""Searches for the nodes, and what each is called in words."""
SearchFor = Callable[..., Search]
"""`iterate` or `learn` without the options that only one of them has."""


@dataclass(frozen=True)
class Selection:
    """Which nodes a circuit has, by exactly one of four rules.

    Attributes:
        nodes: this many of the strongest.
        threshold: those with |mean effect| >= threshold, in units of the metric.
        share: the fewest with at least this share of Σ |mean effect| over all nodes.
        faithful: the fewest with at least this faithfulness, and at most `most`.
        by: `iterated` searches with the mask path (`circuits/selection/iterated.py`) and `learned` with learned masks
            (`circuits/selection/learned.py`), for a number of nodes or a faithfulness; `ranking` takes the first nodes
            of a ranking, which for a faithfulness are measured on the pairs that they were found on
            (`circuits/faithfulness/smallest_faithful.py`). By default `iterated` for a faithfulness, else `ranking`.
        drop: share of the nodes that `iterated` drops in a round; 0.15 by default.
        seed: of the draws of `learned`.
        stable: of the nodes that a search finds, keep those in at least this share of the searches on resampled pairs.

    Raises:
        ValueError: no rule or several, or a value that makes no sense.

    Examples:
        >>> Selection(faithful=0.9, most=200).most
        200
    """

    nodes: int | None = None
    threshold: float | None = None
    share: float | None = None
    faithful: float | None = None
    most: int = 1000
    by: Literal["iterated", "learned", "ranking"] | None = None
    stable: float | None = None
    drop: float | None = None
    seed: int = 0

    @property
    def searches(self) -> bool:
        """Whether the nodes are searched for, not taken from a ranking."""
        return self.by in SEARCHES or (self.by is None and self.faithful is not None)

    @property
    def search_name(self) -> str:
        """What its search is called in words."""
        return SEARCHES[self.by or "iterated"]

    def search(self, weights: Float[np.ndarray, "resample pair"] | None = None, watch: Watch = UNWATCHED) -> SearchFor:
        """The search for the nodes, with its own options. `weights` and `watch` are those of `iterate`."""
        if self.by == "learned":
            return partial(learn, seed=self.seed)
        return partial(iterate, drop=DROP if self.drop is None else self.drop, weights=weights, watch=watch)

    def __post_init__(self) -> None:
        if sum(rule is not None for rule in (self.nodes, self.threshold, self.share, self.faithful)) != 1:
            raise ValueError("Choose nodes by exactly one of: number, threshold, share of effect, faithfulness.")
        for name in ("nodes", "most"):
            number = getattr(self, name)
            if number is not None and type(number) is not int:
                raise ValueError(f"The number of nodes must be a whole number; got {in_brief(number)}.")
        if self.nodes is not None and self.nodes < 1:
            raise ValueError(f"A circuit needs at least 1 node; got {self.nodes}.")
        if self.threshold is not None and not self.threshold > 0:
            raise ValueError(f"The threshold must be positive, in units of the metric; got {self.threshold}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"A share lies above 0 and is at most 1; got {self.share}.")
        if self.faithful is not None and not 0 < self.faithful <= 1:
            raise ValueError(f"The faithfulness aimed at must be positive and at most 1; got {self.faithful}.")
        if self.most < 1:
            raise ValueError(f"At least 1 node must be allowed; got {self.most}.")
        if self.stable is not None and not (self.searches and self.by != "learned" and 0 < self.stable <= 1):
            raise ValueError(
                "Only the iterated search can keep its stable nodes, from a share above 0 and up to 1; "
                f"got {self.stable}."
            )
        if self.by not in (None, *SEARCHES, "ranking"):
            raise ValueError(f"No selection {in_brief(self.by)}. Selections: {', '.join(SEARCHES)}, ranking.")
        if self.drop is not None and (not self.searches or self.by == "learned"):
            raise ValueError("Only the iterated search drops a share of the nodes in a round: choose by='iterated'.")
        if self.drop is not None and not 0 < self.drop < 1:
            raise ValueError(f"The share dropped in a round lies between 0 and 1; got {self.drop}.")
        if self.by in SEARCHES and (self.threshold is not None or self.share is not None):
            raise ValueError("A threshold and a share of effect belong to a ranking: choose by='ranking'.")

    def of(self, ranking: Ranking, question: Question) -> Ranking:
        """The chosen nodes of a ranking. A threshold that no node reaches is a ValueError."""
        if self.faithful is not None:
            return self._faithful(ranking, self.faithful, question)
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

    def _faithful(self, ranking: Ranking, target: float, question: Question) -> Ranking:
        """The first features and errors that are faithful, and the tokens that rank among them; `most` if none are."""
        given = question.spliced, question.pairs, question.metric, ranking
        size = question.room.pairs("exact", 64)
        found = smallest_faithful(*given, target=target, reference=question.reference, batch_size=size)
        wanted = self.most if found is None else min(self.most, found.nodes)
        members = np.cumsum([not isinstance(weighted.node, TokenNode) for weighted in ranking.nodes])
        return ranking.top(int(np.searchsorted(members, wanted)) + 1)
