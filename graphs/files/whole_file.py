"""Write files so that readers see the old one or the whole new one, and so that what goes wrong is said in words.

An error while a file is written names the file as its reader knows it, never the hidden one that is written first.
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".unfinished-"
"""How the names of files and folders begin that are being written."""
_ABANDONED_AFTER: Final = 3600.0
"""Seconds after which an unfinished file is taken to be what a killed process left."""


class UnwritableError(OSError):
    """A file or folder cannot be written; the message says which, and why."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to. When the block ends, the file there replaces `path`; if it raises, it is deleted.

    The folder is made if it is not there. Other processes may write the same file at the same time. A link stays one:
    the file that it leads to is replaced. A device or a pipe, such as /dev/stdout, is written to when the block ends.

    Raises:
        UnwritableError: the file cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with errors_name(path), tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / f"whole{path.suffix}"
            with next(Path(folder).iterdir()).open("rb") as file, path.open("wb") as device:
                shutil.copyfileobj(file, device)
        return
    path = path.resolve() if path.is_symlink() else path
    unfinished = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")  # no suffix: it is no chunk, no page, ... yet
    with folder_made(path.parent):
        try:
            with errors_name(path):
                yield unfinished
                flush(unfinished)
                unfinished.replace(path)
                flush(path.parent)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes an `UnwritableError` that names `path`."""
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {reason(error)}.") from error


def reason(error: OSError) -> str:
    """What the system says went wrong, without numbers and names of files."""
    text = os.strerror(error.errno) if error.errno is not None else str(error)
    return text[:1].lower() + text[1:]


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Makes a folder with those above it, if it is not there. If the block raises, those made here go if empty.

    Raises:
        UnwritableError: it cannot be made.
    """
    _refuse_file_in_the_way(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with errors_name(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # it is not empty, or was never made
                path.rmdir()
        raise


def refuse_unwritable(folder: Path) -> None:
    """Try now, without leaving anything, whether files can be written into a folder that may not be there yet.

    Raises:
        UnwritableError: they cannot.
    """
    _refuse_file_in_the_way(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    with errors_name(folder), tempfile.TemporaryFile(dir=there):
        pass


def refuse_unwritable_file(path: Path) -> None:
    """Try now, as `refuse_unwritable`, whether a file can be written."""
    if path.is_dir():
        raise UnwritableError(f"{path} is a folder where a file should be: give the file to write.")
    refuse_unwritable(path.parent)


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk, if the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files and folders that killed processes left in a folder."""
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):  # another process was faster
            if path.stat().st_mtime < time.time() - _ABANDONED_AFTER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _refuse_file_in_the_way(folder: Path) -> None:
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise UnwritableError(f"{path} is a file where a folder should be: move it, or give another place.")
