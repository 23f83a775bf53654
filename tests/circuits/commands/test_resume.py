"""Commands that are stopped from outside: one line, an exit code, and a rerun that reuses what was done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from attribution.checking import verdict_of
from attribution.runs import chunk_store as execution
from attribution.runs.chunk_store import kept_in
from circuits.commands.app import app
from circuits.ranking.ranking_file import read_ranking
from circuits.terminal.exits import clean_exit, exit_code
from circuits.terminal.progress import RateColumn
from circuits.terminal.resumable import resumable

FIND = ("find", "--method", "ig", "--examples", "40", "--nodes", "10", "--rank-by", "ig", "--saes", "topk")
FIND += ("--other-examples", "0", "--no-labels", "--explained", "0")


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard: what a shell starts in the background is told to ignore it, and so is all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
def test_an_interrupted_run_says_that_nothing_is_lost_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = (*FIND, "--out", str(tmp_path))
    run = [sys.executable, "-c", "from circuits.commands import main; main()", *command]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob("chunks/*.chunk")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.strip().splitlines()[-1].startswith("Interrupted. Nothing is lost:")
    assert "The same command goes on from there." in said
    assert "Traceback" not in said
    assert not (tmp_path / "run.json").exists()
    left = len(list(tmp_path.glob("chunks/*.chunk")))
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    chunks = json.loads((tmp_path / "run.json").read_text())["chunks"]
    stages = chunks["stages"].values()
    assert sum(stage["reused"] for stage in stages) >= left > 0
    assert sum(stage["computed"] for stage in stages) > 0
    assert chunks["stages"]["integrated_gradients"]["rows_reused"] > 0
    assert chunks["bytes"] > 0


def interrupted(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], after: int) -> Result:
    """The command, stopped while it writes a chunk when `after` are written."""
    write = execution.write_chunk
    written: list[Path] = []

    def stopped(path: Path, *content: Any) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        write(path, *content)
        written.append(path)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "write_chunk", stopped)
        return CliRunner().invoke(app, command)


def test_an_interrupted_ranking_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("rank", "--method", "atp", "--examples", "9", "--at-once", "3", "--saes", "topk", "--out")
    whole, other = tmp_path / "whole.parquet", tmp_path / "other.parquet"
    assert CliRunner().invoke(app, (*command, str(whole))).exit_code == 0
    result = interrupted(monkeypatch, (*command, str(other)), after=2)
    assert result.exit_code == 130
    assert "Nothing is lost: 2 chunks of work are kept" in " ".join(result.output.split())
    assert not other.exists()
    result = CliRunner().invoke(app, (*command, str(other)))
    assert result.exit_code == 0
    assert "1 computed, 2 reused" in result.output
    assert pq.read_table(other).equals(pq.read_table(whole))
    assert read_ranking(other) == read_ranking(whole)
    again = CliRunner().invoke(app, (*command, str(other), "--no-resume"))
    assert "3 computed, 0 reused" in again.output


def test_an_interrupted_check_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_of, "_RESIDUAL_POINTS", (3, 5))
    command = ("check", "--method", "atp", "--examples", "2", "--saes", "topk", "--out")
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert CliRunner().invoke(app, (*command, str(whole))).exit_code == 0
    result = interrupted(monkeypatch, (*command, str(other)), after=1)
    assert result.exit_code == 130
    assert "Nothing is lost: 1 chunks of work are kept" in " ".join(result.output.split())
    assert not (other / "verdict.json").exists()
    result = CliRunner().invoke(app, (*command, str(other)))
    assert result.exit_code == 0
    assert " 1 reused" in result.output
    assert (other / "verdict.json").read_bytes() == (whole / "verdict.json").read_bytes()


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_both_signals_end_a_command_cleanly(
    tmp_path: Path, number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        with clean_exit(), resumable(tmp_path, resume=True) as store:
            store.kept("stage", "0", dict)
            os.kill(os.getpid(), number)
            time.sleep(5)

    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as stopped:
        command()
    assert stopped.value.exit_code == code
    assert "1 chunks of work are kept" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    assert exit_code(KeyboardInterrupt()) == 130


def test_a_refused_run_does_not_take_the_folder_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "chunks"
    with kept_in(folder) as store:
        with pytest.raises(ValueError, match="refused"), resumable(folder, resume=True):
            raise ValueError("refused")
        assert not folder.exists()
        store.kept("stage", "0", dict)
    assert [path.name for path in folder.iterdir()] == ["stage-0.chunk"]
    with resumable(folder, resume=True):
        shutil.rmtree(folder)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    class Work:
        rows_computed = 0

    work = Work()
    column = RateColumn(work)
    assert column.rate(0.0) == 0
    work.rows_computed = 500
    assert column.rate(10.0) == 50
    assert column.rate(40.0) == 0
