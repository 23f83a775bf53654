"""JSON files that state their schema and version. The same content always gives the same bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text


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
    kind = schema.removeprefix("jumpwire.")
    text = read_text(path)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: not a {kind} file of jumpwire (not valid JSON: {error}).") from None
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise ValueError(f"{path}: not a {kind} file of jumpwire (no schema {schema!r}).")
    if (found := content.get("schema_version")) not in versions:
        readable = ", ".join(map(str, versions))
        raise ValueError(f"{path}: schema version {found}; this version of jumpwire reads {readable}.")
    return {k: v for k, v in content.items() if k not in ("schema", "schema_version")}
