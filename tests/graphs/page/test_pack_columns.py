"""Packed columns come back bit for bit; what they cannot hold is refused."""

import base64
import gzip
import json
import struct
from typing import Any

import numpy as np
import pytest

from graphs.page.pack_columns import COLUMN_TYPES, fewer_bits, pack_columns, smallest_integers


def unpacked(text: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The plain inverse of `pack`, as its formula says it."""
    raw = gzip.decompress(base64.b64decode(text))
    (length,) = struct.unpack("<I", raw[:4])
    header = json.loads(raw[4 : 4 + length])
    columns, start = {}, 4 + length
    for column in header["columns"]:
        size = np.dtype(column["type"]).itemsize
        planes = np.frombuffer(raw, np.uint8, size * column["length"], start).reshape(size, column["length"])
        columns[column["name"]] = np.frombuffer(planes.T.tobytes(), np.dtype(column["type"]).newbyteorder("<"))
        start += size * column["length"]
    assert start == len(raw)
    return header, columns


@pytest.mark.parametrize("kind", COLUMN_TYPES)
def test_packed_columns_come_back_bit_for_bit(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, 4 * 100).astype(np.uint8).view(kind)
    _, columns = unpacked(pack_columns({}, {"first": values, "empty": values[:0]}))
    assert columns["first"].tobytes() == values.tobytes()
    assert len(columns["empty"]) == 0


def test_the_header_comes_back_and_the_same_content_is_the_same_text() -> None:
    header = {"title": "β </script> 🧭", "nested": {"list": [1, None]}}
    text = pack_columns(header, {"a": np.array([1.5], np.float32)})
    assert text == pack_columns(header, {"a": np.array([1.5], np.float32)})
    found, _ = unpacked(text)
    assert {k: v for k, v in found.items() if k != "columns"} == header


@pytest.mark.parametrize("column", [np.array([1.0]), np.array([1]), np.zeros((2, 2), np.float32)])
def test_columns_of_another_type_or_shape_are_refused(column: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Column 'x' is .*expected"):
        pack_columns({}, {"x": column})


def test_a_header_with_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack_columns({"x": float("nan")}, {})


@pytest.mark.parametrize("bits", [4, 11])
def test_fewer_bits_err_by_no_more_than_they_promise(bits: int) -> None:
    random = np.random.default_rng(1)
    values = (random.standard_normal(20_000) * 10.0 ** random.integers(-30, 30, 20_000)).astype(np.float32)
    error = np.abs(fewer_bits(values, bits).astype(float) / values - 1)
    assert error.max() <= 2.0 ** -(bits + 1)
    assert error.max() > 2.0 ** -(bits + 3), "nothing was rounded"
    assert not np.any(fewer_bits(values, bits).view(np.uint32) & ((1 << (23 - bits)) - 1))


def test_fewer_bits_keep_what_has_no_mantissa_to_round() -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, 1.0, -2.0], np.float32)
    assert fewer_bits(values, 7).tobytes() == values.tobytes()
    assert np.isnan(fewer_bits(np.array([np.nan], np.float32), 7)).all()


@pytest.mark.parametrize(
    ("largest", "kind"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65536, "uint32"), (2**32 - 1, "uint32")]
)
def test_integers_take_the_smallest_type_that_holds_them(largest: int, kind: str) -> None:
    found = smallest_integers(np.array([0, largest]))
    assert found.dtype.name == kind
    assert found.tolist() == [0, largest]


@pytest.mark.parametrize("value", [-1, 2**32])
def test_integers_that_no_type_holds_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match=r"must lie between 0 and 2\^32 - 1"):
        smallest_integers(np.array([value]))
