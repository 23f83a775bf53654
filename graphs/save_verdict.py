"""A verdict as versioned JSON, in and out. The same verdict gives the same bytes."""

from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

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
SCHEMA_VERSION: Final = 1
_CODES: Final = ("example", "site", "position", "kind", "index", "chosen_by")
_COLUMNS: Final = (*_CODES, "estimate", "exact")


def save_verdict(verdict: Verdict, path: str | Path) -> None:
    """Write the verdict; keys are sorted, floats keep every digit."""
    content = plain(verdict)
    content["columns"] = {name: content.pop(name) for name in _COLUMNS}
    write(path, SCHEMA, SCHEMA_VERSION, content)


def load_verdict(path: str | Path) -> Verdict:
    """Read what `save_verdict` wrote, and check it."""
    content = read(path, SCHEMA, SCHEMA_VERSION)
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
    if len({len(columns[name]) for name in _COLUMNS}) > 1:
        raise ValueError("the columns have different lengths.")
    return {name: np.array(columns[name], dtype=np.int64 if name in _CODES else np.float64) for name in _COLUMNS}


def _node_verdict(content: dict[str, Any]) -> NodeVerdict:
    if content.get("flag") not in FLAGS:
        raise ValueError(f"a node has flag {content.get('flag')!r}; expected {', '.join(FLAGS)}.")
    if unknown := sorted(set(content.get("parts") or {}) - set(get_args(Cause))):
        raise ValueError(f"a node has cause {unknown[0]!r}; expected {', '.join(get_args(Cause))}.")
    return made(NodeVerdict, content, node=node, gates=lambda found: made(CrossedGate, found))
