"""Dataclasses as plain data (dicts, lists, strings, numbers) and back, checked: what every JSON file of ours holds."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

import numpy as np

from graphs.fields.type_faults import TypeFault, named, shortened
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_NODES = (FeatureNode, ErrorNode, TokenNode, MetricNode)
_NODE_TYPES = {node_type.kind: node_type for node_type in _NODES}
_Instance = TypeVar("_Instance")


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
        raise ValueError(f"{named(kind)} is an object; found {shortened(content)}.")
    known = {f.name: f for f in fields(cast(Any, kind))}
    required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if wrong := sorted(required - set(content)):
        raise ValueError(f"{named(kind)} lacks {', '.join(wrong)}.")
    if wrong := sorted(set(content) - set(known)):
        raise ValueError(f"{named(kind)} has no {', '.join(wrong)}.")
    values = {}
    for name, value in content.items():
        reader = readers.get(name, _lists_as_tuples)
        values[name] = tuple(map(reader, value)) if isinstance(value, list) else reader(value)
    _refuse_other_types(kind, values)
    return kind(**values)


def checked(value: _Instance) -> _Instance:
    """A dataclass, if every field of it and of every dataclass in it has the type that it says.

    Whole numbers pass for floats.

    Raises:
        ValueError: as `check_fields`.
    """
    check_fields(type(value), _held(value))
    return value


def check_fields(kind: type, values: Mapping[str, Any]) -> None:
    """Check the values of a dataclass's fields before there is one.

    Raises:
        ValueError: a value of another type, or a number beyond its limits; the message says where: `nodes[3].count`.
    """
    _refuse_other_types(kind, values)
    level = list(values.items())
    while level:
        below: list[tuple[str, Any]] = []
        for where, one in level:
            if is_dataclass(one) and not isinstance(one, type):
                held = _held(one)
                _refuse_other_types(type(one), held, where)
                below += ((f"{where}.{name}", value) for name, value in held.items())
            elif isinstance(one, tuple | list):
                below += ((f"{where}[{number}]", value) for number, value in enumerate(one))
            elif isinstance(one, Mapping):
                below += ((f"{where}.{key}", value) for key, value in one.items())
        level = below


def _held(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _refuse_other_types(kind: type, values: Mapping[str, Any], where: str | None = None) -> None:
    """Refuse the first value of another type; without `where`, a value is one `of a` dataclass of this kind."""
    from pydantic import ValidationError

    checks = _checks(kind)
    for name, value in values.items():
        try:
            checks[name].validate_python(value, strict=True)
        except ValidationError as error:
            fault = TypeFault.of(error, value)
            place = f"{fault.at(name)} of {named(kind)}" if where is None else fault.at(f"{where}.{name}")
            raise ValueError(f"{fault.sentence(place)}.") from None


@cache
def _checks(kind: type) -> "dict[str, TypeAdapter[Any]]":
    """A check of every field of a dataclass."""
    from pydantic import ConfigDict, TypeAdapter

    hints = get_type_hints(kind, include_extras=True)
    config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    return {
        f.name: TypeAdapter(hints[f.name], config=None if is_dataclass(hints[f.name]) else config)
        for f in fields(cast(Any, kind))
    }


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
