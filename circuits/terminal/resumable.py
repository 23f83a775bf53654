"""Commands that can be stopped at any moment: finished work is kept in a folder and reused by the same command."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console

from circuits.terminal.exits import ctrl_c, exit_code
from graphs.files.whole_file import UnwritableError

if TYPE_CHECKING:
    from attribution.runs.chunk_store import ChunkStore

CHUNKS: Final = "chunks"
"""Name of the folder, beside a command's files, that keeps finished work. It may be deleted."""


@contextmanager
def resumable(folder: Path, *, resume: bool) -> "Iterator[ChunkStore]":
    """Inside, finished chunks of work are kept in `folder`. An interrupt ends the command and says how to go on.

    `resume=False` ignores chunks that are already there and computes them again.

    Raises:
        UnwritableError: a file cannot be written; the message also says how to go on.
    """
    from attribution.runs.chunk_store import kept_in

    with kept_in(folder, reuse=resume) as store, ctrl_c(signal.default_int_handler):
        try:
            yield store
        except KeyboardInterrupt as stopped:
            Console(stderr=True, soft_wrap=True).print(_interrupt_message(store, resume), highlight=False)
            raise typer.Exit(exit_code(stopped)) from None
        except UnwritableError as error:
            raise UnwritableError(f"{error} {_kept(store, resume) or 'No work was finished.'}") from error
        finally:
            with suppress(OSError):  # the folder holds chunks, or was deleted meanwhile
                folder.rmdir()


def chunks_report(store: "ChunkStore") -> dict[str, Any]:
    """The folder's name and size in bytes, and what each stage computed and reused, as plain data."""
    return {
        "folder": store.folder.name,
        "bytes": store.bytes,
        "stages": {stage: vars(tally).copy() for stage, tally in store.tallies.items()},
    }


def chunks_in_words(store: "ChunkStore") -> str:
    """One printed line: how many chunks were computed, how many reused, and where they are."""
    done, found = (sum(getattr(tally, of) for tally in store.tallies.values()) for of in ("computed", "reused"))
    size = f"{store.bytes / 2**20:.1f} MiB"
    return f"Chunks of work: {done} computed, {found} reused; kept in {store.folder} ({size}), which may be deleted."


def _interrupt_message(store: "ChunkStore", resume: bool) -> str:
    kept = _kept(store, resume)
    if kept is None:
        return "Interrupted before the first chunk of work was done. Files of earlier runs are untouched."
    return f"Interrupted. Nothing is lost: {kept}"


def _kept(store: "ChunkStore", resume: bool) -> str | None:
    """How much work is kept, and how to go on from there; None if none was finished."""
    if store.chunks == 0:
        return None
    how = "The same command" if resume else "The same command without --no-resume"
    return f"{store.chunks} chunks of work are kept in {store.folder}. {how} goes on from there."
