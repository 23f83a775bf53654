"""Columns of numbers in JSON: short ones as a list, long ones packed, ten times smaller.

    {"dtype": "<f4", "zlib_base64": "..."}        base64 of zlib of the values, little-endian, in the order of the list

A packed column is in the smallest type that holds each of its values exactly.
"""

import base64
import binascii
import zlib
from typing import Any, Final

import numpy as np

LONGEST_LIST: Final = 5_000
_WHOLE: Final = ("|i1", "<i2", "<i4", "<i8")
_REAL: Final = ("<f4", "<f8")
_TYPES: Final = {np.int64: _WHOLE, np.float64: _REAL}


def column(values: np.ndarray) -> Any:
    """A column for JSON; a number that is not finite is a ValueError."""
    if not np.isfinite(values).all():
        raise ValueError("Out of range float values are not JSON compliant: a column holds a number that is no number.")
    if len(values) <= LONGEST_LIST:
        return values.tolist()
    types = _TYPES[np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64]
    with np.errstate(over="ignore"):
        packed = next(own for kind in types if ((own := values.astype(kind)) == values).all())
    return {
        "dtype": packed.dtype.newbyteorder("<").str,
        "zlib_base64": base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode("ascii"),
    }


def values_of(found: Any, kind: type[np.int64] | type[np.float64]) -> np.ndarray:
    """The inverse of `column`, in one type."""
    if isinstance(found, list):
        return np.array(found, dtype=kind)
    if not isinstance(found, dict) or set(found) != {"dtype", "zlib_base64"} or found["dtype"] not in _TYPES[kind]:
        raise ValueError("a column is neither a list nor packed numbers of its kind.")
    try:
        content = zlib.decompress(base64.b64decode(found["zlib_base64"], validate=True))
        return np.frombuffer(content, dtype=found["dtype"]).astype(kind)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"a packed column is damaged: {error}.") from None
