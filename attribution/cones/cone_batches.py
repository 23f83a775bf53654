"""Which runs of cones are executed together: as many as pay off and fit.

    a run of length n costs n · flops in a block        a batch costs `overhead` more, however many runs it has

A batch executes all its runs at the length of its longest. Runs of one row and length stay together. Others join, from
the longest to the shortest, until overhead is a tenth of the batch, and while what they waste is less than overhead.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

OVERHEAD: Final = {"cpu": 1e8, "other": 1e10}
"""FLOPs that take as long as to begin another batch in one block, by device."""
_ENOUGH: Final = 10.0


def overhead(device: torch.device) -> float:
    """See `OVERHEAD`."""
    return OVERHEAD.get(device.type, OVERHEAD["other"])


@dataclass(frozen=True)
class Price:
    """What runs cost: FLOPs of a block at one position, FLOPs worth a batch, and bytes of a run by its length."""

    flops: float
    overhead: float
    bytes_of_a_run: Callable[[int], int]

    def joins(self, runs: int, longest: int, count: int, length: int) -> bool:
        """Whether `count` runs of a length are executed with `runs` that are longer, as if they were as long."""
        wasted = self.flops * count * (longest - length)
        return self.flops * runs * longest < _ENOUGH * self.overhead and wasted < self.overhead


def waves(
    row: Int[Tensor, " run"], length: Int[Tensor, " run"], price: Price, bytes_at_once: int
) -> list[list[Int[Tensor, " batch"]]]:
    """Batches of runs, the longest first, in lists of as many runs as fit when each has length 1."""
    rows = int(row.max()) + 1 if len(row) else 1
    order = torch.argsort(length * rows + row, descending=True, stable=True)
    cells, counts = torch.unique_consecutive((length * rows + row)[order], return_counts=True)
    together = zip((cells // rows).tolist(), counts.tolist(), strict=True)
    most = bytes_at_once // price.bytes_of_a_run(1)
    found: list[list[Tensor]] = []
    for batch in order.split(list(_sizes(together, price, bytes_at_once))):
        if found and sum(map(len, found[-1])) + len(batch) <= most:
            found[-1].append(batch)
        else:
            found.append([batch])
    return found


def _sizes(together: Iterator[tuple[int, int]], price: Price, bytes_at_once: int) -> Iterator[int]:
    """Of batches, from the length and the number of runs that stay together."""
    runs = longest = 0
    for length, count in together:
        if runs > 0 and not price.joins(runs, longest, count, length):
            yield from _parts(runs, longest, price, bytes_at_once)
            runs = 0
        longest, runs = length if runs == 0 else longest, runs + count
    yield from _parts(runs, longest, price, bytes_at_once)


def _parts(runs: int, length: int, price: Price, bytes_at_once: int) -> Iterator[int]:
    """Equal ones, that fit."""
    parts = max(1, -(-runs * price.bytes_of_a_run(length) // bytes_at_once))
    for part in range(parts):
        if size := (part + 1) * runs // parts - part * runs // parts:
            yield size
