"""The progress of a command: stage, share done, time left, time of day at the end, and nodes measured per second.

On a terminal a bar; elsewhere, as in a log, a line on stderr for each stage that begins and every 30 seconds.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from circuits.terminal.amounts import time_in_words

WINDOW: Final = 20.0
"""Seconds over which the rate is averaged."""
EVERY: Final = 30.0
"""Seconds between two lines where there is no terminal."""
_FORETOLD: Final = 0.02
"""Share of the work after which the time left is told."""


class CountsRows(Protocol):
    """Work that counts the rows it has computed; a row is one node in one example."""

    @property
    def rows_computed(self) -> int: ...


class Bar(Protocol):
    """Shows progress: call it with the share of the work done, from 0 to 1."""

    def __call__(self, share: float) -> None: ...

    def enters(self, stage: str) -> None:
        """Shows that a stage begins."""
        ...

    def says(self, detail: str) -> None:
        """Shows how far the stage is, in words."""
        ...


@dataclass(frozen=True)
class BarOnScreen:
    """A bar on a terminal."""

    progress: Progress
    task: TaskID
    label: str

    def __call__(self, share: float) -> None:
        self.progress.update(self.task, completed=share)

    def enters(self, stage: str) -> None:
        self.says(f"{self.label}: {stage}")

    def says(self, detail: str) -> None:
        self.progress.update(self.task, description=detail or self.label)


class BarInLines:
    """Lines for a log, from a thread that prints one every `EVERY` seconds, however long a stage is silent."""

    def __init__(self, label: str) -> None:
        self.label, self.stage, self.detail, self.share = label, "", "", 0.0
        self.console, self.start, self.over = Console(stderr=True), time.monotonic(), threading.Event()

    def __call__(self, share: float) -> None:
        self.share = share

    def enters(self, stage: str) -> None:
        self.stage, self.detail = stage, ""
        self.write()

    def says(self, detail: str) -> None:
        self.detail = detail

    def write(self) -> None:
        """One line: what is being done, the share done, the time so far and about how long the rest takes."""
        spent = time.monotonic() - self.start
        what = ": ".join(filter(None, (self.label, self.detail or self.stage)))
        left = "" if self.share < _FORETOLD else f", {time_in_words(spent * (1 / self.share - 1))} left"
        self.console.print(Text(f"{what}: {self.share:.0%}, {time_in_words(spent)} so far{left}"), soft_wrap=True)

    def run(self) -> None:
        """Write until it is over."""
        while not self.over.wait(EVERY):
            self.write()


@contextmanager
def progress_bar(console: Console, label: str, counter: CountsRows | None = None) -> Iterator[Bar]:
    """Shows the progress while the block runs."""
    if not console.is_terminal:
        lines = BarInLines(label)
        thread = threading.Thread(target=lines.run, daemon=True)
        thread.start()
        try:
            yield lines
        finally:
            lines.over.set()
            thread.join()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        EndColumn(),
        *(() if counter is None else (RateColumn(counter),)),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield BarOnScreen(progress, progress.add_task(label, total=1.0), label)


class EndColumn(ProgressColumn):
    """The time of day at which the work will end at its present pace."""

    def render(self, task: Task) -> Text:
        """Empty until the pace is known."""
        if task.time_remaining is None or task.finished:
            return Text("")
        end = datetime.now() + timedelta(seconds=task.time_remaining)
        day = "" if end.date() == datetime.now().date() else f"{end:%a} "
        return Text(f"ends {day}{end:%H:%M}", style="progress.remaining")


class RateColumn(ProgressColumn):
    """Nodes measured per second over the last `WINDOW` seconds; empty while no nodes are being measured."""

    def __init__(self, counter: CountsRows) -> None:
        super().__init__()
        self.counter = counter
        self.seen: deque[tuple[float, int]] = deque()

    def render(self, task: Task) -> Text:
        """The rate at the moment the bar is drawn."""
        rate = self.rate(time.monotonic())
        return Text(f"{rate:,.0f} nodes/s" if rate > 0 else "", style="progress.data.speed")

    def rate(self, now: float) -> float:
        """Rows per second since the oldest sample within the window; also records the count at time `now`."""
        self.seen.append((now, self.counter.rows_computed))
        while len(self.seen) > 1 and self.seen[0][0] < now - WINDOW:
            self.seen.popleft()
        (then, before), (_, rows) = self.seen[0], self.seen[-1]
        return (rows - before) / (now - then) if now > then else 0.0
