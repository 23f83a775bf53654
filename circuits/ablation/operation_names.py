"""Operations by name: `remove`, `keep-only`, and `set=V`, `add=V`, `scale=V` with a number V."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch

from attribution.splice.edits import KEEP_ONLY, REMOVE, Operation, add, scale, set_to

OPERATIONS: Final = ("remove", "keep-only", "set=V", "add=V", "scale=V")
MAKERS: Final[Mapping[str, Callable[[float], Operation]]] = {"set": set_to, "add": add, "scale": scale}
"""The operations that take a number, by name."""


def parse_operation(text: str) -> Operation:
    """`remove`, `keep-only`, or `set=V`, `add=V`, `scale=V` with a number V."""
    plain = {"remove": REMOVE, "keep-only": KEEP_ONLY}
    if text in plain:
        return plain[text]
    name, _, number = text.partition("=")
    value = finite_number(number)
    if name in MAKERS and value is not None:
        return MAKERS[name](value)
    raise ValueError(f"No operation {text!r}. Choose one of: {', '.join(OPERATIONS)}, with V a number.")


def finite_number(text: str) -> float | None:
    """The number that a text is, if 32 bits hold it; else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= torch.finfo(torch.float32).max else None
