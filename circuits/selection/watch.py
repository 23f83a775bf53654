"""What is told while a circuit is found: every stage, and of the search its cost and every set on the way."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from circuits.terminal.amounts import time_in_words


@dataclass(frozen=True)
class Round:
    """One set on the way: its size, and F on the training and on the validation pairs (None without any)."""

    size: int
    training: float
    validation: float | None


@dataclass(frozen=True)
class SearchCost:
    """What the rounds of a search cost.

    Attributes:
        nodes: that it starts with.
        prompts, points: run forward and backward in every round: so many prompts at so many points of the path.
        drop: share of the nodes dropped in a round.
        seconds: one round, as measured; less where work of an earlier run is reused.
    """

    nodes: int
    prompts: int
    points: int
    drop: float
    seconds: float

    @property
    def most_rounds(self) -> int:
        """The rounds from all nodes down to one, if each drops no more than its share."""
        return math.ceil(math.log(max(2, self.nodes)) / -math.log(1 - self.drop))

    @property
    def sentence(self) -> str:
        """The cost in words."""
        whole = time_in_words(self.most_rounds * self.seconds)
        return (
            f"Searching among {self.nodes:,} features and errors. Each round runs {self.prompts} prompts forward and "
            f"backward at {self.points} points and drops {self.drop:.0%} or more of them: about {self.seconds:.2g} s "
            f"here. It ends when the task is lost, after at most {self.most_rounds} rounds ({whole})."
        )


class Watch(Protocol):
    """Is told of the work while it runs."""

    def decided(self, sentence: str) -> None:
        """When `auto` has decided what is done within the time; the decision in words."""
        ...

    def foretells(self, seconds: Mapping[str, float]) -> None:
        """Before anything is measured: the seconds that each stage is expected to take, those after it too."""
        ...

    def enters(self, stage: str, seconds: float | None) -> None:
        """When a stage begins, with the seconds that it is expected to take; None where nothing is known.

        `STAGES` of `circuits/discovery/discover.py` has their names.
        """
        ...

    def begins(self, cost: SearchCost) -> None:
        """Before the first round."""
        ...

    def went(self, found: Round) -> None:
        """After every round."""
        ...

    def ended(self) -> None:
        """When the set is found."""
        ...


class Unwatched:
    """Passes over everything; for a watch of its own, which hears some of it."""

    def decided(self, sentence: str) -> None:
        """Nothing."""

    def foretells(self, seconds: Mapping[str, float]) -> None:
        """Nothing."""

    def enters(self, stage: str, seconds: float | None) -> None:
        """Nothing."""

    def begins(self, cost: SearchCost) -> None:
        """Nothing."""

    def went(self, found: Round) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Nothing."""


UNWATCHED: Final[Watch] = Unwatched()
"""Says nothing."""
