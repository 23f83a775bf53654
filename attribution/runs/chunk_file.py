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
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from graphs.files.plain_json import parse_json

CHUNK_FORMAT: Final = 1
_FILE_KIND: Final = "jumpwire chunk"
_UNFINISHED: Final = ".unfinished-"

Arrays = Mapping[str, np.ndarray]
NODES_PREFIX: Final = "nodes."
BESIDE_PREFIX: Final = "beside."


def write_chunk(path: Path, key: str, arrays: Arrays) -> None:
    """Write the file of a chunk. Other processes may write the same file at the same time."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    about = {"what": _FILE_KIND, "format": CHUNK_FORMAT, "key": key, "sha256": hashlib.sha256(content).hexdigest()}
    unfinished = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)  # another run may have removed the empty folder
    try:
        with unfinished.open("xb") as file:
            file.write(json.dumps(about).encode() + b"\n" + content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _flush_names(path.parent)


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


def remove_unfinished(folder: Path, older_than: float) -> None:
    """Remove the unfinished files that killed processes left: those last modified before `older_than`.

    `older_than` is in seconds since 1970.
    """
    for path in folder.glob(f"{_UNFINISHED}*"):
        try:
            if path.stat().st_mtime < older_than:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # another process was faster


def _flush_names(folder: Path) -> None:
    """Flush the folder's list of names to disk, if the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
