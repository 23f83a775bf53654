"""A file is the old one or the whole new one; what goes wrong is said of the file that people know."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from graphs.files import whole_file as module
from graphs.files.whole_file import (
    UNFINISHED,
    UnwritableError,
    folder_made,
    refuse_unwritable,
    refuse_unwritable_file,
    remove_abandoned,
    whole_file,
)


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    for text in ("old", "new"):
        with whole_file(path) as unfinished:
            unfinished.write_text(text)
            assert not unfinished.match("*.json")
            assert (path.read_text() if path.exists() else None) == (None if text == "old" else "old")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.json"]


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    with whole_file(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), OSError(errno.ENOSPC, "full")])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def write() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises((type(error), UnwritableError)):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("before", [(), ("out",), ("out/mine.txt",)])
def test_what_fails_leaves_no_folder_that_was_not_there(tmp_path: Path, before: tuple[str, ...]) -> None:
    for name in before:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch() if "." in name else (tmp_path / name).mkdir()
    there = sorted(tmp_path.rglob("*"))

    def write() -> None:
        with whole_file(tmp_path / "out" / "deep" / "file.json") as unfinished:
            unfinished.write_text("half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(UnwritableError):
        write()
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("stage", ["write", "flush", "replace"])
def test_an_error_names_the_file_and_the_reason_and_no_hidden_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, stage: str
) -> None:
    def fails(*given: Any) -> None:
        raise OSError(number, os.strerror(number), str(given[0]))

    if stage != "write":
        owner = module if stage == "flush" else Path
        monkeypatch.setattr(owner, stage, fails)
    path = tmp_path / "file.json"

    def write() -> None:
        with whole_file(path) as unfinished:
            if stage == "write":
                fails(unfinished)
            unfinished.write_text("whole")

    with pytest.raises(UnwritableError) as raised:
        write()
    reason = os.strerror(number)
    assert str(raised.value) == f"{path} cannot be written: {reason[:1].lower()}{reason[1:]}."


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()

    def make(folder: Path) -> None:
        with folder_made(folder):
            pass

    for check in (make, refuse_unwritable):
        for folder in (taken, taken / "below" / "more"):
            with pytest.raises(UnwritableError, match=rf"{taken} is a file where a folder should be: move it"):
                check(folder)


def test_a_folder_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match=rf"{tmp_path} is a folder where a file should be"):
        refuse_unwritable_file(tmp_path)
    (tmp_path / "file.json").mkdir()
    match = r"file\.json cannot be written: is a directory"
    with pytest.raises(UnwritableError, match=match), whole_file(tmp_path / "file.json") as unfinished:
        unfinished.write_text("whole")
    assert os.listdir(tmp_path) == ["file.json"]


def test_trying_a_folder_leaves_nothing_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unwritable(tmp_path / "not" / "there")
    monkeypatch.chdir(tmp_path)
    refuse_unwritable(Path("not/there"))
    refuse_unwritable_file(Path("file.json"))
    assert list(tmp_path.iterdir()) == []

    def read_only(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/somewhere/#12345")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(UnwritableError, match=r"^not/there cannot be written: read-only file system\.$"):
        refuse_unwritable(Path("not/there"))


def test_what_killed_processes_left_goes_after_an_hour(tmp_path: Path) -> None:
    for name in ("old", "young"):
        (tmp_path / f"{UNFINISHED}{name}").mkdir()
        (tmp_path / f"{UNFINISHED}{name}" / "circuit.json").touch()
        (tmp_path / f"{UNFINISHED}{name}.json").touch()
    (tmp_path / "kept.json").touch()
    for path in tmp_path.iterdir():
        if "young" not in path.name:
            os.utime(path, (0, 0))
    remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [f"{UNFINISHED}young", f"{UNFINISHED}young.json", "kept.json"]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    real, link, pipe = (tmp_path / name for name in ("real", "link", "pipe"))
    real.write_text("old")
    link.symlink_to(real)
    with whole_file(link) as unfinished:
        unfinished.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as unfinished:
        unfinished.write_text("through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    assert pipe.is_fifo()
