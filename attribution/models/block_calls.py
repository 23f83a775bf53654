"""What a whole run passed to one block, kept so that a later run can start at that block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class BlockCall:
    """The arguments of one block besides the hidden state: masks, rotary tables, positions."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def for_rows(self, rows: Int[Tensor, " row"]) -> "BlockCall":
        """The same arguments for chosen rows: batch axes are indexed by `rows`, those of length 1 expanded."""
        return BlockCall(
            tuple(_take_rows(a, rows) for a in self.arguments),
            {k: _take_rows(v, rows) for k, v in self.keywords.items()},
        )


def _take_rows(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor) and value.ndim >= 2:
        return value.expand(len(rows), *value.shape[1:]) if value.shape[0] == 1 else value[rows]
    if isinstance(value, tuple):
        return tuple(_take_rows(v, rows) for v in value)
    return value
