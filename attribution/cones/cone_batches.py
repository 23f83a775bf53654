"""Which runs of cones are executed together: as many as pay off and fit.

    cost of a batch in a block = runs · longest length · flops + overhead

A batch executes all its runs at the length of its longest, so that joining runs of unequal lengths saves overhead and
wastes positions. Runs of one row and length stay together. Others join, from the longest to the shortest, as long as
they waste less than the overhead, and until the overhead is a tenth of the batch. A batch that does not fit the memory
is divided.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

BATCH_OVERHEAD: Final = {"cpu": 1e8, "other": 1e10}
"""Cost of one more batch in one block, by device, as the FLOPs that take as long."""
_WORTH_OF_OVERHEAD: Final = 10.0


def batch_overhead(device: torch.device) -> float:
    """See `BATCH_OVERHEAD`."""
    return BATCH_OVERHEAD.get(device.type, BATCH_OVERHEAD["other"])


@dataclass(frozen=True)
class RunPrice:
    """Costs: FLOPs of a block at one position, overhead of a batch in FLOPs, and bytes of a run by its length."""

    flops: float
    overhead: float
    bytes_of_a_run: Callable[[int], int]

    def joins(self, runs: int, longest: int, count: int, length: int) -> bool:
        """Whether `count` runs of a length join a batch of `runs` longer ones, at the length of the longest."""
        wasted = self.flops * count * (longest - length)
        return self.flops * runs * longest < _WORTH_OF_OVERHEAD * self.overhead and wasted < self.overhead


def runs_in_waves(
    row: Int[Tensor, " run"], length: Int[Tensor, " run"], price: RunPrice, bytes_at_once: int
) -> list[list[Int[Tensor, " batch"]]]:
    """Batches of runs, the longest first, in waves of as many runs as would fit if each had length 1."""
    rows = int(row.max()) + 1 if len(row) else 1
    order = torch.argsort(length * rows + row, descending=True, stable=True)
    cells, counts = torch.unique_consecutive((length * rows + row)[order], return_counts=True)
    together = zip((cells // rows).tolist(), counts.tolist(), strict=True)
    most = bytes_at_once // price.bytes_of_a_run(1)
    found: list[list[Tensor]] = []
    for batch in order.split(list(_batch_sizes(together, price, bytes_at_once))):
        if found and sum(map(len, found[-1])) + len(batch) <= most:
            found[-1].append(batch)
        else:
            found.append([batch])
    return found


def _batch_sizes(together: Iterator[tuple[int, int]], price: RunPrice, bytes_at_once: int) -> Iterator[int]:
    """Numbers of runs in the batches, from the length and number of each group of runs that stay together."""
    runs = longest = 0
    for length, count in together:
        if runs > 0 and not price.joins(runs, longest, count, length):
            yield from _equal_parts(runs, longest, price, bytes_at_once)
            runs = 0
        longest, runs = length if runs == 0 else longest, runs + count
    yield from _equal_parts(runs, longest, price, bytes_at_once)


def _equal_parts(runs: int, length: int, price: RunPrice, bytes_at_once: int) -> Iterator[int]:
    """Sizes of equal parts of a batch, as few as fit the memory."""
    parts = max(1, -(-runs * price.bytes_of_a_run(length) // bytes_at_once))
    for part in range(parts):
        if size := (part + 1) * runs // parts - part * runs // parts:
            yield size
