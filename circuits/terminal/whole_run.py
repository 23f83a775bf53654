"""The files of a run change as a whole: run.json, written last, has the sha256 of each, and whoever reads one compares.

All are written into a hidden folder beside their places and then moved there one by one. What fails or is killed before
the first move leaves the old files. Between two moves, which are milliseconds, it leaves a file that run.json does not
know, and readers say so.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text
from graphs.files.whole_file import UNFINISHED, UnwritableError, errors_name, flush, folder_made, remove_abandoned

RUN_FILE: Final = "run.json"
_FILES: Final = "files"
OF_A_RUN: Final = ("circuit.json", "circuit.html", "effects.parquet", "labels.json", "verdict.json", "verdict.html")
"""What a run may have; a new run removes those of the run before that it does not have."""

Writer = Callable[[Path], object]
"""Writes one file to the path it is given."""


def write_whole(folder: Path, files: Mapping[str, Writer], run: Callable[[], Mapping[str, Any]] | None = None) -> None:
    """Write files into a folder, all or none. If a run is there, they join it.

    Args:
        folder: made if it is not there.
        files: what writes each file, by its name, in the order in which they take their places.
        run: gives the content of a new run.json when the files are written: they are a run that replaces any before.

    Raises:
        UnwritableError: a file cannot be written; the message names it.
    """
    with folder_made(folder):
        remove_abandoned(folder)
        with errors_name(folder):
            hidden = Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))
        try:
            _write_into(hidden, folder, files, run)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _write_into(
    hidden: Path, folder: Path, files: Mapping[str, Writer], run: Callable[[], Mapping[str, Any]] | None
) -> None:
    """Write the files into a hidden folder, and then move them to their places."""
    for name, write in files.items():
        with errors_name(folder / name):
            write(hidden / name)
            flush(hidden / name)
    content = _read(folder) if run is None else {**run(), _FILES: {}}
    if content is not None:
        content[_FILES] = {**content.get(_FILES, {}), **{name: _digest(hidden / name) for name in files}}
        with errors_name(folder / RUN_FILE):
            text = json.dumps(content, indent=1, allow_nan=False) + "\n"
            (hidden / RUN_FILE).write_text(text, encoding="utf-8")
            flush(hidden / RUN_FILE)
    _move(hidden, folder, [*files] if content is None else [*files, RUN_FILE], new=run is not None)


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is another than the run.json beside it was written with.

    Files that run.json does not name, and files without a run.json, are taken as they are.

    Raises:
        ValueError: it is another; or run.json is damaged.
    """
    files = (_read(path.parent) or {}).get(_FILES, {})
    if path.is_file() and files.get(path.name, "") not in ("", _digest(path)):
        raise ValueError(
            f"{path} is not the file that the {RUN_FILE} beside it was written with: it was changed, or a command was "
            "killed while it wrote here. Make the run again (finished work is reused); or copy the file into another "
            "folder, and it is read by itself."
        )


def refuse_folders_in_place(folder: Path, names: tuple[str, ...] = (*OF_A_RUN, RUN_FILE)) -> None:
    """Refuse a folder that holds a folder where one of the named files would be.

    Raises:
        UnwritableError: it does.
    """
    for name in names:
        if (folder / name).is_dir():
            raise UnwritableError(
                f"{folder / name} is a folder where a file should be: move it, or give another --out."
            )


def _read(folder: Path) -> dict[str, Any] | None:
    """The run.json of a folder; None if there is none."""
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        content = parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). Make the run again.") from None
    if not isinstance(content, dict) or not isinstance(content.get(_FILES, {}), dict):
        raise ValueError(f"{path}: not the {RUN_FILE} of a run of jumpwire.")
    return content


def _move(hidden: Path, folder: Path, names: list[str], *, new: bool) -> None:
    refuse_folders_in_place(folder, (*names, *OF_A_RUN) if new else tuple(names))
    *first, last = names
    for name in first:
        _replace(hidden / name, folder / name)
    for name in set(OF_A_RUN) - set(names) if new else ():
        with errors_name(folder / name):
            (folder / name).unlink(missing_ok=True)
    _replace(hidden / last, folder / last)
    flush(folder)


def _replace(new: Path, old: Path) -> None:
    with errors_name(old):
        new.replace(old)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
