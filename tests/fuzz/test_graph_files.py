"""Fuzz: files of circuits, verdicts, labels and comparisons. What a reader accepts, every writer can write."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from circuits.comparing.compare import compare
from circuits.comparing.side import Side
from circuits.discovery.export import Format, export
from graphs import (
    Certificate,
    CircuitGraph,
    Labels,
    load_circuit,
    load_comparison,
    load_labels,
    load_verdict,
    read_graphml,
    read_neuronpedia,
    read_tables,
    save_circuit,
    save_comparison,
    save_labels,
    save_verdict,
    write_comparison_page,
    write_graphml,
    write_neuronpedia,
    write_tables,
    write_verdict_page,
)
from graphs.certificate import Faithfulness, SAEQuality, SiteQuality
from graphs.files.parquet_file import HEAD_KEY
from graphs.page.pack_columns import pack_columns
from graphs.page.payload import payload
from tests.fuzz.hostile_json import CORPUS, PLAIN, hostile_bytes, hostile_json
from tests.fuzz.trial import fuzz
from tests.graphs.page.page_circuits import labels_saying, small_circuit
from tests.worlds.synthetic_verdicts import verdict
from tests.worlds.traced_graph import traced


def certified() -> CircuitGraph:
    site = SiteQuality("blocks.0.hook_mlp_out", l0=4.0, fvu=0.1, ce_recovered=0.95, ce_increase=0.1, kl=0.1)
    quality = SAEQuality("task", 10, (site,), 0.9, 0.2, 0.1)
    numbers = (4.0, 0.0, 3.6, 0.4, 0.9, 0.8, 1.0, 0.1, 0.0, 0.2, 0.95, 1000)
    faithful = Faithfulness("held_out", 8, 3, "counterfactual", "nodes", "logit_difference", "logits", *numbers)
    hashes = {"model": "a" * 64, "saes": {site.site: "b" * 64}, "prompts": "c" * 64}
    certificate = Certificate(hashes, 1.0, 0.1, flow_shown=0.9, quality=(quality,), faithfulness=(faithful,))
    return replace(small_circuit(inputs={"hashes": hashes, "task": "t"}), certificate=certificate)


FORMATS: tuple[Format, ...] = ("neuronpedia", "graphml", "dot", "tables", "json")


def write(circuit: CircuitGraph, labels: Labels | None, folder: Path, content: bytes) -> None:
    """Makes what a page of a circuit holds, and writes the circuit in another format, which the content decides."""
    pack_columns(*payload(circuit, title="t", labels=labels))
    chosen = FORMATS[crc32(content) % len(FORMATS)]
    export(circuit, folder / "written" / chosen, labels=labels, format=chosen)


@pytest.mark.parametrize("kind", ["circuit", "verdict", "labels", "comparison", "neuronpedia", "circuit-tracer"])
def test_a_json_file_is_refused_in_a_sentence_or_can_be_shown(kind: str, tmp_path: Path) -> None:
    file, page = tmp_path / "file.json", tmp_path / "page.html"
    sides = Side(certified(), name="one"), Side(small_circuit(), name="two")

    def use(content: bytes) -> None:
        file.write_bytes(content)
        if kind == "circuit":
            write(load_circuit(file), None, tmp_path, content)
        elif kind == "verdict":
            found = load_verdict(file)
            if crc32(content) % 20 == 0:  # the page takes a hundred times longer than the reader
                write_verdict_page(found, page, title="t")
        elif kind == "labels":
            write(small_circuit(), load_labels(file), tmp_path, content)
        elif kind == "comparison":
            write_comparison_page(load_comparison(file), sides[0].circuit, sides[1].circuit, page, title="t")
        else:
            found = read_neuronpedia(file)
            write(found.circuit, found.labels, tmp_path, content)

    if kind == "circuit":
        save_circuit(certified(), file)
    elif kind == "verdict":
        save_verdict(verdict(nodes=12, wrong=4), file)
    elif kind == "labels":
        save_labels(labels_saying("a cat"), file)
    elif kind == "comparison":
        save_comparison(compare(*sides), file)
    elif kind == "neuronpedia":
        names = [w.node for w in certified().nodes]
        marked = {"pinned": [certified().name(names[1])], "supernodes": [("g", [certified().name(names[2])])]}
        write_neuronpedia(certified(), file, slug="a", scan="b", labels=labels_saying("a cat"), **marked)
    else:
        file.write_text(json.dumps(traced(clickedId="2_7_2")), encoding="utf-8")
    right = json.loads(file.read_text(encoding="utf-8"))
    use(file.read_bytes())
    fuzz(f"{kind} (JSON)", hostile_json(right), use, CORPUS)


@st.composite
def hostile_graphml(draw: st.DrawFn, right: bytes) -> bytes:
    """GraphML with other texts, attributes and elements."""
    root = ElementTree.fromstring(right)
    right_json = {element.text for element in root.iter() if (element.text or "").startswith(("{", "["))}
    for _ in range(draw(st.integers(1, 3))):
        parents = [e for e in root.iter() if len(e)]
        parent = draw(st.sampled_from(parents))
        element = draw(st.sampled_from(list(parent)))
        how = draw(st.sampled_from(["text", "text", "attribute", "gone", "twice", "inside", "json"]))
        texts = st.sampled_from(
            ["", "x", "nan", "inf", "1e39", "-1", "9" * 5000, "true", "null", "[]", '{"a":1}', "[" * 500]
        )
        if how == "text":
            element.text = draw(texts)
        elif how == "attribute" and element.attrib:
            element.set(draw(st.sampled_from(sorted(element.attrib))), draw(texts))
        elif how == "gone":
            parent.remove(element)
        elif how == "twice":
            parent.append(element)
        elif how == "inside":
            element.append(copy.deepcopy(draw(st.sampled_from(parents[1:]))))
        elif element.text in right_json:
            element.text = draw(hostile_json(json.loads(element.text))).decode("utf-8", "replace").replace("\x00", "")
    return draw(hostile_bytes(ElementTree.tostring(root)))


BOMB = b'<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "%s"><!ENTITY b "%s"><!ENTITY c "%s">]><graphml>&c;</graphml>' % (
    *(b"a" * 1000, b"&a;" * 1000, b"&b;" * 1000),
)
OTHER_XML = (b"", b"<", b"<graphml/>", b"<a>" * 5000, BOMB, b'<?xml version="1.0" encoding="none"?><graphml/>')


def test_a_graphml_file_is_refused_in_a_sentence_or_can_be_shown(tmp_path: Path) -> None:
    file = tmp_path / "c.graphml"

    def use(content: bytes) -> None:
        file.write_bytes(content)
        write(read_graphml(file), None, tmp_path, content)

    write_graphml(certified(), file)
    fuzz("circuit (GraphML)", hostile_graphml(file.read_bytes()), use, OTHER_XML)


CELLS = tuple(value for value in PLAIN if not isinstance(value, dict | list))
"""pyarrow itself fails on the way to a file with other values."""


@st.composite
def hostile_table(draw: st.DrawFn, right: pa.Table) -> pa.Table:
    """A table with another column, or other cells in one, or other metadata."""
    how = draw(st.sampled_from(["cells", "cells", "cells", "gone", "renamed", "rows", "head"]))
    number = draw(st.integers(0, right.num_columns - 1))
    name = right.column_names[number]
    if how == "gone":
        return right.drop_columns([name])
    if how == "renamed":
        return right.rename_columns([*right.column_names[:number], "x", *right.column_names[number + 1 :]])
    if how == "rows":
        return right.slice(draw(st.integers(0, right.num_rows)), draw(st.integers(0, right.num_rows)))
    if how == "head":
        head = right.schema.metadata[HEAD_KEY]
        return right.replace_schema_metadata({HEAD_KEY: draw(hostile_json(json.loads(head)))})
    cell = draw(st.one_of(st.sampled_from(CELLS), st.floats()))
    cells = right[name].to_pylist()
    if draw(st.booleans()) or not cells:
        cells = [cell] * len(cells)
    else:
        cells[draw(st.integers(0, len(cells) - 1))] = cell
    try:
        return right.set_column(number, name, pa.array(cells))
    except (pa.ArrowException, OverflowError):  # no column holds such cells
        return right.drop_columns([name])


@st.composite
def hostile_parquet(draw: st.DrawFn, right: pa.Table) -> bytes:
    """A Parquet file with another table, or with other bytes."""
    sink = pa.BufferOutputStream()
    changed = draw(st.integers(0, 7)) > 0
    pq.write_table(draw(hostile_table(right)) if changed else right, sink)
    content = sink.getvalue().to_pybytes()
    if changed:
        return content
    at = draw(st.integers(0, len(content) - 1))
    return draw(st.sampled_from([content[:at], content[:at] + b"\xff" + content[at + 1 :]]))


@pytest.mark.parametrize("name", ["nodes", "edges"])
def test_a_table_is_refused_in_a_sentence_or_can_be_shown(name: str, tmp_path: Path) -> None:
    write_tables(certified(), tmp_path / "t")
    file = tmp_path / "t" / f"{name}.parquet"

    def use(content: bytes) -> None:
        file.write_bytes(content)
        write(read_tables(tmp_path / "t"), None, tmp_path, content)

    fuzz(f"circuit ({name}.parquet)", hostile_parquet(pq.read_table(file)), use, (b"", b"PAR1", b"PAR1" * 4))
