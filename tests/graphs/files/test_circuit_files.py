"""Files that other tools read hold the whole circuit: what is read is what was written, and twice the same bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
import pandas as pd
import pytest
from hypothesis import given, settings

from graphs import CircuitGraph, Position, load_circuit, save_circuit
from graphs.files.graphml import escape_xml_text, read_graphml, unescape_xml_text, write_graphml
from graphs.files.neuronpedia_read import read_neuronpedia
from graphs.files.neuronpedia_write import write_neuronpedia
from graphs.files.tables import read_tables, write_tables
from tests.graphs.test_circuit_graph import CIRCUIT
from tests.graphs.words.test_certificate_words import CERTIFICATE
from tests.worlds.generated_circuits import HOSTILE, circuits

FULL = replace(CIRCUIT, certificate=CERTIFICATE)


def written_neuronpedia(circuit: CircuitGraph, path: Path) -> None:
    write_neuronpedia(circuit, path, slug="a", scan="b")


FORMATS: dict[str, tuple[Callable[[CircuitGraph, Path], None], Callable[[Path], CircuitGraph]]] = {
    "json": (save_circuit, load_circuit),
    "neuronpedia": (written_neuronpedia, lambda path: read_neuronpedia(path).circuit),
    "graphml": (write_graphml, read_graphml),
    "tables": (write_tables, read_tables),
}


def files(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "json"])
@settings(max_examples=40, deadline=None)
@given(circuit=circuits())
def test_what_is_read_is_what_was_written(name: str, circuit: CircuitGraph) -> None:
    write, read = FORMATS[name]
    with TemporaryDirectory() as folder:
        write(circuit, Path(folder) / "circuit")
        assert read(Path(folder) / "circuit") == circuit


@pytest.mark.parametrize("name", FORMATS)
def test_the_certificate_comes_along_and_the_bytes_are_the_same(name: str, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    write(FULL, tmp_path / "one")
    assert read(tmp_path / "one") == FULL
    write(read(tmp_path / "one"), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@given(circuit=circuits())
@settings(max_examples=20, deadline=None)
def test_circuits_that_differ_make_files_that_differ(circuit: CircuitGraph) -> None:
    other = replace(circuit, measurement=replace(circuit.measurement, pruned=circuit.measurement.pruned + 1))
    for write, read in FORMATS.values():
        if write is save_circuit:
            continue
        with TemporaryDirectory() as folder:
            write(other, Path(folder) / "circuit")
            assert read(Path(folder) / "circuit") != circuit


def test_hostile_text_survives_xml() -> None:
    safe = escape_xml_text(HOSTILE)
    assert safe.isprintable() or "\u202e" in safe
    assert not any(c in safe for c in "\x00\n\r\t\ud800")
    assert unescape_xml_text(safe) == HOSTILE
    assert unescape_xml_text(escape_xml_text("\\u0041 \\\\")) == "\\u0041 \\\\"
    assert unescape_xml_text("\\ud800") == "\\ud800", "half of a pair is no character"


def test_graphml_is_read_by_networkx_with_numbers_and_names(tmp_path: Path) -> None:
    write_graphml(FULL, tmp_path / "c.graphml")
    graph = nx.read_graphml(tmp_path / "c.graphml")
    by_label = {data["label"]: data for _, data in graph.nodes(data=True)}
    assert set(by_label) == {FULL.name(w.node) for w in FULL.nodes}
    assert by_label["blocks.0.hook_mlp_out/7@noun"]["effect"] == -0.25
    assert sum(data["weight"] for *_, data in graph.edges(data=True)) == sum(e.weight for e in FULL.edges)


def test_graphml_of_another_tool_is_refused(tmp_path: Path) -> None:
    nx.write_graphml(nx.path_graph(3), tmp_path / "other.graphml")
    with pytest.raises(ValueError, match=r"other.graphml: not a circuit in GraphML \(sites is missing\)"):
        read_graphml(tmp_path / "other.graphml")
    (tmp_path / "text.graphml").write_text("no xml")
    with pytest.raises(ValueError, match=r"text.graphml: not GraphML that can be read \(ParseError"):
        read_graphml(tmp_path / "text.graphml")


def test_tables_are_plain_columns_for_pandas(tmp_path: Path) -> None:
    estimated = replace(FULL.nodes[1], estimates={"atp": 0.5}, flags={"missed": 2})
    write_tables(replace(FULL, nodes=(FULL.nodes[0], estimated, *FULL.nodes[2:])), tmp_path)
    nodes, edges = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("nodes", "edges"))
    rows = {row["node"]: row for row in nodes.to_dict("records")}
    row = rows["blocks.0.hook_mlp_out/7@noun"]
    assert (row["site"], row["index"], row["position_label"]) == ("blocks.0.hook_mlp_out", 7, "noun")
    assert (row["effect"], row["estimate.atp"], row["flag.missed"]) == (-0.25, 0.5, 2)
    assert nodes["estimate.atp"].tolist()[1] == 0.5 == nodes["estimate.atp"].sum()
    assert edges["weight"].tolist() == [edge.weight for edge in FULL.edges]


def test_tables_of_two_circuits_are_not_mixed(tmp_path: Path) -> None:
    other = replace(FULL, positions=(Position("noun", " a", " b"), FULL.positions[1]))
    for folder, circuit in ((tmp_path / "a", FULL), (tmp_path / "b", other)):
        write_tables(circuit, folder)
    (tmp_path / "b" / "edges.parquet").replace(tmp_path / "a" / "edges.parquet")
    with pytest.raises(ValueError, match="do not belong to one circuit of jumpwire"):
        read_tables(tmp_path / "a")
    with pytest.raises(
        FileNotFoundError, match=r"edges.parquet: no such file. A circuit in Parquet is a folder with nodes.parquet and"
    ):
        read_tables(tmp_path / "b")


@pytest.mark.parametrize("missing", ["sites", "nodes", "measurement"])
def test_a_file_without_a_part_is_not_a_whole_circuit(missing: str, tmp_path: Path) -> None:
    save_circuit(FULL, tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    (tmp_path / "c.json").write_text(json.dumps({k: v for k, v in content.items() if k != missing}))
    with pytest.raises(ValueError, match=rf"c.json: {missing} is missing"):
        load_circuit(tmp_path / "c.json")


def test_half_of_a_character_is_written_as_a_question_mark_in_every_format(tmp_path: Path) -> None:
    half = replace(FULL, positions=(Position("noun", " a\ud800", " b"), FULL.positions[1]))
    for number, (write, read) in enumerate(FORMATS.values()):
        write(half, tmp_path / str(number))
        assert read(tmp_path / str(number)).positions[0].clean_token == " a?"
