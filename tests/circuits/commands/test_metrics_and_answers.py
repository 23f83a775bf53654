"""Metrics of the user's own, other positions, several answers, long ones and none, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attribution.effects.effects import Effects
from circuits.commands.app import app
from circuits.embedded.load import load_model
from circuits.ranking.ranking_file import read_ranking

CLEAN, PATCH = "the doctors near the cake", "the doctor near the cake"
FEW = ("--method", "atp", "--nodes", "5", "--no-labels", "--validation", "0", "--test", "0", "--resamples", "0")
ROWS: list[dict[str, Any]] = [
    {"clean": CLEAN, "patch": PATCH, "answers": ["are", "were"], "wrongs": ["is", "was"]},
    {"clean": PATCH, "patch": CLEAN},
]


def jumpwire(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": ROWS}))
    return tmp_path / "pairs.json"


def test_find_says_what_the_answers_are(pairs: Path, tmp_path: Path) -> None:
    said = jumpwire("find", "--pairs", pairs, "--saes", "relu", *FEW, "--explained", "0", "--out", tmp_path / "run")
    assert "Answers: 1 pair(s) have several answers (logit_difference: log Σ exp of their logits" in said
    assert "1 pair(s) have no answer (the model's likeliest token after the clean prompt against its second)" in said
    ran = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["answers"]
    first, second = ran["per_pair"]
    assert [answer[0].strip() for answer in first["answers"]] == ["are", "were"]
    assert (first["predicted"], second["predicted"]) == (False, True)
    assert second["answers"] != second["wrong"]


def test_a_metric_of_ones_own_reaches_rank_and_find_and_check(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_gap.py").write_text("def gap(logits, batch):\n    return logits[:, 5] - logits[:, 7]\n")
    monkeypatch.chdir(tmp_path)
    given = ("--pairs", pairs, "--saes", "relu", "--metric", "my_gap:gap at -2")
    jumpwire("rank", *given, "--method", "atp", "--out", tmp_path / "r.parquet")
    assert read_ranking(tmp_path / "r.parquet").metric == "my_gap:gap at -2"
    jumpwire("find", *given, *FEW, "--explained", "0", "--out", tmp_path / "run")
    effects = Effects.read_parquet(tmp_path / "run" / "effects.parquet")
    assert effects.metric == "my_gap:gap at -2"
    last = max(len(load_model().token_ids(text)) for text in (CLEAN, PATCH)) - 1
    assert (abs(effects.effect[effects.position == last]) < 1e-6).all()
    asked = "--metric", "my_gap:gap at -2"
    assert asked[1] in jumpwire("check", tmp_path / "run", *asked, "--explained", "0", "--out", tmp_path / "check")


@pytest.mark.parametrize("command", [["check"], ["ablate", "--test", "--circuit"], ["compare", "other"]])
def test_code_that_a_run_names_is_not_imported_unasked(
    command: list[str], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumpwire("find", "--pairs", pairs, "--saes", "relu", *FEW, "--explained", "0", "--out", tmp_path / "run")
    jumpwire("find", "--pairs", pairs, "--saes", "relu", *FEW, "--explained", "0", "--out", tmp_path / "other")
    for name in ("run.json", "circuit.json"):
        file = tmp_path / "run" / name
        file.write_text(
            file.read_text(encoding="utf-8").replace('"logit_difference"', '"harmful:run"'), encoding="utf-8"
        )
    run = tmp_path / "run" / "run.json"
    content = json.loads(run.read_text(encoding="utf-8"))
    del content["files"]
    run.write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, "run"])
    assert result.exit_code == 2
    assert "add --metric harmful:run" in " ".join(result.output.split())


def test_a_metric_that_does_not_exist_ends_the_command(pairs: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["rank", "--pairs", str(pairs), "--metric", "nothing", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "No metric 'nothing'. Choose one of: logit_difference," in " ".join(result.output.split())
