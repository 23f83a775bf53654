"""GraphML and tables carry what features stand for: as text beside each node, and whole, to be read back."""

from dataclasses import replace
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest

from graphs import CircuitGraph, Labels
from graphs.files.graphml import read_graphml, read_graphml_labels, unescape_xml_text, write_graphml
from graphs.files.tables import read_table_labels, read_tables, write_tables
from tests.graphs.page.page_circuits import labels_saying, small_circuit
from tests.worlds.generated_circuits import HOSTILE

CIRCUIT = small_circuit()
LABELS = labels_saying(HOSTILE.replace("\ud800", ""))
FEATURE = LABELS.labels[0]


def texts_in_graphml(path: Path) -> dict[str, str]:
    nodes = nx.read_graphml(path).nodes(data=True)
    return {d["label"]: unescape_xml_text(d["feature_label"]) for _, d in nodes if "feature_label" in d}


def texts_in_tables(folder: Path) -> dict[str, str]:
    nodes = pd.read_parquet(folder / "nodes.parquet")
    return dict(nodes[["node", "feature_label"]].dropna().itertuples(index=False))


FORMATS = {
    "graphml": (write_graphml, read_graphml, read_graphml_labels, texts_in_graphml),
    "tables": (write_tables, read_tables, read_table_labels, texts_in_tables),
}


def named(circuit: CircuitGraph, site: str, index: int) -> list[str]:
    return [n for w in circuit.nodes if (n := circuit.name(w.node)).startswith(f"{site}/{index}@")]


@pytest.mark.parametrize("name", FORMATS)
def test_labels_stand_beside_their_nodes_and_are_read_back(name: str, tmp_path: Path) -> None:
    write, read, labels_of, texts = FORMATS[name]
    elsewhere = replace(FEATURE, index=FEATURE.index + 1000)
    write(CIRCUIT, tmp_path / "c", labels=Labels((elsewhere, *LABELS.labels), "text", 7, {"corpus": "abc"}))
    assert read(tmp_path / "c") == CIRCUIT
    assert labels_of(tmp_path / "c") == Labels(LABELS.labels, "text", 7, {"corpus": "abc"})
    expected = {node: label.text for label in LABELS for node in named(CIRCUIT, label.site, label.index)}
    assert texts(tmp_path / "c") == expected
    assert expected


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_labels_says_so(name: str, tmp_path: Path) -> None:
    write, read, labels_of, texts = FORMATS[name]
    write(CIRCUIT, tmp_path / "c")
    assert read(tmp_path / "c") == CIRCUIT
    assert labels_of(tmp_path / "c") is None
    assert texts(tmp_path / "c") == {}
