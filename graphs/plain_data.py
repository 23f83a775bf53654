"""Dataclasses as plain data (dicts, lists, strings, numbers) and back, checked: what every JSON file of ours holds."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_type_hints

import numpy as np

from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LARGEST: Final = 3.40282356e38
"""Numbers in files and pages are at most this large: they round to a finite float of 32 bits."""
MOST: Final = 2**32 - 1
"""Counts and indices in files and pages lie between 0 and this."""

_NODES = (FeatureNode, ErrorNode, TokenNode, MetricNode)
_NODE_TYPES = {node_type.kind: node_type for node_type in _NODES}
_Instance = TypeVar("_Instance")


def range_fault(value: Any) -> str | None:
    """What is wrong with a number, or with one in a mapping, as the end of a sentence; None if nothing is."""
    if isinstance(value, Mapping):
        return next(filter(None, map(range_fault, value.values())), None)
    if isinstance(value, float) and not abs(value) <= LARGEST:
        return f"{value}; expected a finite number that 32 bits hold"
    if isinstance(value, int) and not 0 <= value <= MOST:
        return f"{str(value)[:40]}; expected a whole number from 0 to {MOST:,}"
    return None


def as_plain_data(value: Any) -> Any:
    """Dataclasses become dicts of their fields, arrays and tuples become lists; a node also states its `kind`.

    Half of a surrogate pair, which no file can hold, becomes a question mark.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if is_dataclass(value):
        kind = {"kind": value.kind} if isinstance(value, _NODES) else {}
        return kind | {f.name: as_plain_data(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: as_plain_data(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain_data(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def dataclass_from_plain(
    kind: type[_Instance], content: Mapping[str, Any], **readers: Callable[[Any], Any]
) -> _Instance:
    """The inverse of `as_plain_data` for one dataclass.

    Args:
        kind: the dataclass to build.
        content: its fields by name.
        readers: for each field that is a dataclass, or a list of them, the function that builds one.

    Raises:
        ValueError: a field is missing, unknown, or of another type than the dataclass says.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a {kind.__name__} is an object; found {shortened(content)}.")
    known = {f.name: f for f in fields(cast(Any, kind))}
    required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if wrong := sorted(required - set(content)):
        raise ValueError(f"a {kind.__name__} lacks {', '.join(wrong)}.")
    if wrong := sorted(set(content) - set(known)):
        raise ValueError(f"a {kind.__name__} has no {', '.join(wrong)}.")
    values = {}
    for name, value in content.items():
        reader = readers.get(name, _lists_as_tuples)
        values[name] = tuple(map(reader, value)) if isinstance(value, list) else reader(value)
    _refuse_other_types(kind, values)
    return kind(**values)


def checked(value: _Instance) -> _Instance:
    """The value, if every field of every dataclass in it has the type that it says; whole numbers pass for floats.

    Raises:
        ValueError: a field of another type, or a number that is not finite; the message names it.
    """
    level: list[Any] = [value]
    while level:
        below: list[Any] = []
        for one in level:
            if is_dataclass(one) and not isinstance(one, type):
                held = {f.name: getattr(one, f.name) for f in fields(one)}
                _refuse_other_types(type(one), held)
                below += held.values()
            elif isinstance(one, tuple | list):
                below += one
            elif isinstance(one, Mapping):
                below += one.values()
        level = below
    return value


def _refuse_other_types(kind: type, values: Mapping[str, Any]) -> None:
    from pydantic import ValidationError

    checks = _checks(kind)
    for name, value in values.items():
        try:
            checks[name].validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            expected = first["msg"].removeprefix("Input ").lower()
            raise ValueError(f"{name} of a {kind.__name__} {expected}; found {shortened(value)}.") from None


@cache
def _checks(kind: type) -> "dict[str, TypeAdapter[Any]]":
    """A check of every field of a dataclass."""
    from pydantic import ConfigDict, TypeAdapter

    hints = get_type_hints(kind)
    config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    return {
        f.name: TypeAdapter(hints[f.name], config=None if is_dataclass(hints[f.name]) else config)
        for f in fields(cast(Any, kind))
    }


def shortened(value: Any) -> str:
    """The value as Python writes it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def node_from_plain(content: Mapping[str, Any]) -> Node:
    """A node from its kind and its fields; an unknown kind is a ValueError."""
    if not isinstance(content, Mapping):
        raise ValueError(f"a node is an object; found {shortened(content)}.")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _NODE_TYPES:
        raise ValueError(f"a node has kind {shortened(kind)}; expected one of {', '.join(_NODE_TYPES)}.")
    return dataclass_from_plain(_NODE_TYPES[kind], {k: v for k, v in content.items() if k != "kind"})


def _lists_as_tuples(value: Any) -> Any:
    """Lists become tuples at every depth."""
    if isinstance(value, list):
        return tuple(map(_lists_as_tuples, value))
    return {k: _lists_as_tuples(v) for k, v in value.items()} if isinstance(value, dict) else value
