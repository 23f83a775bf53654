"""Pack a header of plain data and columns of numbers into one compressed text that a page can hold.

    text = base64(gzip(length of header: uint32, little endian; header: JSON; columns, concatenated))

A column is stored as planes: all first bytes of its little-endian numbers, then all second bytes, and so on, which
compresses better. `script/data.js` unpacks it.
"""

import base64
import gzip
import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

COLUMN_TYPES: Final = ("uint8", "uint16", "uint32", "float32")


def pack_columns(header: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> str:
    """The packed text; the header's entry `columns` is added here. The same content always gives the same text.

    Raises:
        ValueError: a column is not one-dimensional, or its type is not one of `COLUMN_TYPES`.
    """
    described = []
    body = bytearray()
    for name, column in columns.items():
        if column.dtype.name not in COLUMN_TYPES or column.ndim != 1:
            raise ValueError(
                f"Column {name!r} is {column.dtype.name}, {column.ndim}-dimensional; "
                f"expected one dimension of {', '.join(COLUMN_TYPES)}."
            )
        described.append({"name": name, "type": column.dtype.name, "length": len(column)})
        little = column.astype(column.dtype.newbyteorder("<"))
        body += little.view(np.uint8).reshape(len(column), column.dtype.itemsize).T.tobytes()
    text = json.dumps({**header, "columns": described}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    head = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(struct.pack("<I", len(head)) + head + bytes(body), 9, mtime=0)).decode()


def fewer_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 with its mantissa rounded to `bits` bits, at a relative error of at most 2^-(bits+1)."""
    dropped = 23 - bits
    raw = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((raw + (1 << (dropped - 1))) >> dropped) << dropped
    return np.where(np.isfinite(values), rounded, raw).astype(np.uint32).view(np.float32)


def smallest_integers(values: np.ndarray) -> np.ndarray:
    """Non-negative integers in the smallest unsigned type that holds them all."""
    largest = int(values.max()) if len(values) else 0
    fitting = next((t for t in (np.uint8, np.uint16, np.uint32) if largest <= np.iinfo(t).max), None)
    if fitting is None or (len(values) and values.min() < 0):
        raise ValueError(f"Column values must lie between 0 and 2^32 - 1; found {values.min()} to {largest}.")
    return values.astype(fitting)
