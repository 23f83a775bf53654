"""`jumpwire quality`, run as a user runs it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from graphs import Histogram

SMALL = ("--layers", "3", "--tokens", "130")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["quality", *map(str, arguments)], env={"COLUMNS": "120"})


def test_two_sets_are_measured_compared_and_written_and_a_second_run_computes_nothing(tmp_path: Path) -> None:
    first = run("relu", "topk", *SMALL, "--families", "a,b", "--out", tmp_path)
    assert first.exit_code == 0, first.output
    content = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    relu, topk = content["dictionaries"]
    assert [(one["name"], one["family"]) for one in (relu, topk)] == [("relu", "a"), ("topk", "b")]
    assert relu["sites"][0]["gamma"] < topk["sites"][0]["gamma"]
    assert relu["tokens"] == topk["tokens"]
    assert relu["positions"] in range(120, 200)
    assert set(relu["sites"][0]["frequencies"]) == set(Histogram.__dataclass_fields__)
    for words in (
        "relu: the dictionary at L3 resid_post raises",
        "What it does to predictions",
        "b_enc",
        "No two families",
    ):
        assert words in first.output
    assert (tmp_path / "quality.html").stat().st_size > 1_000_000
    again = run("relu", "topk", *SMALL, "--families", "a,b", "--out", tmp_path)
    assert "Chunks of work: 0 computed, 4 reused" in again.output
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8")) == content


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the dogs near the farmer like the cats .\n" * 3, encoding="utf-8")
    found = run("gated", "--layers", "2", "--text", tmp_path / "text.txt", "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert "On text.txt: 27 positions read, 27 next tokens predicted" in found.output
    assert "b_gate" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "FOLDER nowhere: no such folder. Embedded sets: gated"),
        (("relu", "nowhere"), "FOLDER nowhere: no such folder"),
        (("relu", "relu"), "relu is given twice"),
        (("relu", "topk", "--families", "a"), "--families names 1 families for 2 folder(s)"),
        (("--text", "nowhere.txt"), "--text nowhere.txt: no such file"),
        (("--model", "nowhere"), "--model needs FOLDER: SAEs trained on that model"),
        (("relu", "--model", "nowhere"), "give --text"),
        (("--tokens", "1"), "--tokens"),
    ],
)
def test_wrong_input_ends_with_one_sentence_before_anything_is_loaded(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out" / "quality" / "quality.json").exists()
