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

    def check(self) -> None:
        """Raises TimeUp if the time is over."""
        if self.end is not None and time.monotonic() >= self.end:
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
