"""Short texts for values that hold much: sizes, shapes and counts in place of contents.

    Recording(ids=int64[2, 7], last=int64[2], ..., sites=<dict of 12>, ...)

A type says `__repr__ = short_repr`, or writes a sentence of its own.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import Any, Final

LONGEST: Final = 400
"""Characters of a value's text."""
_LONGEST_PART: Final = 70
_FEW: Final = 6


def short_repr(self: Any) -> str:
    """The name of a dataclass and its fields, each in a few words."""
    shown = (f"{field.name}={in_brief(getattr(self, field.name))}" for field in fields(self) if field.repr)
    return cut(f"{type(self).__name__}({', '.join(shown)})")


def in_brief(value: Any) -> str:
    """One value in at most some seventy characters: of arrays and tensors dtype and shape, of collections the size."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, str):
        return cut(repr(value), _LONGEST_PART)
    if isinstance(value, Mapping | Sequence | Set):
        return repr(value) if len(value) <= _FEW and _plain(value) else f"<{type(value).__name__} of {len(value):,}>"
    return cut(repr(value), _LONGEST_PART)


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, with an ellipsis before its last character where it is too long."""
    return text if len(text) <= longest else f"{text[: longest - 2]}…{text[-1]}"


def _plain(values: Mapping[Any, Any] | Sequence[Any] | Set[Any]) -> bool:
    entries = (*values.keys(), *values.values()) if isinstance(values, Mapping) else values
    return all(v is None or isinstance(v, int | float) or (isinstance(v, str) and len(v) <= 12) for v in entries)
