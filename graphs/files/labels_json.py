"""Feature labels as versioned JSON, in and out. The same labels always give the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphs.feature_labels import Context, FeatureLabel, Labels, Writer
from graphs.files.plain_circuit import KnownHashes
from graphs.files.plain_json import read_versioned_json, write_versioned_json
from graphs.files.typed_content import typed
from graphs.nodes import FeatureNode
from graphs.plain_data import as_plain_data, checked

SCHEMA: Final = "jumpwire.labels"
SCHEMA_VERSION: Final = 1


def save_labels(labels: Labels, path: str | Path) -> None:
    """Write the labels as JSON; keys are sorted and floats keep every digit."""
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, plain_labels(labels))


def load_labels(path: str | Path) -> Labels:
    """Read and check what `save_labels` wrote.

    Raises:
        ValueError: the file does not hold labels of jumpwire, or is damaged; the message says where.
    """
    content = read_versioned_json(path, SCHEMA, SCHEMA_VERSION)
    try:
        return labels_from_plain(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_labels(labels: Labels) -> dict[str, Any]:
    """Labels as plain data for JSON."""
    return {
        "corpus": as_plain_data(labels.corpus),
        "tokens": labels.tokens,
        "inputs": as_plain_data(labels.inputs),
        "labels": as_plain_data(labels.labels),
    }


def text_of_row(labels: Labels | None, row: Mapping[str, Any]) -> str | None:
    """The label of the feature that a row of `plain_circuit` is a node of; None without one."""
    if labels is None or row["kind"] != FeatureNode.kind or (row["site"], row["index"]) not in labels:
        return None
    return labels.of(row["site"], row["index"]).text


def labels_from_plain(content: Mapping[str, Any]) -> Labels:
    """The inverse of `plain_labels`, checked; data that do not fit are a ValueError."""
    try:
        labels = tuple(map(_label, content["labels"]))
        found = Labels(labels, content["corpus"], content["tokens"], content["inputs"])
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"a damaged label file ({type(error).__name__}: {error}).") from error
    typed(KnownHashes, content["inputs"])
    return checked(found)


def _label(row: dict[str, Any]) -> FeatureLabel:
    tokens = {name: _weights(row[name]) for name in ("promoted", "suppressed")}
    return FeatureLabel(**{**row, **tokens, "contexts": tuple(map(_context, row["contexts"]))})


def _context(row: dict[str, Any]) -> Context:
    writers = tuple(Writer(**writer) for writer in row["writers"])
    return Context(**{**row, "tokens": tuple(row["tokens"]), "writers": writers})


def _weights(rows: list[list[Any]] | None) -> tuple[tuple[str, float], ...] | None:
    return None if rows is None else tuple((token, weight) for token, weight in rows)
