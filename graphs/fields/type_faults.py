"""What pydantic finds wrong with a value, in the words of our errors: where, what is there, and what may be there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]

_WORDS: Final = {
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "a valid dictionary": "an object",
    "a valid mapping": "an object",
    "None": "null",
}
"""How pydantic's words for a type are said of a file."""
_LIMITS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


@dataclass(frozen=True)
class TypeFault:
    """What is wrong at the first place where a value is not of its type.

    Attributes:
        place: keys and indices that lead there.
        found: what is there.
        expected: what may be there, in words; "" where what `place` ends with is missing.
    """

    place: Place
    found: Any
    expected: str

    @classmethod
    def of(cls, error: "ValidationError", value: Any) -> "TypeFault":
        """The first fault of a value that pydantic refused; all that may stand in its place is expected there."""
        faults = error.errors(include_url=False, include_input=False)
        place, found = _at(faults[0]["loc"], value)
        if faults[0]["type"] == "missing":
            return cls((*place, faults[0]["loc"][-1]), None, "")
        here = (fault for fault in faults if _at(fault["loc"], value)[0] == place)
        return cls(place, found, " or ".join(dict.fromkeys(map(_expected, here))))

    def at(self, name: str = "") -> str:
        """The place, from a name for the value, as it is written: `nodes[3].layer`."""
        text = name + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.place)
        return text.removeprefix(".")

    def sentence(self, where: str, described: str | None = None) -> str:
        """The fault, without a full stop; `where` is the place in words, and `described` goes before `expected`."""
        if not self.expected:
            return f"{where} is missing"
        return f"{where} is {shortened(self.found)}; expected {described or self.expected}"


def named(kind: type) -> str:
    """The name of a type with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def shortened(value: Any) -> str:
    """The value as Python writes it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _at(location: Sequence[str | int], value: Any) -> tuple[Place, Any]:
    """The part of pydantic's location that lies in the value, without its names of types; and what is there."""
    place: list[str | int] = []
    for key in location:
        if not _holds(value, key):
            break
        place.append(key)
        value = value[key]
    return tuple(place), value


def _holds(value: Any, key: str | int) -> bool:
    if isinstance(key, str):
        return isinstance(value, Mapping) and key in value
    return isinstance(value, list | tuple) and key < len(value)


def _expected(fault: "ErrorDetails") -> str:
    if fault["type"] in _LIMITS:
        words, name = _LIMITS[fault["type"]]
        limit = fault.get("ctx", {})[name]
        return f"{words} {limit:,}" if isinstance(limit, int) else f"{words} {limit:g}"
    said = fault["msg"].removeprefix("Input should be ").split(" after")[0]
    for kind in ("List", "Tuple"):
        said = said.replace(f"{kind} should have", "a list with")
    return next((words for start, words in _WORDS.items() if said.startswith(start)), said[0].lower() + said[1:])
