"""`find --budget` counts labels too: they are foretold, and left out in words where they do not fit."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from circuits.commands.app import app

FEW = ("--examples", "1", "--nodes", "4", "--saes", "topk", "--other-examples", "0", "--beside", "none")
FEW += ("--resamples", "0", "--explained", "0", "--validation", "0")


def found(folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What `find` says, and its run.json."""
    (folder / "text.txt").write_text("the cat near the dogs sits\nthe dogs sit\n", encoding="utf-8")
    given = ["find", *FEW, *arguments, "--text", str(folder / "text.txt"), "--out", str(folder / "run")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split()), json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))


def test_labels_for_which_no_time_is_left_are_left_out(tmp_path: Path) -> None:
    said, run = found(tmp_path, "--budget", "0.1s")
    assert "No labels: --budget is spent. They would take about 1 s. jumpwire labels --circuit" in said
    assert not (tmp_path / "run" / "labels.json").exists()
    assert run["decision"]["expected_seconds_of_stages"]["labels"] > 0
    assert "labels" not in run["seconds"]


def test_labels_are_foretold_beside_what_they_took(tmp_path: Path) -> None:
    said, run = found(tmp_path, "--method", "atp")
    assert "No labels" not in said
    assert (tmp_path / "run" / "labels.json").exists()
    assert run["expected_seconds"]["labels"] > 0
    assert run["seconds"]["labels"] > 0
