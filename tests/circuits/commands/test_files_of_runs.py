"""Commands that read a run refuse files of another, and those that write leave what is not theirs alone."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.commands.app import app
from circuits.commands.shared.inputs import ModelInputs

FIND = ("find", "--saes", "relu", "--method", "atp", "--nodes", "8", "--examples", "2", "--other-examples", "0")
FIND += ("--no-labels", "--resamples", "0", "--explained", "0")


def jumpwire(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for seed in ("0", "1"):
        code, said = jumpwire(*FIND, "--seed", seed, "--out", folder / seed)
        assert code == 0, said
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("circuit.json", ("ablate", "--circuit", "0", "--test")),
        ("circuit.json", ("labels", "--circuit", "0")),
        ("circuit.json", ("compare", "0", "1")),
        ("circuit.json", ("export", "0", "--dot", "x.dot")),
        ("circuit.json", ("export", "0/circuit.json", "--dot", "x.dot")),
        ("effects.parquet", ("check", "0")),
    ],
)
def test_a_file_of_another_run_is_refused_before_a_model_is_loaded(
    file: str, command: tuple[str, ...], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelInputs, "load_spliced", lambda *_: pytest.fail("loaded"))
    shutil.copy(runs / "1" / file, runs / "0" / file)
    code, said = jumpwire(*command)
    assert code == 2, said
    assert f"0/{file} is not the file that the run.json beside it was written with" in said
    assert "Make the run again (finished work is reused)" in said
    assert not (runs / "x.dot").exists()


def test_a_circuit_that_was_copied_out_is_read_by_itself(runs: Path, tmp_path: Path) -> None:
    content = json.loads((runs / "0" / "circuit.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert jumpwire("export", tmp_path / "mine.json", "--dot", "x.dot")[0] == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("compare", "0", "1", "--union", "0"), "--union 0 would overwrite what is compared"),
        (("compare", "0", "1", "--union", "u", "--intersection", "u"), "--intersection u would overwrite the union"),
        (("check", "0", "--out", "1"), "1 holds another run, whose verdict this is not: give another --out."),
        (("check", "--saes", "relu", "--out", "1"), "1 holds another run"),
        (("labels", "--circuit", "0", "--out", "1/run.json"), "--out 1/run.json is a file of a run"),
        (("labels", "--circuit", "0", "--out", "0/circuit.json"), "--out 0/circuit.json is a file of a run"),
        (("export", "0", "--html", "0/circuit.json"), "would overwrite the run's circuit"),
        (("export", "0", "--html", "0/run.json"), "would overwrite the run's run.json"),
        (("export", "0/circuit.json", "--dot", "0/effects.parquet"), "would overwrite the run's effects.parquet"),
    ],
)
def test_what_would_overwrite_a_run_is_refused(
    command: tuple[str, ...], words: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelInputs, "load_spliced", lambda *_: pytest.fail("loaded"))
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    code, said = jumpwire(*command)
    assert code == 2, said
    assert words in said
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_a_verdict_and_labels_join_the_run_and_go_with_it(runs: Path) -> None:
    assert jumpwire("check", "0", "--explained", "0")[0] == 0
    files = json.loads((runs / "0" / "run.json").read_text())["files"]
    assert {"verdict.json", "verdict.html", "circuit.json", "effects.parquet"} <= files.keys()
    assert jumpwire("export", "0", "--html", "x.html")[0] == 0
    shutil.copy(runs / "0" / "circuit.json", runs / "0" / "verdict.json")
    code, said = jumpwire("export", "0", "--html", "x.html")
    assert (code, "verdict.json is not the file" in said) == (2, True)
    assert jumpwire(*FIND, "--seed", "0", "--out", "0")[0] == 0
    assert "verdict.html" not in {path.name for path in (runs / "0").iterdir()}
