"""A circuit goes to a file of the format that its name asks for, and comes back the same."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.generated_circuit import generated_circuit
from circuits.discovery.export import export
from graphs import CircuitGraph, load_circuit, read_graphml, read_neuronpedia, read_tables

READERS: dict[str, Callable[[Path], Any]] = {
    "c.json": load_circuit,
    "c.neuronpedia.json": lambda path: read_neuronpedia(path).circuit,
    "c.graphml": read_graphml,
    "folder/of/tables": read_tables,
}


@cache
def made() -> CircuitGraph:
    return generated_circuit(100, 200)[0]


@pytest.mark.parametrize("name", READERS)
def test_what_can_be_read_back_is_the_circuit(name: str, tmp_path: Path) -> None:
    circuit = made()
    assert export(circuit, tmp_path / name) == tmp_path / name
    assert READERS[name](tmp_path / name) == circuit
    assert not list(tmp_path.rglob(".unfinished*"))


@pytest.mark.parametrize(("name", "start"), [("c.html", "<!doctype html>"), ("c.dot", "digraph"), ("c.gv", "digraph")])
def test_pages_and_drawings_are_written(name: str, start: str, tmp_path: Path) -> None:
    text = export(made(), tmp_path / name, title="a task").read_text(encoding="utf-8")
    assert text.lower().startswith(start)


def test_a_format_that_is_named_wins_over_the_suffix(tmp_path: Path) -> None:
    path = export(made(), tmp_path / "graph.json", format="neuronpedia", title="a task", model="some/model")
    assert read_neuronpedia(path).circuit == made()
    with pytest.raises(ValueError, match="No format 'xml'"):
        export(made(), tmp_path / "c.json", format="xml")  # pyright: ignore[reportArgumentType]


def test_a_suffix_of_no_format_is_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no format has the suffix '\.csv'\. Give \.html, \.json, \.graphml"):
        export(made(), tmp_path / "c.csv")
    assert not list(tmp_path.iterdir())


def test_a_pinned_name_that_is_no_node_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        export(made(), tmp_path / "c.html", pinned=["blocks.9.hook_mlp_out/1@end"])
    assert not list(tmp_path.iterdir())
