"""`jumpwire model`: what a model proved, on the screen and in a file."""

import json
from pathlib import Path

from typer.testing import CliRunner

from circuits.commands.app import app
from tests.worlds.architectures import ARCHITECTURES, save_model


def test_it_says_what_the_model_proved_and_writes_it(tmp_path: Path) -> None:
    save_model(tmp_path / "falcon", ARCHITECTURES["Falcon with ALiBi"])
    target = tmp_path / "report.json"
    ran = CliRunner().invoke(app, ["model", str(tmp_path / "falcon"), "--out", str(target)], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    for words in ("its Hugging Face modules: TransformerLens computes other logits", "causal", "whole blocks"):
        assert words in ran.output
    report = json.loads(target.read_text())
    assert report["backend"] == "hugging-face"
    assert report["sites"]["hook_mlp_out"] == 2
    assert report["logits_difference"] == 0


def test_an_unknown_backend_is_an_error_that_lists_them(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["model", str(tmp_path), "--backend", "jax"])
    assert ran.exit_code == 2
    assert "transformer-lens" in ran.output


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    ran = CliRunner().invoke(app, ["model", str(tmp_path)], env={"COLUMNS": "300"})
    assert ran.exit_code == 2
    assert "an encoder with a decoder" in ran.output
