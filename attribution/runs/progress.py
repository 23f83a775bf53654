"""Progress of long work, reported as the share that is done."""

from collections.abc import Callable

Progress = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def silent(_share: float) -> None:
    """Report nothing."""


def progress_between(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of the work that runs from share `start` to share `end` of the whole."""
    return lambda share: progress(start + (end - start) * share)
