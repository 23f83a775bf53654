"""One chunk of finished work as a file: named arrays that are read back bit for bit, or not at all.

    line 1    JSON: what the file is, its format, the key it was made for, and the sha256 of the rest
    the rest  the arrays, as numpy's npz without pickle

A file is written beside its place, flushed to disk and then moved there, so it is either whole or absent.
A file that is torn, changed or made for another key is not read.

The arrays of a chunk by name:

    nodes.<column>                         the columns of `Effects`
    clean_metric, total_effect, residual   one number for each pair
    beside.<batch>.<name>                  what a method found in a batch besides effects

Examples are counted from the chunk's first pair, so a chunk does not depend on where its pairs stand among all pairs.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from graphs.files.plain_json import parse_json
from graphs.files.whole_file import whole_file

CHUNK_FORMAT: Final = 1
_FILE_KIND: Final = "jumpwire chunk"

Arrays = Mapping[str, np.ndarray]
NODES_PREFIX: Final = "nodes."
BESIDE_PREFIX: Final = "beside."


def write_chunk(path: Path, key: str, arrays: Arrays) -> None:
    """Write the file of a chunk. Other processes may write the same file at the same time.

    Raises:
        UnwritableError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    about = {"what": _FILE_KIND, "format": CHUNK_FORMAT, "key": key, "sha256": hashlib.sha256(content).hexdigest()}
    with whole_file(path) as unfinished:
        unfinished.write_bytes(json.dumps(about).encode() + b"\n" + content)


def read_chunk(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a chunk's file; None if there is no file.

    Raises:
        ValueError: the file is damaged, or was made for another key.
    """
    try:
        head, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    wanted = {"what": _FILE_KIND, "format": CHUNK_FORMAT, "key": key, "sha256": hashlib.sha256(content).hexdigest()}
    try:
        about = parse_json(head)
    except ValueError as error:
        raise ValueError(f"{path} is not a chunk of jumpwire ({error}).") from error
    if about != wanted:
        raise ValueError(f"{path} is damaged, or was made for another key than its name says.")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def with_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def batches_beside(chunk: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What a method found besides effects: the named arrays of each batch of a chunk, in order."""
    numbers = sorted({int(name.split(".")[1]) for name in chunk if name.startswith(BESIDE_PREFIX)})
    return [with_prefix(f"{BESIDE_PREFIX}{number}.", chunk) for number in numbers]


def with_moved_examples(arrays: Mapping[str, np.ndarray], by: int) -> dict[str, np.ndarray]:
    """The same arrays with `by` added to every column of example numbers."""
    return {name: values + by if name.split(".")[-1] == "example" else values for name, values in arrays.items()}
