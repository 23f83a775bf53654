"""Off a terminal, progress is lines: one for each stage, and one every so often, however silent a stage is."""

import io
import time

import pytest
from rich.console import Console

from circuits.terminal import progress
from circuits.terminal.progress import progress_bar


def test_a_log_gets_a_line_for_each_stage_and_one_every_so_often(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with progress_bar(Console(file=io.StringIO()), "finding") as told:
        told.enters("effects")
        told(0.5)
        told.says("patching 3 of 6")
        time.sleep(0.4)
        told.enters("edges")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "finding: effects: 0%, 1 s so far"
    assert lines[-1].startswith("finding: edges: 50%")
    silent = [line for line in lines[1:-1] if line == "finding: patching 3 of 6: 50%, 1 s so far, 1 s left"]
    assert silent
    assert len(silent) == len(lines) - 2


def test_a_terminal_gets_a_bar_that_names_the_stage_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    with progress_bar(Console(file=shown, force_terminal=True, width=120), "finding") as told:
        told.enters("edges")
        told(0.25)
        told.progress.refresh()  # pyright: ignore[reportAttributeAccessIssue]
    assert "finding: edges" in shown.getvalue()
    assert "25%" in shown.getvalue()
    assert capsys.readouterr().err == ""
