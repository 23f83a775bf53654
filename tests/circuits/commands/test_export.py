"""`jumpwire export`, run as a user runs it: every format from every kind of source, without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from circuits.commands.export import FORMATS
from graphs import (
    Certificate,
    CircuitGraph,
    Edge,
    ErrorNode,
    FeatureLabel,
    FeatureNode,
    Labels,
    Measurement,
    MetricNode,
    Node,
    Position,
    TokenNode,
    WeightedNode,
    left_out_of,
    load_circuit,
    read_graphml,
    read_neuronpedia,
    read_tables,
    save_circuit,
    save_labels,
)
from tests.worlds.generated_circuits import MEASURED
from tests.worlds.traced_graph import AUSTIN, traced

MLP, POST = "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post"
NODES: tuple[Node, ...] = (
    TokenNode(0),
    FeatureNode(MLP, 0, 7),
    FeatureNode(POST, 1, 3),
    ErrorNode(POST, 1),
    MetricNode("logit_difference"),
)
ENDS = ((0, 1), (1, 2), (2, 4), (3, 4))
FULL = CircuitGraph(
    sites=(MLP, POST),
    positions=(Position("noun", " cat", " dogs"), Position("verb", " sits", " sits")),
    nodes=tuple(WeightedNode(node, 0.25 * n, 0.5 * n, None, 2, None, None) for n, node in enumerate(NODES)),
    edges=tuple(Edge(NODES[s], NODES[t], 0.5 - t) for s, t in ENDS),
    measurement=Measurement(**MEASURED, examples=2, total_effect=1.0, residual_max=None),
    certificate=Certificate(
        hashes={"model": "0" * 64, "saes": {}, "prompts": "1" * 64}, circuit_verified=1.0, error_share=None
    ),
)
LABELS = Labels((FeatureLabel(MLP, 7, "plural", "yours", (), None, None, 0.5, 1.0),), "some text", 100)
ENDINGS = {"html": "c.html", "neuronpedia": "c.json", "graphml": "c.graphml", "tables": "tables", "dot": "c.dot"}


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], terminal_width=300)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, with labels."""
    (tmp_path / "run").mkdir()
    save_circuit(FULL, tmp_path / "run" / "circuit.json")
    save_labels(LABELS, tmp_path / "run" / "labels.json")
    return tmp_path / "run"


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_every_format_is_written_and_read_back(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    asked = [part for name, ending in ENDINGS.items() for part in (f"--{name}", out / ending)]
    result = export(run, *asked)
    assert result.exit_code == 0, result.output
    assert set(ENDINGS) == set(FORMATS)
    assert {path.name for path in out.iterdir()} == set(ENDINGS.values())
    assert {path.name for path in (out / "tables").iterdir()} == {"nodes.parquet", "edges.parquet"}
    assert read_neuronpedia(out / "c.json").circuit == FULL
    assert read_graphml(out / "c.graphml") == FULL
    assert read_tables(out / "tables") == FULL
    assert "<!doctype html>" in (out / "c.html").read_text(encoding="utf-8").lower()
    assert "digraph circuit {" in (out / "c.dot").read_text(encoding="utf-8")
    assert "4 nodes, 4 edges, 1 of 2 features labelled, with a certificate" in said(result)
    assert all(words in said(result) for words in FORMATS.values())


@pytest.mark.parametrize("source", ["c.json", "c.graphml", "tables"])
def test_what_was_written_can_be_exported_again(source: str, run: Path, tmp_path: Path) -> None:
    asked = ["--neuronpedia", "c.json", "--graphml", "c.graphml", "--tables", "tables"]
    asked = [tmp_path / part if not part.startswith("--") else part for part in asked]
    assert export(run, *asked).exit_code == 0
    result = export(tmp_path / source, "--neuronpedia", tmp_path / "again.json")
    assert result.exit_code == 0, result.output
    assert read_neuronpedia(tmp_path / "again.json").circuit == FULL


def test_a_graph_of_circuit_tracer_becomes_a_page(tmp_path: Path) -> None:
    content = traced(pinnedIds=["2_7_2"], supernodes=[["cities", "0_253_1"]])
    (tmp_path / "g.json").write_text(json.dumps(content), encoding="utf-8")
    result = export(tmp_path / "g.json", "--html", tmp_path / "g.html", "--dot", tmp_path / "g.dot")
    assert result.exit_code == 0, result.output
    assert "1 of 2 features labelled, 1 pinned, 1 supernode(s), without a certificate" in said(result)
    assert "Evidence: not measured: weights and influence of circuit-tracer's" in said(result)
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "capital on gemma-2-2b" in page
    assert '"blocks.2.mlp/7@2"' in page
    assert AUSTIN.replace('"', '\\"') in (tmp_path / "g.dot").read_text(encoding="utf-8")


def test_fewer_edges_are_told_printed_and_stored_in_every_file(run: Path, tmp_path: Path) -> None:
    extra = replace(FULL.edges[0], target=FULL.edges[1].target, weight=0.01)
    save_circuit(replace(FULL, edges=(*FULL.edges, extra)), run / "circuit.json")
    asked = ["--neuronpedia", tmp_path / "c.json", "--graphml", tmp_path / "c.graphml", "--tables", tmp_path / "t"]
    result = export(run, *asked, "--dot", tmp_path / "c.dot", "--max-edges", "3")
    assert result.exit_code == 0, result.output
    assert "4 of 5 edges are kept" in said(result)
    assert "More than asked for, because every node keeps its strongest edges in and out." in said(result)
    thin = read_neuronpedia(tmp_path / "c.json").circuit
    assert thin.edges == FULL.edges
    assert thin == read_graphml(tmp_path / "c.graphml") == read_tables(tmp_path / "t")
    left_out = left_out_of(thin)
    assert left_out is not None
    assert left_out.sentence in said(result)
    assert left_out.sentence in (tmp_path / "c.dot").read_text(encoding="utf-8")


def test_names_are_those_given_else_those_of_the_run(run: Path, tmp_path: Path) -> None:
    task = replace(FULL.measurement, inputs={"task": "my task!", "model": "google/gemma-2-2b"})
    save_circuit(replace(FULL, measurement=task), run / "circuit.json")
    target = tmp_path / "c.json"
    for given, expected in (([], ("my-task", "gemma-2-2b")), (["--slug", "a", "--scan", "b"], ("a", "b"))):
        assert export(run, "--neuronpedia", target, *given).exit_code == 0
        metadata = json.loads(target.read_text(encoding="utf-8"))["metadata"]
        assert (metadata["slug"], metadata["scan"]) == expected
    assert export(run, "--html", tmp_path / "c.html", "--title", "A <title>").exit_code == 0
    assert "A &lt;title&gt;" in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_labels_of_other_saes_are_refused(run: Path, tmp_path: Path) -> None:
    known = replace(FULL.measurement, inputs={"hashes": {"saes": {MLP: "one"}}})
    save_circuit(replace(FULL, measurement=known), run / "circuit.json")
    save_labels(replace(LABELS, inputs={"saes": {MLP: "other"}}), run / "labels.json")
    result = export(run, "--html", tmp_path / "c.html")
    assert result.exit_code == 2
    assert f"labels are of another SAE than the circuit's at {MLP}" in said(result)
    save_labels(replace(LABELS, inputs={"saes": {MLP: "one"}}), tmp_path / "mine.json")
    assert export(run, "--html", tmp_path / "c.html", "--labels", tmp_path / "mine.json").exit_code == 0


def test_wrong_choices_are_one_sentence_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    before = (run / "circuit.json").read_bytes()
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    target = tmp_path / "c.html"
    wrong = {
        "Choose what to write: --html, --neuronpedia, --graphml, --tables, --dot": [run],
        "would overwrite the run's circuit: give another path": [run, "--neuronpedia", run / "circuit.json"],
        "would overwrite the circuit that is read": [run / "labels.json", "--html", run / "labels.json"],
        "would overwrite what --html writes": [run, "--html", target, "--dot", target],
        "is a folder: give a file in it": [run, "--html", tmp_path],
        "is a file: give a folder": [run, "--tables", tmp_path / "text.json"],
        "nothing: no such file. Give a run's folder": [tmp_path / "nothing", "--html", target],
        "text.json: this file holds no circuit. Give a run's folder": [tmp_path / "text.json", "--html", target],
        "this folder has neither a circuit.json nor a nodes.parquet": [tmp_path / "empty", "--html", target],
        "no.json: no such file": [run, "--html", target, "--labels", tmp_path / "no.json"],
        "Slug 'a b' is not made of": [run, "--neuronpedia", target, "--slug", "a b"],
    }
    for sentence, arguments in wrong.items():
        result = export(*arguments)
        assert result.exit_code == 2, result.output
        assert sentence.replace(" ", "") in said(result).replace(" ", "")  # paths of any length wrap anywhere
        assert not target.exists()
    assert (run / "circuit.json").read_bytes() == before
    assert load_circuit(run / "circuit.json") == FULL
    assert not list(tmp_path.rglob(".unfinished*"))


def test_export_imports_no_torch_and_pandas_only_for_tables(run: Path, tmp_path: Path) -> None:
    targets = {"--html": "c.html", "--neuronpedia": "c.json", "--tables": "t"}
    code = "import sys\nfrom circuits.commands.app import app\n"
    for option, name in targets.items():
        code += f"app({['export', str(run), option, str(tmp_path / name)]!r}, standalone_mode=False)\n"
        code += "print('heavy:', sorted({'torch', 'transformers', 'pandas', 'pyarrow'} & set(sys.modules)))\n"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = [line for line in shown.stdout.splitlines() if line.startswith("heavy:")]
    assert heavy == ["heavy: []", "heavy: []", "heavy: ['pandas', 'pyarrow']"]
    assert all((tmp_path / name).exists() for name in targets.values())
