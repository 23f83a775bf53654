"""The progress bar of a command: share done, time left, time of day at the end, and nodes measured per second."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

WINDOW: Final = 20.0
"""Seconds over which the rate is averaged."""


class CountsRows(Protocol):
    """Work that counts the rows it has computed; a row is one node in one example."""

    @property
    def rows_computed(self) -> int: ...


@dataclass(frozen=True)
class Bar:
    """A bar on the screen: call it with the share of the work done, from 0 to 1."""

    progress: Progress
    task: TaskID

    def __call__(self, share: float) -> None:
        self.progress.update(self.task, completed=share)

    def says(self, label: str) -> None:
        """Shows another label."""
        self.progress.update(self.task, description=label)


@contextmanager
def progress_bar(console: Console, label: str, counter: CountsRows | None = None) -> Iterator[Bar]:
    """Shows a bar while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        EndColumn(),
        *(() if counter is None else (RateColumn(counter),)),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, progress.add_task(label, total=1.0))


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
