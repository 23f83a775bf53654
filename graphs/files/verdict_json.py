"""A verdict as versioned JSON, in and out. The same verdict gives the same bytes."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from graphs.files.packed_columns import column, values_of
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
from graphs.versioned_json import made, node, plain, read, write

SCHEMA: Final = "jumpwire.verdict"
SCHEMA_VERSION: Final = 2
READABLE: Final = (1, 2)
"""Version 1 has no packed columns."""
_CODES: Final = ("example", "site", "position", "kind", "index", "chosen_by")
_COLUMNS: Final = (*_CODES, "estimate", "exact")


def save_verdict(verdict: Verdict, path: str | Path) -> None:
    """Write the verdict; keys are sorted, floats keep every digit."""
    content = plain({f.name: getattr(verdict, f.name) for f in fields(verdict) if f.name not in _COLUMNS})
    content["columns"] = {name: column(getattr(verdict, name)) for name in _COLUMNS}
    write(path, SCHEMA, SCHEMA_VERSION, content)


def load_verdict(path: str | Path) -> Verdict:
    """Read what `save_verdict` wrote, and check it."""
    content = read(path, SCHEMA, *READABLE)
    try:
        return _verdict(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _verdict(content: dict[str, Any]) -> Verdict:
    bound = content.get("bound")
    verdict = made(
        Verdict,
        {k: v for k, v in content.items() if k != "columns"} | _columns(content),
        flagged=_node_verdict,
        overall=lambda found: made(Agreement, found),
        by_site=lambda found: made(Agreement, found),
        by_encoder=lambda found: made(Agreement, found),
        bound=lambda found: made(MissedBound, found) if bound else None,
        residuals=lambda found: made(ResidualCurve, found),
        traces=lambda found: made(PathTrace, found, node=node),
    )
    if verdict.site.size and not 0 <= verdict.site.min() <= verdict.site.max() < len(verdict.sites):
        raise ValueError("a verified node lies at a site that the verdict does not list.")
    if verdict.chosen_by.size and not 0 <= verdict.chosen_by.min() <= verdict.chosen_by.max() < len(CHOSEN_BY):
        raise ValueError(f"a verified node was chosen in a way that is none of {', '.join(CHOSEN_BY)}.")
    return verdict


def _columns(content: dict[str, Any]) -> dict[str, np.ndarray]:
    columns = content.get("columns", {})
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"the columns lack {', '.join(missing)}.")
    found = {name: values_of(columns[name], np.int64 if name in _CODES else np.float64) for name in _COLUMNS}
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError("the columns have different lengths.")
    return found


def _node_verdict(content: dict[str, Any]) -> NodeVerdict:
    if content.get("flag") not in FLAGS:
        raise ValueError(f"a node has flag {content.get('flag')!r}; expected {', '.join(FLAGS)}.")
    if unknown := sorted(set(content.get("parts") or {}) - set(get_args(Cause))):
        raise ValueError(f"a node has cause {unknown[0]!r}; expected {', '.join(get_args(Cause))}.")
    return made(NodeVerdict, content, node=node, gates=lambda found: made(CrossedGate, found))
