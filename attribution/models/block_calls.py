"""What a whole run passed to one block, kept so that a later run can start at that block with other rows.

Which axis of an argument holds the rows is not guessed from its shape: two runs of different batch sizes show it. An
axis may hold several entries a row (ALiBi: rows · heads), those of a row one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from graphs.short_repr import short_repr

RowAxes = Mapping[str, tuple[int, int] | None]
"""Path of an argument -> the axis that holds the rows and its entries a row; None if no axis does."""


@dataclass(frozen=True)
class BlockCall:
    """The arguments of one block besides the hidden state: masks, rotary tables, positions.

    `axes` of arguments that it does not know: the first axis holds the rows, or is 1 long and stands for all.
    """

    __repr__ = short_repr

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    axes: RowAxes | None = None

    def for_rows(self, rows: Int[Tensor, " row"]) -> "BlockCall":
        """The same arguments for chosen rows."""

        def taken(path: str, value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(taken(f"{path}.{i}", v) for i, v in enumerate(value))
            if not isinstance(value, Tensor):
                return value
            if self.axes is not None and path in self.axes:
                held = self.axes[path]
                return value if held is None else _rows_of(value, rows, *held)
            return _rows_of(value, rows, 0, 1) if value.ndim >= 2 else value

        return replace(
            self,
            arguments=tuple(taken(str(i), a) for i, a in enumerate(self.arguments)),
            keywords={k: taken(k, v) for k, v in self.keywords.items()},
        )


def row_axes(few: BlockCall, many: BlockCall, rows: tuple[int, int]) -> RowAxes:
    """The axes that hold the rows, seen in the calls of one block in runs of `rows` prompts of the same length."""
    shapes = [dict(_tensors(call)) for call in (few, many)]
    found: dict[str, tuple[int, int] | None] = {}
    for path, small in shapes[0].items():
        large = shapes[1].get(path)
        if large is None or large.ndim != small.ndim:
            continue
        sizes = list(zip(small.shape, large.shape, strict=True))
        held = [(axis, a // rows[0]) for axis, (a, b) in enumerate(sizes) if a != b and a * rows[1] == b * rows[0]]
        found[path] = held[0] if held else None
    return found


def _rows_of(value: Tensor, rows: Tensor, axis: int, each: int) -> Tensor:
    """The entries of chosen rows along an axis that holds `each` a row; those of one row stand for all rows."""
    if each == 1 and value.shape[axis] == 1:
        return value.expand(*value.shape[:axis], len(rows), *value.shape[axis + 1 :])
    entries = (rows[:, None] * each + torch.arange(each, device=rows.device)).flatten()
    if value.shape[axis] == each:
        entries = entries % each
    return value.index_select(axis, entries)


def _tensors(call: BlockCall) -> Iterator[tuple[str, Tensor]]:
    for path, value in (*((str(i), a) for i, a in enumerate(call.arguments)), *call.keywords.items()):
        yield from _within(path, value)


def _within(path: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, tuple):
        for i, inner in enumerate(value):
            yield from _within(f"{path}.{i}", inner)


def axes_of_blocks(few: Sequence[BlockCall], many: Sequence[BlockCall], rows: tuple[int, int]) -> tuple[RowAxes, ...]:
    """`row_axes` of every block."""
    return tuple(row_axes(a, b, rows) for a, b in zip(few, many, strict=True))
