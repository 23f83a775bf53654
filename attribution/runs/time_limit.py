"""A limit on the time of a stage that can end early: what is finished by then is kept, the rest is left out.

A stage is given a `Limit`, which it calls when it begins.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


class TimeUp(Exception):
    """The time of a stage is over."""


@dataclass(frozen=True)
class TimeLimit:
    """Ends at a moment of the monotonic clock; None: never."""

    end: float | None = None

    @classmethod
    def after(cls, seconds: float) -> "TimeLimit":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def seconds_left(self) -> float:
        """Until the end; 0 after it."""
        return math.inf if self.end is None else max(0.0, self.end - time.monotonic())

    def check(self, needed: float = 0.0) -> None:
        """Raises TimeUp if the time is over, or what comes next needs more seconds than are left."""
        if self.seconds_left <= needed:
            raise TimeUp


NO_LIMIT: Final = TimeLimit()
LEAST: Final = 5.0
"""Seconds that a stage has in any case."""

Limit = Callable[[], TimeLimit]
"""The limit of a stage that begins when this is called."""


def never() -> TimeLimit:
    """No limit."""
    return NO_LIMIT


def as_long_as_since(start: float, budget: float = math.inf) -> Limit:
    """As long as everything since `start` (of the monotonic clock) took, within a budget of seconds for both."""

    def limit() -> TimeLimit:
        spent = time.monotonic() - start
        return TimeLimit.after(max(LEAST, min(spent, budget - spent)))

    return limit
