"""Progress of long work: the share that is done, and the stage that it is in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

Progress = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def silent(_share: float) -> None:
    """Report nothing."""


def progress_between(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of the work that runs from share `start` to share `end` of the whole."""
    return lambda share: progress(start + (end - start) * share)


def unnoticed(_stage: str, _seconds: float | None) -> None:
    """Pass over a stage's name."""


@dataclass(frozen=True)
class Stages:
    """Progress of work in stages, each with a name.

    Attributes:
        progress: told the share of the whole work that is done.
        enters: told the name of a stage when it begins, and the seconds that it is expected to take, if they are known.
        names: of all stages, in their order.
        expected: seconds that stages are expected to take. Each gets its share of the whole; those that are not
            expected to take any time get none. Without any, all get the same.
    """

    progress: Progress = silent
    enters: Callable[[str, float | None], None] = unnoticed
    names: tuple[str, ...] = ()
    expected: Mapping[str, float] = field(default_factory=dict)

    def stage(self, name: str, times: float = 1.0) -> Progress:
        """Begin a stage, which will take so many times what was expected; returns its own progress."""
        self.enters(name, times * self.expected[name] if name in self.expected else None)
        sizes = [self.expected.get(own, 0.0) for own in self.names] if self.expected else [1.0] * len(self.names)
        ends = [0.0, *accumulate(sizes)]
        place, whole = self.names.index(name), ends[-1]
        return progress_between(self.progress, ends[place] / whole, ends[place + 1] / whole)
