"""A limit on the time of a stage that can end early: what is finished by then is kept, the rest is left out."""

import time
from collections.abc import Callable
from dataclasses import dataclass


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


NO_LIMIT = TimeLimit()


def never() -> TimeLimit:
    """No limit, for a stage that begins now."""
    return NO_LIMIT


def as_long_as_since(start: float, least: float) -> Callable[[], TimeLimit]:
    """For a stage that begins when this is called: as much time as has passed since `start`, or `least` seconds."""
    return lambda: TimeLimit.after(max(least, time.monotonic() - start))
