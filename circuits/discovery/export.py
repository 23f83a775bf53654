"""Write a circuit to a file of any format; the name of the file says which.

circuit.html               the interactive page
circuit.json               circuit.json, which `load_circuit` reads
circuit.neuronpedia.json   a Neuronpedia / circuit-tracer graph
circuit.graphml            GraphML for Gephi, yEd, Cytoscape, igraph
circuit.dot, circuit.gv    DOT for Graphviz; cannot be read back
circuit/                   a folder with Parquet tables of nodes and edges
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from graphs import (
    CircuitGraph,
    Labels,
    Verdict,
    save_circuit,
    write_dot,
    write_graphml,
    write_neuronpedia,
    write_page,
    write_tables,
)
from graphs.circuit_graph import refuse_other_than_circuit
from graphs.files.whole_file import whole_file
from graphs.short_repr import in_brief

Format = Literal["html", "json", "neuronpedia", "graphml", "dot", "tables"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

_SUFFIXES: Final[Mapping[str, Format]] = {
    ".html": "html",
    ".json": "json",
    ".graphml": "graphml",
    ".dot": "dot",
    ".gv": "dot",
    "": "tables",
}
_NEURONPEDIA_SUFFIX: Final = ".neuronpedia.json"


def export(
    circuit: CircuitGraph,
    path: str | Path,
    *,
    format: Format | None = None,
    labels: Labels | None = None,
    verdict: Verdict | None = None,
    title: str | None = None,
    model: str | None = None,
    pinned: Sequence[str] = (),
    supernodes: Sequence[tuple[str, Sequence[str]]] = (),
) -> Path:
    """Write a circuit in the format that the file's name asks for; an earlier file is replaced when this one is whole.

    Args:
        path: the file, or for tables the folder, to write. Folders above it are made.
        format: instead of the one that the name asks for.
        labels: of the circuit's features, for all formats but circuit.json.
        verdict: an estimate against exact effects, for the page.
        title: of the page, and the graph's name in Neuronpedia; by default the task that the circuit is of, or the
            file's name.
        model: the model's name in Neuronpedia; by default the one that the circuit records.
        pinned, supernodes: names of nodes, and named groups of such names, for the page and Neuronpedia.

    Returns:
        The path that was written.

    Raises:
        ValueError: a name whose suffix asks for no format.
        LookupError: a pinned or grouped name is no node of the circuit.

    Examples:
        >>> export(found.circuit, folder / "circuit.graphml").name
        'circuit.graphml'
    """
    refuse_other_than_circuit(circuit)
    path = Path(path)
    chosen = _format_of(path) if format is None else format
    if chosen not in FORMATS:
        raise ValueError(f"No format {in_brief(chosen)}. Formats: {', '.join(FORMATS)}.")
    inputs = circuit.measurement.inputs
    shown = _Shown(
        labels=labels,
        verdict=verdict,
        title=title or str(inputs.get("task") or path.name.partition(".")[0]),
        model=model or str(inputs.get("model") or "unknown-model").rstrip("/").rpartition("/")[2],
        pinned=pinned,
        supernodes=supernodes,
    )
    if chosen == "tables":
        write_tables(circuit, path, labels=labels)
    else:
        with whole_file(path) as unfinished:
            _WRITERS[chosen](circuit, unfinished, shown)
    return path


@dataclass(frozen=True)
class _Shown:
    """What a file shows beside the circuit."""

    labels: Labels | None
    verdict: Verdict | None
    title: str
    model: str
    pinned: Sequence[str]
    supernodes: Sequence[tuple[str, Sequence[str]]]


def _format_of(path: Path) -> Format:
    if path.name.endswith(_NEURONPEDIA_SUFFIX):
        return "neuronpedia"
    if path.suffix not in _SUFFIXES:
        known = ", ".join((*filter(None, _SUFFIXES), _NEURONPEDIA_SUFFIX))
        raise ValueError(f"{path}: no format has the suffix {path.suffix!r}. Give {known}, or a folder for tables.")
    return _SUFFIXES[path.suffix]


def _page(circuit: CircuitGraph, path: Path, shown: _Shown) -> None:
    marks = {"pinned": shown.pinned, "supernodes": shown.supernodes}
    write_page(circuit, path, title=shown.title, labels=shown.labels, verdict=shown.verdict, **marks)


def _json(circuit: CircuitGraph, path: Path, _: _Shown) -> None:
    save_circuit(circuit, path)


def _neuronpedia(circuit: CircuitGraph, path: Path, shown: _Shown) -> None:
    slug, scan = _as_slug(shown.title, "circuit"), _as_slug(shown.model, "model")
    marks = {"pinned": shown.pinned, "supernodes": shown.supernodes}
    write_neuronpedia(circuit, path, slug=slug, scan=scan, labels=shown.labels, **marks)


def _graphml(circuit: CircuitGraph, path: Path, shown: _Shown) -> None:
    write_graphml(circuit, path, labels=shown.labels)


def _dot(circuit: CircuitGraph, path: Path, shown: _Shown) -> None:
    write_dot(circuit, path, labels=shown.labels)


def _as_slug(text: str, otherwise: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or otherwise


_WRITERS: Final[Mapping[str, Callable[[CircuitGraph, Path, _Shown], None]]] = {
    "html": _page,
    "json": _json,
    "neuronpedia": _neuronpedia,
    "graphml": _graphml,
    "dot": _dot,
}
