"""A verdict as versioned JSON, in and out. The same verdict gives the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from graphs.node import ErrorNode, FeatureNode, TokenNode
from graphs.verdict import (
    CHOSEN_BY,
    FLAGS,
    Agreement,
    Cause,
    CrossedGate,
    MissedBound,
    NodeVerdict,
    PathTrace,
    ResidualCurve,
    Verdict,
)

SCHEMA: Final = "jumpwire.verdict"
SCHEMA_VERSION: Final = 1
_CODES: Final = ("example", "site", "position", "kind", "index", "chosen_by")
_COLUMNS: Final = (*_CODES, "estimate", "exact")
_NODE_TYPES: Final = {t.kind: t for t in (FeatureNode, ErrorNode, TokenNode)}


def save_verdict(verdict: Verdict, path: str | Path) -> None:
    """Write the verdict; keys are sorted, floats keep every digit."""
    content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **_plain(verdict)}
    content["columns"] = {name: content.pop(name) for name in _COLUMNS}
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_verdict(path: str | Path) -> Verdict:
    """Read what `save_verdict` wrote, and check it."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a verdict file of jumpwire (no schema {SCHEMA!r}).")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {content.get('schema_version')}; this version of jumpwire reads {SCHEMA_VERSION}."
        )
    try:
        return _verdict({k: v for k, v in content.items() if k not in ("schema", "schema_version")})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _plain(value: Any) -> Any:
    """Dataclasses as objects, arrays and tuples as lists; a node also says its kind."""
    if is_dataclass(value):
        kind = {"kind": value.kind} if isinstance(value, FeatureNode | ErrorNode | TokenNode) else {}
        return kind | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _verdict(content: dict[str, Any]) -> Verdict:
    bound = content.get("bound")
    made = _made(
        Verdict,
        {k: v for k, v in content.items() if k != "columns"} | _columns(content),
        flagged=_node_verdict,
        overall=lambda found: _made(Agreement, found),
        by_site=lambda found: _made(Agreement, found),
        by_encoder=lambda found: _made(Agreement, found),
        bound=lambda found: _made(MissedBound, found) if bound else None,
        residuals=lambda found: _made(ResidualCurve, found),
        traces=lambda found: _made(PathTrace, found, node=_node),
    )
    if made.site.size and not 0 <= made.site.min() <= made.site.max() < len(made.sites):
        raise ValueError("a verified node lies at a site that the verdict does not list.")
    if made.chosen_by.size and not 0 <= made.chosen_by.min() <= made.chosen_by.max() < len(CHOSEN_BY):
        raise ValueError(f"a verified node was chosen in a way that is none of {', '.join(CHOSEN_BY)}.")
    return made


def _columns(content: dict[str, Any]) -> dict[str, np.ndarray]:
    columns = content.get("columns", {})
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"the columns lack {', '.join(missing)}.")
    if len({len(columns[name]) for name in _COLUMNS}) > 1:
        raise ValueError("the columns have different lengths.")
    return {name: np.array(columns[name], dtype=np.int64 if name in _CODES else np.float64) for name in _COLUMNS}


def _made(made: type[Any], content: Any, **readers: Any) -> Any:
    """An object of a dataclass from its fields; lists become tuples, read one by one where there is a reader."""
    known = {f.name for f in fields(made)}
    needed = {f.name for f in fields(made) if f.default is MISSING}
    if wrong := sorted(needed - set(content)):
        raise ValueError(f"a {made.__name__} lacks {', '.join(wrong)}.")
    if wrong := sorted(set(content) - known):
        raise ValueError(f"a {made.__name__} has no {', '.join(wrong)}.")
    values = {}
    for name, value in content.items():
        read = readers.get(name, _tuples)
        values[name] = tuple(map(read, value)) if isinstance(value, list) else read(value)
    return made(**values)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _node(content: dict[str, Any]) -> FeatureNode | ErrorNode | TokenNode:
    kind = content.get("kind")
    if kind not in _NODE_TYPES:
        raise ValueError(f"a node has kind {kind!r}; expected {', '.join(_NODE_TYPES)}.")
    return _made(_NODE_TYPES[kind], {k: v for k, v in content.items() if k != "kind"})


def _node_verdict(content: dict[str, Any]) -> NodeVerdict:
    if content.get("flag") not in FLAGS:
        raise ValueError(f"a node has flag {content.get('flag')!r}; expected {', '.join(FLAGS)}.")
    if unknown := sorted(set(content.get("parts") or {}) - set(get_args(Cause))):
        raise ValueError(f"a node has cause {unknown[0]!r}; expected {', '.join(get_args(Cause))}.")
    return _made(NodeVerdict, content, node=_node, gates=lambda found: _made(CrossedGate, found))
