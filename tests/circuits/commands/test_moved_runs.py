"""Paths in run.json: as they were given; relative to the run where they lie below it, so that it can be moved whole."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.commands.app import app
from circuits.commands.shared.earlier_run import EarlierRun, portable
from circuits.embedded.sets import MODEL_FOLDER, SAES_FOLDER
from circuits.tasks.templates import text_pairs

FEW = ("--method", "atp", "--nodes", "8", "--no-labels", "--explained", "0", "--validation", "0", "--resamples", "0")


def jumpwire(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "500"}).invoke(app, list(map(str, arguments)))
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its model, its SAEs and its pairs below it, found from the folder above."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(MODEL_FOLDER, home / "run" / "in" / "model")
    shutil.copytree(SAES_FOLDER / "topk", home / "run" / "in" / "saes")
    for name, split in (("pairs", "train"), ("others", "held_out")):
        texts = text_pairs("agreement", split, 3, 0)
        rows = [{"clean": t.clean, "patch": t.patch, "answer": t.answer, "wrong": t.wrong} for t in texts]
        (home / "run" / "in" / f"{name}.json").write_text(json.dumps(rows))
    (home / "text.txt").write_text("the dogs sit\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        given = ("--model", "run/in/model", "--saes", home / "run" / "in" / "saes", "--pairs", "run/in/pairs.json")
        given += ("--held-out", "run/in/others.json", "--text", "text.txt")
        code, said = jumpwire("find", *given, *FEW, "--out", "run")
        assert code == 0, said
    return home / "run"


def test_paths_below_the_run_are_relative_to_it_and_others_as_given(run: Path) -> None:
    content = json.loads((run / "run.json").read_text())
    arguments = content["arguments"]
    below = {"model": "in/model", "saes": "in/saes", "pairs": "in/pairs.json", "held_out": "in/others.json"}
    assert {name: arguments[name] for name in below} == below
    assert content["paths_below_the_run"] == sorted(below)
    assert (arguments["text"], arguments["out"]) == ("text.txt", "run")


def test_a_run_that_was_moved_with_its_inputs_is_read_by_every_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(run, moved)
    monkeypatch.chdir(tmp_path)
    for command in (
        ("check", moved, "--explained", "0"),
        ("ablate", "--circuit", moved, "--test"),
        ("labels", "--circuit", moved, "--corpus", run.parent / "text.txt"),
        ("export", moved, "--html", "page.html"),
    ):
        code, said = jumpwire(*command)
        assert code == 0, said
    shutil.copytree(moved, tmp_path / "other")
    code, said = jumpwire("compare", "other", moved, "--out", "both", "--union", tmp_path / "union")
    assert code == 0, said
    united = json.loads((tmp_path / "union" / "run.json").read_text())
    assert united["paths_below_the_run"] == []
    assert EarlierRun.read(tmp_path / "union").inputs.pairs == "other/in/pairs.json"


def test_a_file_that_is_gone_is_named_with_the_run(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    (moved / "in" / "pairs.json").unlink()
    code, said = jumpwire("check", moved, "--out", tmp_path / "check")
    assert code == 2
    assert "run.json: --pairs" in said
    assert "no such file. Its paths are as they were given to `jumpwire find`" in said
    code, said = jumpwire("labels", "--circuit", moved, "--corpus", run.parent / "text.txt", "--cache", tmp_path / "c")
    assert code == 0, said  # which needs no pairs


def test_a_set_of_saes_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topk").mkdir()
    arguments = {"model": None, "saes": "topk", "pairs": None, "text": "/etc"}
    assert portable(arguments, tmp_path) == {"arguments": arguments, "paths_below_the_run": []}
    assert portable({**arguments, "model": "gpt2"}, tmp_path)["paths_below_the_run"] == ["saes"]
