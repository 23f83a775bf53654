"""The window of patched runs: the last positions of their rows that reach the metric, from the earliest patched one on.

A patch changes its own position and later ones only. A window is counted from the last position that is read of each
row, so that runs patched at different positions of rows of different lengths fit into one batch.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

RowsAndPositions = tuple[Int[Tensor, "..."], Int[Tensor, "..."]]
"""Rows and positions that index the clean run's activations."""

_NOWHERE: Final = 2**40
"""A position after all others, which no query sees."""


@dataclass(frozen=True)
class Window:
    """The last positions of the row of each run.

    `here[n, j]` is a position of row `row[n]`, negative before the row begins. Runs of one row share one window, whose
    first axis then has length 1.
    """

    row: Int[Tensor, "runs 1"]
    here: Int[Tensor, "runs pos"]

    def of(self, values: Float[Tensor, "row pos *rest"]) -> Float[Tensor, "runs here *rest"]:
        """The clean run's values in the window."""
        return values[self.row, self.here.clamp(0, values.shape[1] - 1)]

    def for_each(self, values: Float[Tensor, "row pos *rest"], runs: int) -> Float[Tensor, "run here *rest"]:
        """A copy of the clean run's values in the window for every run, to write into."""
        found = self.of(values)
        return found if len(found) == runs else found.expand(runs, *found.shape[1:]).clone()

    def at(self, read: Int[Tensor, "run read"]) -> "Window":
        """The window of some positions of each run alone; one before the window begins stands for its first."""
        read = read[: len(self.here)]
        return Window(self.row, torch.maximum(read, self.here[:, :1].clamp(min=0)))

    def places_of(self, wanted: "Window", values: Float[Tensor, "run here *rest"]) -> Float[Tensor, "run wanted *rest"]:
        """The values at the positions of a window within this one."""
        place = (wanted.here - self.here[:, :1]).expand(len(values), -1)
        return values[torch.arange(len(values), device=values.device)[:, None], place]

    def before(self) -> "Window":
        """All positions before the window.

        Rows have different numbers of them; the shorter ones are filled up with a position that no query sees.
        """
        first = self.here[:, :1].clamp(min=0)
        every = torch.arange(int(first.max()), device=first.device)
        return Window(self.row, torch.where(every < first, every, _NOWHERE))
