"""`jumpwire compare`, run as a user runs it: on two runs of the embedded model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from circuits.commands.compare import DEFAULT_LEAST
from circuits.comparing.matching import LEAST_CORRELATION, LEAST_COSINE
from graphs import load_circuit, load_comparison

FEW = ("--saes", "topk", "--method", "atp", "--nodes", "12", "--examples", "2", "--other-examples", "4", "--no-labels")


def jumpwire(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        result = jumpwire("find", *FEW, "--seed", str(seed), "--out", folder / f"seed-{seed}")
        assert result.exit_code == 0, result.output
    return folder / "seed-0", folder / "seed-1"


@pytest.fixture(scope="module")
def compared(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a comparison with union and intersection, and what was printed, on one line."""
    out = tmp_path_factory.mktemp("compared")
    combined = ("--union", out / "union", "--intersection", out / "both")
    result = jumpwire("compare", *runs, *combined, "--out", out)
    assert result.exit_code == 0, result.output
    return out, " ".join(result.output.split())


def test_the_numbers_are_printed_and_written(runs: tuple[Path, Path], compared: tuple[Path, str]) -> None:
    out, printed = compared
    found = load_comparison(out / "comparison.json")
    circuits = [load_circuit(run / "circuit.json") for run in runs]
    assert found.names == ("seed-0", "seed-1")
    inner = [{c.name(w.node) for w in c.strongest() if w.node.kind != "token"} for c in circuits]
    assert found.node_overlap.shared == len(inner[0] & inner[1])
    assert found.node_overlap.only_a == len(inner[0] - inner[1])
    assert f"{found.node_overlap.shared} nodes are in both circuits" in printed
    assert len(found.faithfulness) == 4
    for judged in found.faithfulness:
        assert f"{round(judged.measured.faithfulness, 2) + 0.0:.2f}".replace("-", "−") in printed
        assert judged.measured.low is not None
    for name in ("comparison.html", "comparison_nodes.parquet", "comparison_edges.parquet"):
        assert (out / name).is_file(), name


def test_f_of_each_circuit_on_its_own_task_is_that_of_its_certificate(
    runs: tuple[Path, Path], compared: tuple[Path, str]
) -> None:
    found = load_comparison(compared[0] / "comparison.json")
    for which, run in zip("ab", runs, strict=True):
        certificate = load_circuit(run / "circuit.json").certificate
        assert certificate is not None
        judged = next(f.measured for f in found.faithfulness if f.circuit == f.task == which)
        assert judged.faithfulness == pytest.approx(certificate.faithfulness[0].faithfulness, abs=1e-5)
        assert judged.pairs == certificate.faithfulness[0].pairs


@pytest.mark.parametrize("how", ["union", "both"])
def test_union_and_intersection_are_runs_that_other_commands_take(
    how: str, runs: tuple[Path, Path], compared: tuple[Path, str], tmp_path: Path
) -> None:
    folder = compared[0] / how
    circuit = load_circuit(folder / "circuit.json")
    assert circuit.certificate is not None
    assert [f.split for f in circuit.certificate.faithfulness] == ["seed-0", "seed-1", "own"]
    result = jumpwire("ablate", "--circuit", folder, "--op", "keep-only", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert jumpwire("export", folder, "--html", tmp_path / "page.html").exit_code == 0
    again = jumpwire("compare", folder, runs[1], "--out", tmp_path)
    assert again.exit_code == 0, again.output
    overlap = load_comparison(tmp_path / "comparison.json").node_overlap
    assert (overlap.only_b if how == "union" else overlap.only_a) == 0
    checked = jumpwire("check", folder)
    assert checked.exit_code == 2
    assert "has no effects.parquet" in " ".join(checked.output.split())


def test_runs_that_cannot_be_compared_are_refused_before_anything_is_loaded(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({}))
    for a, b, words in (
        (runs[0], runs[0], "are the same run"),
        (runs[0], tmp_path / "none", "no such folder. Give folders of two runs"),
        (runs[0], tmp_path, "has no circuit.json: not a whole run"),
    ):
        result = jumpwire("compare", a, b, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert words in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_defaults_are_those_of_matching() -> None:
    assert DEFAULT_LEAST == LEAST_COSINE == LEAST_CORRELATION
