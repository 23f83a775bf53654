"""What a progress bar says beside the share of work: when it ends, and how many nodes are measured a second."""

import time
from collections import deque
from datetime import datetime, timedelta
from typing import Final, Protocol

from rich.progress import ProgressColumn, Task
from rich.text import Text

WINDOW: Final = 20.0
"""Seconds over which the rate is taken."""


class Counted(Protocol):
    """Work that counts its rows: nodes, each once for every example."""

    @property
    def rows_computed(self) -> int: ...


class EndColumn(ProgressColumn):
    """The time of day at which the work will be done, at the pace so far."""

    def render(self, task: Task) -> Text:
        """Empty until the pace is known."""
        if task.time_remaining is None or task.finished:
            return Text("")
        end = datetime.now() + timedelta(seconds=task.time_remaining)
        day = "" if end.date() == datetime.now().date() else f"{end:%a} "
        return Text(f"ends {day}{end:%H:%M}", style="progress.remaining")


class RateColumn(ProgressColumn):
    """Nodes measured a second, over the last seconds; empty while other work is done."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()
        self.counted = counted
        self.seen: deque[tuple[float, int]] = deque()

    def render(self, task: Task) -> Text:
        """Takes the count as it is when the bar is drawn."""
        rate = self.rate(time.monotonic())
        return Text(f"{rate:,.0f} nodes/s" if rate > 0 else "", style="progress.data.speed")

    def rate(self, now: float) -> float:
        """Rows a second between the first moment within the window and this one."""
        self.seen.append((now, self.counted.rows_computed))
        while len(self.seen) > 1 and self.seen[0][0] < now - WINDOW:
            self.seen.popleft()
        (then, before), (_, rows) = self.seen[0], self.seen[-1]
        return (rows - before) / (now - then) if now > then else 0.0
