"""Progress of long work: the share that is done, and the stage that it is in."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def silent(_share: float) -> None:
    """Report nothing."""


def progress_between(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of the work that runs from share `start` to share `end` of the whole."""
    return lambda share: progress(start + (end - start) * share)


def unnoticed(_stage: str) -> None:
    """Pass over a stage's name."""


@dataclass(frozen=True)
class Stages:
    """Progress of work in stages, each with a name.

    Attributes:
        progress: told the share of the whole work that is done.
        enters: told the name of a stage when it begins.
    """

    progress: Progress = silent
    enters: Callable[[str], None] = unnoticed

    def stage(self, name: str, start: float, end: float) -> Progress:
        """Begin the stage that runs from share `start` to share `end` of the whole; returns its own progress."""
        self.enters(name)
        return progress_between(self.progress, start, end)

    def between(self, start: float, end: float) -> "Stages":
        """The stages of a part of the work that runs from share `start` to share `end` of the whole."""
        return Stages(progress_between(self.progress, start, end), self.enters)
