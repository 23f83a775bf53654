"""Dataclasses as versioned JSON, in and out. The same value gives the same bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from graphs.nodes import ErrorNode, FeatureNode, MetricNode, TokenNode

_NODES = (FeatureNode, ErrorNode, TokenNode, MetricNode)
_NODE_TYPES = {node_type.kind: node_type for node_type in _NODES}
_Made = TypeVar("_Made")


def write(path: str | Path, schema: str, version: int, content: Mapping[str, Any]) -> None:
    """Write plain data under a schema's name and version; keys are sorted, floats keep every digit."""
    whole = {"schema": schema, "schema_version": version, **content}
    text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read(path: str | Path, schema: str, *versions: int) -> dict[str, Any]:
    """Read what `write` wrote; a file of another schema, or of none of these versions, is a ValueError."""
    kind = schema.removeprefix("jumpwire.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not a {kind} file of jumpwire (no JSON: {error}).") from None
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise ValueError(f"{path}: not a {kind} file of jumpwire (no schema {schema!r}).")
    if (found := content.get("schema_version")) not in versions:
        readable = ", ".join(map(str, versions))
        raise ValueError(f"{path}: schema version {found}; this version of jumpwire reads {readable}.")
    return {k: v for k, v in content.items() if k not in ("schema", "schema_version")}


def plain(value: Any) -> Any:
    """Dataclasses as objects, arrays and tuples as lists; a node also says its kind."""
    if is_dataclass(value):
        kind = {"kind": value.kind} if isinstance(value, _NODES) else {}
        return kind | {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def made(kind: type[_Made], content: dict[str, Any], **readers: Callable[[Any], Any]) -> _Made:
    """The inverse of `plain` for one dataclass; a reader makes a field that is itself a dataclass, or holds some."""
    known = {f.name: f for f in fields(cast(Any, kind))}
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if wrong := sorted(needed - set(content)):
        raise ValueError(f"a {kind.__name__} lacks {', '.join(wrong)}.")
    if wrong := sorted(set(content) - set(known)):
        raise ValueError(f"a {kind.__name__} has no {', '.join(wrong)}.")
    values = {}
    for name, value in content.items():
        reader = readers.get(name, tuples)
        values[name] = tuple(map(reader, value)) if isinstance(value, list) else reader(value)
    return kind(**values)


def tuples(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, list):
        return tuple(map(tuples, value))
    return {k: tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def node(content: dict[str, Any]) -> Any:
    """A node from its fields and its kind."""
    kind = content.get("kind")
    if kind not in _NODE_TYPES:
        raise ValueError(f"a node has kind {kind!r}; expected {', '.join(_NODE_TYPES)}.")
    return made(_NODE_TYPES[kind], {k: v for k, v in content.items() if k != "kind"})
