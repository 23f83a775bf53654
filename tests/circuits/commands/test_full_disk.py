"""No room on the disk at any write of any command: the file is named, files before stay, and the command goes on."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from circuits.terminal import whole_run
from graphs.files import whole_file
from graphs.files.whole_file import UNFINISHED

FIND = ("find", "--saes", "topk", "--method", "atp", "--nodes", "8", "--examples", "2", "--other-examples", "4")
FIND += ("--text", "text.txt", "--resamples", "4", "--explained", "0")
COMMANDS = {
    "find": (*FIND, "--out", "new"),
    "find again": (*FIND, "--seed", "2", "--out", "a"),
    "check": ("check", "a", "--explained", "0"),
    "rank": ("rank", "--saes", "topk", "--method", "atp", "--examples", "3", "--at-once", "1", "--out", "rank.parquet"),
    "labels": ("labels", "--circuit", "a", "--corpus", "text.txt", "--cache", "cache"),
    "ablate": ("ablate", "blocks.2.hook_resid_post/426", "--saes", "topk", "--text-file", "text.txt", "--out", "a"),
    "test": ("ablate", "--circuit", "a", "--test"),
    "compare": ("compare", "a", "b", "--out", "both", "--union", "union", "--intersection", "common"),
    "export": (
        "export",
        "a",
        *(part for f in ("html", "graphml", "dot", "neuronpedia") for part in (f"--{f}", f"x.{f}")),
    ),
    "tables": ("export", "a", "--tables", "tables"),
    "model": ("model", "embedded", "--out", "report.json"),
}
GOES_ON = {"find", "find again", "check", "rank"}


def jumpwire(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of `find`, and text."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("the cat near the dogs sits\nthe dogs sit\nthe cat sits\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for out, seed in (("a", "0"), ("b", "1")):
            result = jumpwire(*FIND, "--seed", seed, "--out", out)
            assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def copied(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(runs, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def contents(folder: Path) -> dict[str, bytes]:
    """All files but finished work, which is kept as it comes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    kept = ("chunks", "label_cache", "cache", "rank.parquet.chunks")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.parent.name not in kept}


def full_at(number: int, patched: pytest.MonkeyPatch) -> list[Path]:
    """Lets no file be written from the `number`-th on; the files that were to be flushed to disk."""
    seen: list[Path] = []

    def flush(path: Path) -> None:
        if path.is_file():
            seen.append(path)
            if len(seen) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    for module in (whole_file, whole_run):
        patched.setattr(module, "flush", flush)
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_at_any_write_leaves_what_was_there_and_the_same_command_goes_on(
    name: str, copied: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        writes = full_at(10**9, patched)
        whole = jumpwire(*COMMANDS[name])
        assert whole.exit_code == 0, whole.output
    expected = contents(copied).keys()
    shutil.copytree(runs, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    before = contents(tmp_path / "again")
    for number in sorted({1, len(writes) // 2 + 1, len(writes)}):
        with monkeypatch.context() as patched:
            seen = full_at(number, patched)
            result = jumpwire(*COMMANDS[name])
        if len(seen) < number:
            break  # what earlier attempts kept is not written again
        said = " ".join(result.output.split())
        assert result.exit_code == 2, result.output
        assert "cannot be written: no space left on device." in said
        assert UNFINISHED not in said
        assert not [path for path in (tmp_path / "again").rglob("*") if path.name.startswith(UNFINISHED)]
        if name not in ("compare", "export", "tables"):  # these write several results, each of them whole
            assert contents(tmp_path / "again") == before
        if name in GOES_ON and number > 1:
            assert "of work are kept in" in said
            assert "The same command goes on from there." in said
    result = jumpwire(*COMMANDS[name])
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "again").keys() == expected


PLACES = {
    "find": ("new", "new/circuit.json", "new/run.json", "new/chunks", "label_cache"),
    "find again": ("a/circuit.json", "a/verdict.json", "a/chunks"),
    "check": ("a/verdict.html", "a/chunks"),
    "rank": ("rank.parquet", "rank.parquet.chunks"),
    "labels": ("a/labels.json", "cache"),
    "ablate": ("a",),
    "compare": ("both", "both/comparison.json", "union", "common/circuit.html"),
    "export": ("x.html", "x.dot"),
    "tables": ("tables",),
    "model": ("report.json",),
}
FOLDERS = {"new", "chunks", "label_cache", "cache", "rank.parquet.chunks", "a", "both", "union", "tables"}
"""What these commands take for folders; the others are files."""


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, own in PLACES.items() for place in own])
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_named_before_anything_is_loaded(
    name: str, place: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuits.commands.shared.inputs.ModelInputs.load_spliced", lambda *_: pytest.fail("loaded"))
    monkeypatch.setattr("circuits.embedded.load.load_model", lambda *_, **__: pytest.fail("loaded"))
    taken = copied / place
    if name == "ablate":
        monkeypatch.chdir(copied)
        shutil.rmtree(taken)
    if taken.is_dir():
        shutil.rmtree(taken)
    taken.unlink(missing_ok=True)
    taken.parent.mkdir(parents=True, exist_ok=True)
    if taken.name in FOLDERS:
        taken.touch()
    else:
        taken.mkdir()
    before = contents(copied)
    result = jumpwire(*COMMANDS[name])
    said = " ".join(result.output.split())
    assert result.exit_code == 2, result.output
    assert place in said
    assert ("is a file" if taken.name in FOLDERS else "is a folder") in said
    assert contents(copied) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system in memory")
@pytest.mark.slow
def test_a_disk_that_is_full_in_earnest(runs: Path, tmp_path: Path) -> None:
    """The smallest sizes let nothing be written, the larger ones some chunks, then some files of the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(runs)
            for size in (4, 64, 128, 200, 300, 400, 600):
                subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
                result = jumpwire(*FIND, "--out", str(disk / "run"))
                if result.exit_code == 0:
                    break
                said = " ".join(result.output.split())
                assert result.exit_code == 2, result.output
                assert f"error {disk}" in said.replace(" /", "/", 0)
                assert "cannot be written: no space left on device." in said
                assert UNFINISHED not in said
                assert not (disk / "run" / "run.json").exists()
            subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
            assert jumpwire(*FIND, "--out", str(disk / "run")).exit_code == 0
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            read_only = jumpwire(*FIND, "--out", str(disk / "run"))
            assert read_only.exit_code == 2
            assert "cannot be written: read-only file system." in " ".join(read_only.output.split())
            assert jumpwire("export", str(disk / "run"), "--dot", str(tmp_path / "x.dot")).exit_code == 0
    finally:
        subprocess.run(["umount", disk], check=True)
