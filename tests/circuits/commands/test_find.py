"""`jumpwire find`, run as a user runs it: on the embedded model, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from attribution.effects.quadrature import RULES
from attribution.methods.registry import METHODS
from attribution.prompts.metrics import METRICS
from circuits.commands.app import app
from circuits.commands.shared.options import PATCH_NAMES
from circuits.tasks.templates import SPLITS, TASKS
from graphs import FeatureNode, certificate_lines, findings, load_circuit, load_labels, load_verdict
from graphs.files.index_json import load_index
from graphs.words.certificate_words import worst_of

COLUMNS = ["example", "site", "position", "kind", "index", "clean", "patch", "effect", "method", "error_mode"]
COLUMNS += ["gates", "open_effect"]


QUICK = ("--method", "atp", "--examples", "3", "--nodes", "20", "--rank-by", "chord-ig", "--saes", "topk")
QUICK += ("--other-examples", "4", "--no-labels")


def find(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["find", *map(str, arguments)])


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """AtP on three pairs of the agreement task, in a folder with a verdict of an earlier run; what it printed."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "verdict.json").write_text("of an earlier run", encoding="utf-8")
    result = find(*QUICK, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


@pytest.fixture(scope="module")
def run(quick: tuple[Path, str]) -> Path:
    return quick[0]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from circuits.commands.app import app; app(['--help'], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "find" in shown.stdout
    assert shown.stdout.split()[-1] == "False"


def test_help_names_everything_there_is_to_choose() -> None:
    shown = " ".join(find("--help").output.replace("│", " ").split())
    for name in (*METHODS, *METRICS, *RULES, *TASKS, *SPLITS, *PATCH_NAMES, "live", "frozen", "zero", "path"):
        assert name in shown


def test_effects_file_keeps_its_contract(run: Path) -> None:
    table = pq.read_table(run / "effects.parquet")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert {r["kind"] for r in rows} == {"feature", "error", "token"}
    assert all((r["index"] == -1) == (r["kind"] != "feature") for r in rows)
    assert {r["example"] for r in rows} == {0, 1, 2}
    assert len({(r["example"], r["site"], r["position"], r["kind"], r["index"]) for r in rows}) == len(rows)
    assert all(r["clean"] != r["patch"] for r in rows if r["kind"] != "error")
    assert np.isfinite([r["effect"] for r in rows]).all()
    assert {r["method"] for r in rows} == {"attribution_patching"}
    assert {r["error_mode"] for r in rows} == {"live"}


def test_run_file_has_totals_and_residuals_per_example(run: Path) -> None:
    content = json.loads((run / "run.json").read_text())
    total = content["total_effect"]["per_example"]
    signed = content["residual"]["signed"]
    assert len(total) == len(signed) == 3
    absolute, relative = content["residual"]["absolute"], content["residual"]["relative"]
    assert absolute["per_example"] == [abs(r) for r in signed]
    assert relative["per_example"] == pytest.approx([abs(r / t) for r, t in zip(signed, total, strict=True)])
    assert relative["median"] == pytest.approx(np.median(relative["per_example"]))
    assert relative["max"] == max(relative["per_example"])
    table = pq.read_table(run / "effects.parquet").to_pylist()
    tokens = [sum(r["effect"] for r in table if r["example"] == e and r["kind"] == "token") for e in range(3)]
    assert signed == pytest.approx([t - s for t, s in zip(total, tokens, strict=True)], rel=1e-5)
    assert set(content["hashes"]["saes"]) == set(load_circuit(run / "circuit.json").sites)
    assert content["arguments"]["seed"] == 0
    assert content["error_mode"] == "live"
    assert {"load", "effects", "write"} <= set(content["seconds"])


def test_circuit_file_holds_nodes_edges_and_a_certificate_and_says_what_they_are(run: Path) -> None:
    circuit = load_circuit(run / "circuit.json")
    assert len(circuit.strongest()) + circuit.measurement.pruned == 20
    assert circuit.measurement.evidence.startswith("not verified")
    assert circuit.measurement.ranked_by == "chord-ig"
    assert {edge.target.kind for edge in circuit.edges} == {"feature", "metric"}
    assert {edge.source.kind for edge in circuit.edges} >= {"feature", "token"}
    assert circuit.positions[0].label == "bos"
    assert circuit.positions[-1].label == "end"
    certificate = circuit.certificate
    assert certificate is not None
    assert [f.split for f in certificate.faithfulness] == ["held_out", "out_of_distribution", "own"]
    assert [f.pairs for f in certificate.faithfulness] == [4, 4, 3]
    assert [q.text for q in certificate.quality] == ["the task's answers", "general text"]
    assert dict(certificate.hashes) == json.loads((run / "run.json").read_text())["hashes"]


def test_the_certificate_comes_first_in_the_terminal(quick: tuple[Path, str]) -> None:
    _, printed = quick
    assert 0 < printed.index("faithfulness, training") < printed.index("token@subject")
    assert "■ node effects" in " ".join(printed.split())


def test_a_circuit_for_every_pair(tmp_path: Path) -> None:
    result = find(*QUICK, "--per-pair", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    circuits = [load_circuit(tmp_path / f"pair-{n:03}" / "circuit.json") for n in range(3)]
    assert [c.measurement.examples for c in circuits] == [1, 1, 1]
    assert len({c.measurement.total_effect for c in circuits}) == 3
    index = load_index(tmp_path / "index.json")
    assert (index.metric, index.unit) == ("logit_difference", "logits")
    for number, (row, circuit) in enumerate(zip(index.circuits, circuits, strict=True)):
        assert (row.pair, row.folder, row.nodes) == (number, f"pair-{number:03}", len(circuit.strongest()))
        assert row.patch_metric - row.clean_metric == pytest.approx(circuit.measurement.total_effect)
        assert row.colour == worst_of(certificate_lines(circuit))
        assert circuit.certificate is not None
        assert row.faithfulness == circuit.certificate.faithfulness[0].faithfulness
        assert f'href="{row.folder}/circuit.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
        assert (tmp_path / row.folder / "circuit.html").is_file()
    assert str(tmp_path / "index.html") in result.output.replace("\n", "")


def test_the_circuit_of_a_pair_is_checked_and_tested_on_that_pair(tmp_path: Path) -> None:
    few = ("--examples", "3", "--nodes", "8", "--saes", "topk", "--explained", "0")
    assert find(*few, "--per-pair", "--method", "exact", "--out", tmp_path).exit_code == 0
    for arguments in (("check", tmp_path / "pair-001"), ("ablate", "--circuit", tmp_path / "pair-002", "--test")):
        result = CliRunner().invoke(app, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "pair-002" / "causal_test.json").read_text(encoding="utf-8"))["causal_test"]
    assert (content["pairs"], content["own_pairs"]) == (1, True)
    assert content["largest_difference"] < 1e-4 * abs(content["total_effect"])
    assert load_verdict(tmp_path / "pair-001" / "verdict.json").examples == 1


def test_same_seed_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    assert find(*QUICK, "--out", tmp_path).exit_code == 0
    assert (tmp_path / "circuit.json").read_bytes() == (run / "circuit.json").read_bytes()


@pytest.fixture(scope="module")
def exact_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every node of two pairs patched, gates met, features labelled on four lines of text."""
    folder = tmp_path_factory.mktemp("exact")
    text = folder / "text.txt"
    text.write_text("the cat near the dogs sits\nthe dogs sit\nthe cat sits\nthe bird sings\n", encoding="utf-8")
    few = ("--examples", "2", "--nodes", "25", "--other-examples", "0", "--error", "frozen", "--explained", "2")
    result = find(*few, "--text", text, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    assert "IG (5 points) disagrees with patching" in " ".join(result.output.split())
    assert "verdict.json, labels.json, run.json" in " ".join(result.output.split())
    return folder / "run"


def test_an_exact_run_holds_what_the_checker_found_about_its_nodes(exact_run: Path) -> None:
    circuit, verdict = load_circuit(exact_run / "circuit.json"), load_verdict(exact_run / "verdict.json")
    assert (verdict.method, verdict.exact_error_mode) == ("integrated_gradients", "frozen")
    assert len(verdict.traces) == 2
    found = findings(circuit, verdict)
    traced = [finding for own in found.values() for finding in own if finding.trace is not None]
    assert {finding.verdict.cause for finding in traced} <= {"jump", "interaction"}
    assert any(finding.verdict.gates for finding in traced)
    certificate = circuit.certificate
    assert certificate is not None
    assert certificate.screening is None
    assert [curve.split for curve in certificate.curves] == ["own"]


def test_a_run_labels_the_circuits_features_on_the_text_given(exact_run: Path) -> None:
    circuit, labels = load_circuit(exact_run / "circuit.json"), load_labels(exact_run / "labels.json")
    features = {(w.node.site, w.node.index) for w in circuit.nodes if isinstance(w.node, FeatureNode)}
    assert {(label.site, label.index) for label in labels} == features
    assert labels.corpus == "text.txt"
    assert list((exact_run.parent / "label_cache").glob("labels-*.json"))


def test_a_verdict_of_an_earlier_run_goes_and_no_labels_means_none(run: Path) -> None:
    assert not (run / "labels.json").exists()
    assert not (run / "verdict.json").exists()


def test_page_makes_no_network_request(run: Path) -> None:
    page = (run / "circuit.html").read_text(encoding="utf-8")
    assert "<script src=" not in page
    assert "<link" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "agrement"], "No task 'agrement'"),
        (["--task", "agreement", "--pairs", "p.json"], "--task, --pairs or --prompt: one of them"),
        (["--pairs", "missing.json"], "no such file"),
        (["--model", "some/model"], "--model needs --saes"),
        (["--saes", "relux"], "Embedded sets"),
        (["--split", "test"], "No split 'test'"),
        (
            ["--method", "exact", "--error", "path"],
            "--method exact has no --error path. Give --error live",
        ),
        (
            ["--method", "ig-input", "--patch", "zero"],
            "--patch zero has none. Give --method ig, or --patch",
        ),
        (["--method", "igg"], "No method 'igg'. Choose one of: auto, exact, atp"),
        (["--metric", "loss"], "No metric 'loss'"),
        (["--method", "ig", "--rule", "left"], "No rule 'left'. Choose one of: midpoint"),
        (["--method", "atp", "--points", "9"], "has no path"),
        (["--method", "atp", "--metric", "kl_divergence"], "--metric kl_divergence is flat at the clean run"),
        (["--nodes", "5", "--share", "0.5"], "exactly one of"),
        (["--rank-by", "exactly"], "No rank-by 'exactly'"),
        (["--held-out", "missing.json"], "--held-out missing.json: no such file"),
        (["--explained", "-1"], "--explained"),
        (["--text", "missing.txt"], "--text missing.txt: no such file"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = find(*arguments, "--out", tmp_path / "never")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert list(tmp_path.glob("never/*")) == []


def test_a_folder_that_cannot_be_written_to_is_found_out_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = find("--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "file" in result.output
