"""Labels as versioned JSON, in and out. The same labels give the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from graphs.feature_labels import Context, FeatureLabel, Labels, Writer

SCHEMA: Final = "jumpwire.labels"
SCHEMA_VERSION: Final = 1


def save_labels(labels: Labels, path: str | Path) -> None:
    """Write the labels; keys are sorted, floats keep every digit."""
    content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **plain_labels(labels)}
    # ASCII: a label may hold anything, half a surrogate pair included.
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_labels(path: str | Path) -> Labels:
    """Read what `save_labels` wrote, and check it."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a label file of jumpwire (no schema {SCHEMA!r}).")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {content.get('schema_version')}; this version of jumpwire reads {SCHEMA_VERSION}."
        )
    try:
        return labels_from(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_labels(labels: Labels) -> dict[str, Any]:
    """Labels as plain data for JSON."""
    return {
        "corpus": labels.corpus,
        "tokens": labels.tokens,
        "inputs": dict(labels.inputs),
        "labels": [asdict(label) for label in labels],
    }


def labels_from(content: Mapping[str, Any]) -> Labels:
    """The inverse of `plain_labels`, checked."""
    try:
        labels = tuple(map(_label, content["labels"]))
        return Labels(labels, content["corpus"], content["tokens"], content["inputs"])
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"a damaged label file ({type(error).__name__}: {error}).") from error


def _label(row: dict[str, Any]) -> FeatureLabel:
    tokens = {name: _weights(row[name]) for name in ("promoted", "suppressed")}
    return FeatureLabel(**{**row, **tokens, "contexts": tuple(map(_context, row["contexts"]))})


def _context(row: dict[str, Any]) -> Context:
    writers = tuple(Writer(**writer) for writer in row["writers"])
    return Context(**{**row, "tokens": tuple(row["tokens"]), "writers": writers})


def _weights(rows: list[list[Any]] | None) -> tuple[tuple[str, float], ...] | None:
    return None if rows is None else tuple((token, weight) for token, weight in rows)
