"""Runs that survive an interrupt: finished work is kept in chunks on disk, and a later run continues from them.

    with kept_in("out/agreement/chunks") as store:
        effects = exact_patching(spliced, pairs, logit_difference)
    store.tallies["exact_patching"]      # how many chunks were computed, how many reused

A chunk is what one method finds for a few prompt pairs. It is kept under a key of everything that its numbers depend
on (`chunk_key.py`). A run that is killed loses only its unfinished chunks. Started again, it computes these and no
others. On the same machine with the same number of threads, its result equals that of an uninterrupted run bit for bit.
Elsewhere the last digits may differ, because floating-point sums may be taken in another order: machine, threads and
batch sizes are not in the key. Any number of processes may share a folder.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from attribution.runs.chunk_file import Arrays, read_chunk, write_chunk
from graphs.files.whole_file import refuse_unwritable, remove_abandoned
from graphs.short_repr import short_repr

_ROW_ARRAY: Final = "nodes.effect"
"""The array of a chunk whose length is the chunk's number of rows."""


@dataclass
class Tally:
    """Counts for one stage of work: chunks computed and reused, and their rows. A row is one node in one example.

    `parts_reused` counts the finished parts of chunks that an earlier run began and did not finish.
    """

    computed: int = 0
    reused: int = 0
    parts_reused: int = 0
    rows_computed: int = 0
    rows_reused: int = 0


@dataclass
class ChunkStore:
    """Chunks in a folder. Without `reuse`, all chunks are computed, and replace those in the folder.

    `tallies` counts this store's own work by stage. `digests` caches hashes of weights.
    """

    __repr__ = short_repr

    folder: Path
    reuse: bool = True
    tallies: dict[str, Tally] = field(default_factory=dict)
    digests: WeakKeyDictionary[object, tuple[object, object]] = field(default_factory=WeakKeyDictionary)

    def kept(self, stage: str, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """The chunk of a key: read if a whole file is there, otherwise computed and written."""
        path = self.folder / f"{stage}-{key}.chunk"
        tally = self.tallies.setdefault(stage, Tally())
        found = self._read(path, key) if self.reuse else None
        if found is not None:
            tally.reused += 1
            tally.rows_reused += _row_count(found)
            return found
        computed, before = compute(), _inode(path)
        try:
            write_chunk(path, key, computed)
        finally:
            if _inode(path) != before:  # an interrupt may come after the file was moved to its place
                tally.computed += 1
                tally.rows_computed += _row_count(computed)
        self._drop_parts(stage, key)
        return computed

    def part(self, stage: str, key: str, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """A part of a chunk that takes long. Parts are kept on disk until their chunk is finished."""
        path, own = self.folder / f"{stage}-{key}.{name}.part", f"{key}.{name}"
        found = self._read(path, own) if self.reuse else None
        if found is not None:
            self.tallies.setdefault(stage, Tally()).parts_reused += 1
            return found
        write_chunk(path, own, arrays := compute())
        return arrays

    def _drop_parts(self, stage: str, key: str) -> None:
        for path in self.folder.glob(f"{stage}-{key}.*.part"):
            path.unlink(missing_ok=True)

    @property
    def rows_computed(self) -> int:
        """The rows that this store computed, over all stages."""
        return sum(tally.rows_computed for tally in self.tallies.values())

    @property
    def chunks(self) -> int:
        """The number of chunks that this store computed or reused, over all stages."""
        return sum(tally.computed + tally.reused for tally in self.tallies.values())

    @property
    def bytes(self) -> int:
        """The size of all chunks in the folder, in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob("*.chunk"))

    def _read(self, path: Path, key: str) -> Arrays | None:
        try:
            return read_chunk(path, key)
        except ValueError as error:
            warnings.warn(f"A chunk cannot be used and is computed again: {error}", stacklevel=4)
            return None


KeepPart = Callable[[str, Callable[[], Arrays]], Arrays]
"""Takes the name of a part of a chunk and a function that computes its arrays. Returns the arrays, computed or read."""


def compute_unkept(_name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The `KeepPart` of work that is not kept: it always computes."""
    return compute()


_STORE: ContextVar[ChunkStore | None] = ContextVar("store", default=None)


@contextmanager
def kept_in(folder: str | Path, *, reuse: bool = True) -> Iterator[ChunkStore]:
    """Inside the `with`, every measurement keeps its chunks in `folder` and reuses those that are there.

    Without `reuse`, nothing is read from the folder. The first chunk makes it; it may be deleted whenever no run is
    using it.

    Raises:
        UnwritableError: the folder cannot be written to.
    """
    store = ChunkStore(Path(folder), reuse)
    refuse_unwritable(store.folder)
    remove_abandoned(store.folder)
    before = _STORE.set(store)
    try:
        yield store
    finally:
        _STORE.reset(before)


@contextmanager
def keeping_nothing() -> Iterator[None]:
    """Inside the `with`, measurements neither keep nor reuse chunks: for work that is timed."""
    before = _STORE.set(None)
    try:
        yield
    finally:
        _STORE.reset(before)


def current_store() -> ChunkStore | None:
    """The store of the innermost `kept_in` block; None outside of all of them."""
    return _STORE.get()


def kept_chunk(stage: str, key: Callable[[ChunkStore], str], compute: Callable[[KeepPart], Arrays]) -> Arrays:
    """A chunk of the current store, under the key that `key` returns. Without a store it is computed and not kept.

    `compute` is called with a function that keeps parts of the chunk.
    """
    store = current_store()
    if store is None:
        return compute(compute_unkept)
    name = key(store)
    return store.kept(stage, name, lambda: compute(partial(store.part, stage, name)))


def _inode(path: Path) -> int | None:
    """The inode of the file at a path, which changes when a new file is moved there; None if there is no file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _row_count(arrays: Arrays) -> int:
    return len(arrays[_ROW_ARRAY]) if _ROW_ARRAY in arrays else 0
