"""A circuit as GraphML, for Gephi, yEd, Cytoscape and igraph, and back without loss.

Node ids are n0, n1, ... in the circuit's order. Attributes that are None are left out.

    of       attribute                       type     what
    graph    sites, positions, measurement,  string   JSON of the circuit's fields
             certificate
             labels                          string   JSON as in labels.json, of the circuit's features
    node     label                           string   the node's name: blocks.3.hook_mlp_out/117@verb
             feature_label                   string   what the feature stands for, where it has a label
             kind                            string   feature, error, token or metric
             site, position, index           str, int where the node is; `position` counts into `positions`
             name                            string   of the metric
             effect, mean_absolute,          double   as in `WeightedNode`, in the unit of the measurement
             standard_error, carried,
             undivided, inclusion,
             inclusion_templates,
             closed_effect, open_effect
             clean, patch                    double   feature: activation; error: L2 norm
             count, verified, undecided      int      examples
             estimates, flags                string   JSON object: effect by method, count by flag
    edge     weight, mean_absolute,          double   as in `Edge`, in the unit of the measurement
             standard_error, inclusion,
             inclusion_templates
             count                           int      examples
             order                           int      place of the edge among the circuit's edges

A character that XML cannot hold is written as \\uXXXX, and a backslash as two.
"""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import networkx as nx

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.edges import Edge
from graphs.feature_labels import Labels
from graphs.files.labels_json import labels_from_plain, plain_labels, text_of_row
from graphs.files.plain_circuit import HEAD_FIELDS, circuit_from_plain, plain_circuit
from graphs.files.plain_json import parse_json
from graphs.files.typed_content import FileContent, typed

_UNSAFE: Final = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPED: Final = re.compile(r"\\(?:\\|u((?!d[89a-f])[0-9a-f]{4}))")
_NESTED: Final = ("estimates", "flags")
_LABELS: Final = "labels"
_LABEL: Final = "feature_label"
_TEXTS: Final = ("kind", "site", "name")
_OTHER_XML: Final = (
    *(ParseError, nx.NetworkXException, ArithmeticError, AttributeError, LookupError, RecursionError),
    *(TypeError, ValueError),
)
"""What is raised on the way from XML to a graph, where the XML is something else than a graph."""


class GraphAttributes(FileContent):
    """The circuit's fields, as JSON."""

    sites: str
    positions: str
    measurement: str
    certificate: str


class NodeAttributes(FileContent):
    """The attributes of a node that are escaped, or JSON."""

    kind: str
    site: str | None = None
    name: str | None = None
    estimates: str = "{}"
    flags: str = "{}"


class EdgeAttributes(FileContent):
    """The attribute by which edges are put in order."""

    order: int


def write_graphml(circuit: CircuitGraph, path: str | Path, *, labels: Labels | None = None) -> None:
    """Write the circuit, and the labels of its features. The same circuit always gives the same bytes."""
    plain = plain_circuit(circuit)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.graph.update({name: _json(plain[name]) for name in HEAD_FIELDS})
    if labels is not None:
        graph.graph[_LABELS] = _json(plain_labels(labels.only(circuit.features)))
    places = {row["id"]: f"n{number}" for number, row in enumerate(plain["nodes"])}
    for row in plain["nodes"]:
        shown = {"label": escape_xml_text(row["id"]), **_attributes({_LABEL: text_of_row(labels, row)})}
        graph.add_node(places[row["id"]], **shown, **_attributes(row))
    for number, row in enumerate(plain["edges"]):
        graph.add_edge(places[row["source"]], places[row["target"]], order=number, **_attributes(row))
    nx.write_graphml_xml(graph, path)


def read_graphml(path: str | Path) -> CircuitGraph:
    """Read and check what `write_graphml` wrote; other GraphML is a ValueError."""
    return _circuit(_parsed(path), path)


def read_graphml_labels(path: str | Path) -> Labels | None:
    """The labels in what `write_graphml` wrote; None where it was given none. A damaged file is a ValueError."""
    return _labels(_parsed(path), path)


def read_labelled_graphml(path: str | Path) -> tuple[CircuitGraph, Labels | None]:
    """Both, from one reading of the file."""
    graph = _parsed(path)
    return _circuit(graph, path), _labels(graph, path)


def _parsed(path: str | Path) -> "nx.Graph[str]":
    content = Path(path).read_bytes()
    try:
        return nx.read_graphml(BytesIO(content))
    except _OTHER_XML as error:
        raise ValueError(f"{path}: not GraphML that can be read ({type(error).__name__}: {error!s:.200}).") from None


def _circuit(graph: "nx.Graph[str]", path: str | Path) -> CircuitGraph:
    try:
        head = typed(GraphAttributes, graph.graph)
        edges = sorted(graph.edges(data=True), key=lambda edge: typed(EdgeAttributes, edge[2]).order)
        content = {
            **{name: parse_json(getattr(head, name)) for name in HEAD_FIELDS},
            "nodes": [_node_row(name, data) for name, data in graph.nodes(data=True)],
            "edges": [_edge_row(*edge) for edge in edges],
        }
        return circuit_from_plain(content)
    except ValueError as error:
        raise ValueError(f"{path}: not a circuit in GraphML ({error}).") from None


def _labels(graph: "nx.Graph[str]", path: str | Path) -> Labels | None:
    found = graph.graph.get(_LABELS)
    try:
        return None if found is None else labels_from_plain(parse_json(found))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def escape_xml_text(text: str) -> str:
    """Text that XML can hold: without control characters, halves of surrogate pairs and line breaks."""
    return _UNSAFE.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", text)


def unescape_xml_text(text: str) -> str:
    """The inverse of `escape_xml_text`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", text)


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values as GraphML can hold them: numbers and text."""
    found = {name: value for name, value in row.items() if value is not None and name not in ("id", "source", "target")}
    return {name: _attribute(name, value) for name, value in found.items()}


def _attribute(name: str, value: Any) -> Any:
    if name in _NESTED:
        return _json(value)
    return escape_xml_text(value) if isinstance(value, str) else value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _node_row(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    typed(NodeAttributes, data)
    own = {k: unescape_xml_text(v) if k in _TEXTS else parse_json(v) if k in _NESTED else v for k, v in data.items()}
    missing = dict.fromkeys(f for f in WeightedNode.__dataclass_fields__ if f != "node")
    return {**missing, **{k: v for k, v in own.items() if k not in ("label", _LABEL)}, "id": name}


def _edge_row(source: str, target: str, data: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: data[name] for name in Edge.__dataclass_fields__ if name in data}
    return {"source": source, "target": target, **known}
