"""`--task` with a task for any model: the splits it has judge the circuit, those it cannot write are named."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.commands.app import app

FEW = (
    *("--saes", "topk", "--method", "atp", "--nodes", "12", "--no-labels"),
    *("--examples", "2", "--resamples", "0", "--beside", "none"),
)


def jumpwire(*arguments: str | Path, fails: bool = False) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == (2 if fails else 0), result.output
    return " ".join(result.output.split())


def test_find_judges_a_circuit_on_the_other_splits_of_the_task(tmp_path: Path) -> None:
    printed = jumpwire("find", "--task", "ioi", *FEW, "--layers", "3", "--other-examples", "2", "--out", tmp_path)
    assert printed.startswith("first of 2 prompts: [<s>]|")
    circuit = json.loads((tmp_path / "circuit.json").read_text(encoding="utf-8"))
    judged = {row["split"] for row in circuit["certificate"]["faithfulness"]}
    assert {"other_words", "other_templates", "adversarial"} <= judged
    assert "ioi" in jumpwire("check", tmp_path, "--explained", "0", "--verify", "5")
    text = tmp_path / "text.txt"
    text.write_text("when mary and john came , john gave a cup to mary\n", encoding="utf-8")
    printed = jumpwire("judge", tmp_path, "--examples", "2", "--text", text)
    content = json.loads((tmp_path / "judged.json").read_text(encoding="utf-8"))
    assert {"train", "other_words", "adversarial", "text"} <= {row["split"] for row in content["faithfulness"]}
    assert "in which the circuit's strongest features fire" in printed
    assert "L3 resid_post/" in printed
    assert jumpwire("check", tmp_path, "--explained", "0", "--verify", "5")


def test_rank_takes_a_split_of_such_a_task(tmp_path: Path) -> None:
    options = ("--saes", "topk", "--method", "atp", "--examples", "3", "--out", tmp_path / "r.parquet")
    jumpwire("rank", "--task", "induction", "--split", "other_templates", *options)
    assert (tmp_path / "r.parquet").is_file()


def test_judge_needs_a_task_for_any_model_to_look_for_its_words(tmp_path: Path) -> None:
    jumpwire("find", *FEW, "--layers", "3", "--other-examples", "0", "--out", tmp_path)
    (tmp_path / "text.txt").write_text("the doctors see the boat\n", encoding="utf-8")
    given = ("judge", tmp_path, "--examples", "2")
    assert "--text needs a task for any model" in jumpwire(
        *given, "--task", "closing", "--text", tmp_path / "text.txt", fails=True
    )
    assert "No task 'agre'" in jumpwire(*given, "--task", "agre", fails=True)
    assert "held_out" in jumpwire(*given)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--task", "capital"), "0 of 25 countries with their capitals (2 needed)"),
        (("--task", "gender", "--split", "adversarial"), "No split 'adversarial' of task 'gender'. Splits: train,"),
        (("--task", "pronoun", "--split", "other_words"), "No split 'other_words'"),
        (("--task", "capitals"), "No task 'capitals'. Choose one of: agreement,"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...], match: str, tmp_path: Path
) -> None:
    assert match in jumpwire("find", *arguments, *FEW, "--out", tmp_path, fails=True)
