"""The numbers that every file format and the page can hold: those that a float of 32 bits holds, counts of 32 bits."""

from collections.abc import Mapping
from typing import Any, Final

LARGEST: Final = 3.40282356e38
"""Numbers are at most this large: they round to a finite float of 32 bits."""
MOST: Final = 2**32 - 1
"""Counts and indices lie between 0 and this."""


def range_fault(value: Any) -> str | None:
    """What is wrong with a number, or with one in a mapping, as the end of a sentence; None if nothing is."""
    if isinstance(value, Mapping):
        return next(filter(None, map(range_fault, value.values())), None)
    if isinstance(value, float) and not abs(value) <= LARGEST:
        return f"{value}; expected a finite number that 32 bits hold"
    if isinstance(value, int) and not 0 <= value <= MOST:
        return f"{str(value)[:40]}; expected a whole number from 0 to {MOST:,}"
    return None
