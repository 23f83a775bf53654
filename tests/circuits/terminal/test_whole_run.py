"""A run's files change as a whole, whatever fails or is killed: the old run, the new run, or a reader that says so."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from circuits.terminal.whole_run import RUN_FILE, refuse_folders_in_place, refuse_foreign, write_whole
from graphs.files import whole_file
from graphs.files.whole_file import UnwritableError

NAMES = ("circuit.json", "effects.parquet", "circuit.html")


class KilledError(BaseException):
    """Stands for a process that is killed: nothing after it is done that a person would see."""


def make_run(folder: Path, text: str, *more: str) -> None:
    files = {name: lambda path: path.write_text(text) for name in (*NAMES, *more)}
    write_whole(folder, files, lambda: {"arguments": text})


def state(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*") if path.is_file()}


def made(folder: Path) -> str:
    """Of which run the folder is: every file that readers take is of it."""
    for name in NAMES:
        refuse_foreign(folder / name)
    files = state(folder)
    texts = {files[name] for name in NAMES}
    assert texts == {json.loads(files[RUN_FILE])["arguments"]}
    return texts.pop()


def test_a_run_replaces_the_files_of_the_one_before_and_no_others(tmp_path: Path) -> None:
    make_run(tmp_path, "old", "labels.json", "verdict.json", "verdict.html")
    for own in ("notes.txt", "ablation.json"):
        (tmp_path / own).write_text("mine")
    make_run(tmp_path, "new", "labels.json")
    assert set(state(tmp_path)) == {*NAMES, RUN_FILE, "labels.json", "notes.txt", "ablation.json"}
    assert made(tmp_path) == "new"
    assert set(json.loads((tmp_path / RUN_FILE).read_text())["files"]) == {*NAMES, "labels.json"}


@pytest.mark.parametrize("failing", [*NAMES, RUN_FILE])
def test_a_write_that_fails_leaves_the_old_run_and_names_the_file(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "old")
    write = Path.write_text

    def full(path: Path, *given: Any, **more: Any) -> int:
        if path.name == failing:
            write(path, "half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *given, **more)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UnwritableError, match=rf"^{tmp_path / failing} cannot be written: no space left on device.$"):
        make_run(tmp_path, "new")
    assert made(tmp_path) == "old"
    assert len(os.listdir(tmp_path)) == 4
    monkeypatch.undo()
    make_run(tmp_path, "new")
    assert made(tmp_path) == "new"


def test_a_first_run_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UnwritableError, match="no space left on device"):
        write_whole(tmp_path / "out" / "run", {"circuit.json": full}, dict)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("first", [True, False])
def test_a_kill_at_any_call_leaves_the_old_run_or_the_new_or_a_reader_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    outcomes: list[str] = []
    for last in range(100):
        folder = tmp_path / str(last)
        if not first:
            make_run(folder, "old", "labels.json")
        calls = 0

        def counted(call: Any, last: int = last) -> Any:
            def call_or_kill(*given: Any, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > last:
                    raise KilledError
                return call(*given, **more)

            return call_or_kill

        with monkeypatch.context() as patched:
            for owner, name in ((Path, "write_text"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
                patched.setattr(owner, name, counted(getattr(owner, name)))
            patched.setattr("circuits.terminal.whole_run.flush", counted(whole_file.flush))
            patched.setattr("circuits.terminal.whole_run.shutil.rmtree", lambda *_, **__: None)
            try:
                make_run(folder, "new")
                killed = False
            except KilledError:
                killed = True
        try:
            outcomes.append(made(folder))
        except (ValueError, KeyError) as error:
            outcomes.append("refused" if "was killed while it wrote here" in str(error) else "no run")
        make_run(folder, "again")
        assert made(folder) == "again"
        if not killed:
            break
    assert outcomes[-1] == "new"
    allowed = ["no run", "new"] if first else ["old", "refused", "new"]
    assert list(dict.fromkeys(outcomes)) == allowed


def test_what_joins_a_run_is_of_it_until_it_is_changed(tmp_path: Path) -> None:
    make_run(tmp_path, "run")
    write_whole(tmp_path, {"verdict.json": lambda path: path.write_text("verdict")})
    refuse_foreign(tmp_path / "verdict.json")
    assert made(tmp_path) == "run"
    (tmp_path / "verdict.json").write_text("another")
    with pytest.raises(ValueError, match=r"verdict.json is not the file that the run.json beside it was written with"):
        refuse_foreign(tmp_path / "verdict.json")


def test_files_without_a_run_and_files_that_it_does_not_name_are_taken(tmp_path: Path) -> None:
    write_whole(tmp_path, {"labels.json": lambda path: path.write_text("alone")})
    assert state(tmp_path) == {"labels.json": "alone"}
    refuse_foreign(tmp_path / "labels.json")
    (tmp_path / RUN_FILE).write_text(json.dumps({"arguments": {}}))
    refuse_foreign(tmp_path / "labels.json")
    refuse_foreign(tmp_path / "missing.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"files": []}', '{"files": 3}'])
def test_a_damaged_run_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    (tmp_path / "circuit.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run.json: not"):
        refuse_foreign(tmp_path / "circuit.json")


def test_a_run_file_that_names_files_elsewhere_has_no_say_about_them(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RUN_FILE).write_text(json.dumps({"files": {"../mine.txt": "0", "circuit.json": ["x"]}}))
    make_run(tmp_path / "run", "new")
    assert made(tmp_path / "run") == "new"
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [*NAMES, RUN_FILE, "verdict.json"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_moves(tmp_path: Path, name: str) -> None:
    make_run(tmp_path, "old")
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(UnwritableError, match=rf"{tmp_path / name} is a folder where a file should be"):
        refuse_folders_in_place(tmp_path)
    before = state(tmp_path)
    with pytest.raises(UnwritableError, match=name):
        make_run(tmp_path, "new")
    assert state(tmp_path) == before
