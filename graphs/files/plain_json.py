"""JSON from outside: every file and line of JSON is parsed here, and what would break later code is refused at once.

Refused besides what is not JSON: nesting of more than 100 levels, NaN and infinities, numbers too large for a float of
32 bits, which pages hold, integers of more than 38 digits, a key that stands twice in an object, and half of a
surrogate pair, which is no UTF-8.

Our own files also state their schema and version. The same content always gives the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphs.fields.quantities import LARGEST
from graphs.files.text_file import read_text

DEEPEST: Final = 100
"""Levels of nesting; the deepest file of this project has 8."""
_MOST: Final = 10**38
"""Integers are below it in size."""


class JSONFault(json.JSONDecodeError):
    """What is wrong with a text of JSON, in words."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault, "", 0)

    def __str__(self) -> str:
        return self.msg


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises:
        json.JSONDecodeError: a ValueError that says what is wrong.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if "\n" in error.doc else ""  # a line of JSONL is numbered by who reads it
        raise JSONFault(f"{error.msg}: {line}column {error.colno}") from None
    except RecursionError:
        raise JSONFault(_TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise JSONFault(f"not UTF-8: the byte 0x{error.object[error.start]:02x} after {error.start} bytes") from None
    except ValueError as error:  # an integer of thousands of digits
        raise JSONFault(f"a number is too long: {error}") from None
    _check(content)
    return content


_TOO_DEEP: Final = f"it is nested more than {DEEPEST} levels deep"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise JSONFault(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> float:
    raise JSONFault(f"{name} is no number of JSON; a value that is unknown is null")


def _check(content: Any) -> None:
    """Every value, without recursion."""
    level = [content]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
                below += value.keys()
            elif isinstance(value, list):
                below += value
            else:
                _check_plain(value)
        if not below:
            return
        level = below
    raise JSONFault(_TOO_DEEP)


def _check_plain(value: Any) -> None:
    if isinstance(value, float) and not abs(value) <= LARGEST:
        raise JSONFault(f"the number {value:g} is too large for a float of 32 bits")
    if isinstance(value, int) and abs(value) >= _MOST:
        raise JSONFault(f"the whole number {str(value)[:20]}... has more than 38 digits")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise JSONFault(f"the text {value[:40]!r} has half of a surrogate pair ({error.reason})") from None


def write_versioned_json(path: str | Path, schema: str, version: int, content: Mapping[str, Any]) -> None:
    """Write plain data with its schema and version. Keys are sorted and floats keep every digit."""
    whole = {"schema": schema, "schema_version": version, **content}
    text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read_versioned_json(path: str | Path, schema: str, *versions: int) -> dict[str, Any]:
    """Read what `write_versioned_json` wrote, without the schema and the version.

    Raises:
        ValueError: the file is not JSON, has another schema, or a version that is not among `versions`.
    """
    text, kind = read_text(path), schema.removeprefix("jumpwire.")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: not a {kind} file of jumpwire (not valid JSON: {error}).") from None
    return without_version(content, path, schema, *versions)


def without_version(content: Any, path: str | Path, schema: str, *versions: int) -> dict[str, Any]:
    """The content of a file that states its schema and version, without them; errors as of `read_versioned_json`."""
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise ValueError(f"{path}: not a {schema.removeprefix('jumpwire.')} file of jumpwire (no schema {schema!r}).")
    if (found := content.get("schema_version")) not in versions:
        readable = ", ".join(map(str, versions))
        raise ValueError(f"{path}: schema version {found}; this version of jumpwire reads {readable}.")
    return {k: v for k, v in content.items() if k not in ("schema", "schema_version")}
