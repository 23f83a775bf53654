"""A verdict as versioned JSON, in and out. The same verdict always gives the same bytes.

The arrays of verified nodes are in `columns`: short ones as lists, long ones packed, which is ten times smaller:

    {"dtype": "<f4", "zlib_base64": "..."}        base64 of zlib of the little-endian values

A packed column has the smallest type that holds each of its values exactly.
"""

import base64
import binascii
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from graphs.cautions import caution_from_plain
from graphs.fields.quantities import MOST
from graphs.fields.type_faults import shortened
from graphs.files.plain_json import read_versioned_json, write_versioned_json
from graphs.plain_data import as_plain_data, dataclass_from_plain, node_from_plain
from graphs.undecided import undecided_from_plain
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
SCHEMA_VERSION: Final = 2
READABLE_VERSIONS: Final = (1, 2)
"""Version 1 has no packed columns."""
LONGEST_LIST: Final = 5_000
"""Columns with more entries are packed."""
MOST_BYTES: Final = 1 << 28
"""Bytes that a packed column may have."""
_CODES: Final = ("example", "site", "position", "kind", "index", "chosen_by")
_COLUMNS: Final = (*_CODES, "estimate", "exact")
_PACKED_TYPES: Final = {np.int64: ("|i1", "<i2", "<i4", "<i8"), np.float64: ("<f4", "<f8")}


def save_verdict(verdict: Verdict, path: str | Path) -> None:
    """Write the verdict as JSON; keys are sorted and floats keep every digit.

    Raises:
        ValueError: an estimate or an exact effect is not finite.
    """
    content = as_plain_data({f.name: getattr(verdict, f.name) for f in fields(verdict) if f.name not in _COLUMNS})
    content["columns"] = {name: _pack_column(getattr(verdict, name)) for name in _COLUMNS}
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, content)


def load_verdict(path: str | Path) -> Verdict:
    """Read and check what `save_verdict` wrote.

    Raises:
        ValueError: the file is not a verdict of jumpwire, or is damaged; the message says where.
    """
    content = read_versioned_json(path, SCHEMA, *READABLE_VERSIONS)
    try:
        return _verdict(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _verdict(content: dict[str, Any]) -> Verdict:
    bound = content.get("bound")
    verdict = dataclass_from_plain(
        Verdict,
        {k: v for k, v in content.items() if k != "columns"} | _columns(content),
        flagged=_node_verdict,
        overall=lambda found: dataclass_from_plain(Agreement, found),
        by_site=lambda found: dataclass_from_plain(Agreement, found),
        by_encoder=lambda found: dataclass_from_plain(Agreement, found),
        bound=lambda found: dataclass_from_plain(MissedBound, found) if bound else None,
        residuals=lambda found: dataclass_from_plain(ResidualCurve, found),
        undecided=undecided_from_plain,
        warnings=caution_from_plain,
        traces=lambda found: dataclass_from_plain(PathTrace, found, node=node_from_plain),
    )
    _check_places(verdict)
    return verdict


def _check_places(verdict: Verdict) -> None:
    """What was verified and flagged lies in the examples, at the sites and among the tokens that there are."""
    if verdict.site.size and not 0 <= verdict.site.min() <= verdict.site.max() < len(verdict.sites):
        raise ValueError("a verified node lies at a site that the verdict does not list.")
    if verdict.kind.size and not 0 <= verdict.kind.min() <= verdict.kind.max() < 3:
        raise ValueError("`kind` of a verified node stands for none of feature, error, token.")
    if verdict.chosen_by.size and not 0 <= verdict.chosen_by.min() <= verdict.chosen_by.max() < len(CHOSEN_BY):
        raise ValueError(f"`chosen_by` of a verified node stands for none of {', '.join(CHOSEN_BY)}.")
    for name, of in (("total_effect", verdict.total_effect), ("tokens", verdict.tokens), ("names", verdict.names)):
        if len(of) not in ((verdict.examples,) if name == "total_effect" else (0, verdict.examples)):
            raise ValueError(f"{name} is that of {len(of)} examples; the verdict is about {verdict.examples}.")
    places = [(one.example, one.node.position) for one in (*verdict.flagged, *verdict.traces, *verdict.undecided)]
    places += zip(verdict.example.tolist(), verdict.position.tolist(), strict=True)
    longest = [len(row) for row in verdict.tokens or verdict.names] or [MOST] * verdict.examples
    for example, position in places:
        if not 0 <= example < verdict.examples:
            raise ValueError(f"a node lies in example {example}; there are {verdict.examples}, from 0.")
        if not 0 <= position < longest[example]:
            raise ValueError(f"a node lies at position {position} of example {example}, which has {longest[example]}.")
    if verdict.index.size and verdict.index.min() < -1:
        raise ValueError("the index of a verified node is below -1, which stands for none.")


def _columns(content: dict[str, Any]) -> dict[str, np.ndarray]:
    columns = content.get("columns")
    if not isinstance(columns, dict):
        raise ValueError("its columns are no object.")
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"the columns lack {', '.join(missing)}.")
    found = {name: _unpack_column(columns[name], np.int64 if name in _CODES else np.float64) for name in _COLUMNS}
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError("the columns have different lengths.")
    return found


def _node_verdict(content: dict[str, Any]) -> NodeVerdict:
    if not isinstance(content, dict):
        raise ValueError(f"a flagged node is an object; found {shortened(content)}.")
    parts = content.get("parts")
    if not isinstance(parts, dict | None):
        raise ValueError(f"the parts of a flagged node are an object; found {shortened(parts)}.")
    if content.get("flag") not in FLAGS:
        raise ValueError(f"a node has flag {shortened(content.get('flag'))}; expected one of {', '.join(FLAGS)}.")
    if unknown := sorted(set(parts or {}) - set(get_args(Cause))):
        raise ValueError(f"a node has cause {unknown[0]!r}; expected one of {', '.join(get_args(Cause))}.")
    return dataclass_from_plain(
        NodeVerdict, content, node=node_from_plain, gates=lambda found: dataclass_from_plain(CrossedGate, found)
    )


def _pack_column(values: np.ndarray) -> Any:
    """A column as JSON holds it: a list, or packed."""
    if not np.isfinite(values).all():
        raise ValueError("Out of range float values are not JSON compliant: a column holds NaN or infinity.")
    if len(values) <= LONGEST_LIST:
        return values.tolist()
    types = _PACKED_TYPES[np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64]
    with np.errstate(over="ignore"):
        packed = next(own for kind in types if ((own := values.astype(kind)) == values).all())
    return {
        "dtype": packed.dtype.newbyteorder("<").str,
        "zlib_base64": base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii"),
    }


def _unpack_column(found: Any, kind: type[np.int64] | type[np.float64]) -> np.ndarray:
    """The inverse of `_pack_column`, as an array of this type."""
    if isinstance(found, list):
        if not all(type(value) is int or (type(value) is float and kind is np.float64) for value in found):
            raise ValueError("a column holds something else than numbers of its kind.")
        try:
            return np.array(found, dtype=kind)
        except OverflowError:
            raise ValueError("a column holds a whole number that 64 bits do not hold.") from None
    packed = isinstance(found, dict) and set(found) == {"dtype", "zlib_base64"}
    if not packed or found["dtype"] not in _PACKED_TYPES[kind]:
        raise ValueError("a column is neither a list nor packed numbers of its kind.")
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(found["zlib_base64"], validate=True), MOST_BYTES)
        if not unpacking.eof:
            raise ValueError(f"it is cut off, or has more than {MOST_BYTES:,} bytes")
        return np.frombuffer(content, dtype=found["dtype"]).astype(kind)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"a packed column is damaged: {error}.") from None
