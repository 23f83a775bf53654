"""The numbers that there can be: types of fields with their limits, which are checked where a file is read.

A sum of shares may pass 1, and a correlation ±1, by rounding.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final

from annotated_types import Ge, Interval

from graphs.fields.type_faults import named

LARGEST: Final = 3.40282356e38
"""Numbers in files and pages are at most this large: they round to a finite float of 32 bits."""
MOST: Final = 2**32 - 1
"""Counts and indices in files and pages lie between 0 and this."""
_ROUNDING: Final = 1e-6

Count = Annotated[int, Interval(ge=0, le=MOST)]
"""How many there are; also an index or a layer."""
Number = Annotated[int, Interval(ge=1, le=MOST)]
"""As a count, but at least one."""
Magnitude = Annotated[float, Ge(0)]
"""A size, a norm or a standard error."""
Share = Annotated[float, Interval(ge=0, le=1 + _ROUNDING)]
"""A part of a whole, or a probability."""
Correlation = Annotated[float, Interval(ge=-1 - _ROUNDING, le=1 + _ROUNDING)]
"""A correlation or a cosine."""


def range_fault(value: Any) -> str | None:
    """What is wrong with a number, or with one in a mapping, as the end of a sentence; None if nothing is."""
    if isinstance(value, Mapping):
        return next(filter(None, map(range_fault, value.values())), None)
    if isinstance(value, float) and not abs(value) <= LARGEST:
        return f"{value}; expected a finite number that 32 bits hold"
    if isinstance(value, int) and not 0 <= value <= MOST:
        return f"{str(value)[:40]}; expected a whole number from 0 to {MOST:,}"
    return None


def check_lengths(of: object, *names: str) -> None:
    """A ValueError if the fields with these names are of different lengths."""
    lengths = {name: len(getattr(of, name)) for name in names}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{named(type(of))} has columns of different lengths: {said}.")


def check_rising(of: object, name: str) -> None:
    """A ValueError if the numbers in the field with this name do not rise."""
    if any(a >= b for a, b in pairwise(getattr(of, name))):
        raise ValueError(f"{named(type(of))} has {name} that do not rise.")


def check_parts(whole: object, *names: str) -> None:
    """A ValueError if a field, of those named, is larger than the next: a part is no larger than its whole."""
    for part, of in pairwise(names):
        if getattr(whole, part) > getattr(whole, of):
            raise ValueError(
                f"{named(type(whole))} has {part} {getattr(whole, part)}, more than {of} {getattr(whole, of)}."
            )
