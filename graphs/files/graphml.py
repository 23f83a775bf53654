"""A circuit as GraphML, for Gephi, yEd, Cytoscape, igraph; and back without loss.

Node ids are n0, n1, ... in the circuit's order. What is None is left out.

    of       attribute                       type     what
    graph    sites, positions, measurement,  string   JSON of the circuit's fields
             certificate
    node     label                           string   the node's name: blocks.3.hook_mlp_out/117@verb
             kind                            string   feature, error, token or metric
             site, position, index           str, int place of the node; position is a place in positions
             name                            string   of a metric
             effect, mean_absolute,          double   as in `WeightedNode`, in the unit of the measurement
             standard_error, carried,
             undivided
             clean, patch                    double   feature: activation; error: L2 norm
             count, verified                 int      examples
             estimates, flags                string   JSON object: effect by method, count by flag
    edge     weight, mean_absolute,          double   as in `Edge`, in the unit of the measurement
             standard_error
             count                           int      examples
             order                           int      place of the edge among the circuit's edges

Text is escaped as `xml_text.py` says.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import networkx as nx

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.edges import Edge
from graphs.files.plain_circuit import HEAD, circuit_from, plain_circuit
from graphs.files.xml_text import from_xml, to_xml

_NESTED: Final = ("estimates", "flags")
_TEXTS: Final = ("id", "kind", "site", "name")


def write_graphml(circuit: CircuitGraph, path: str | Path) -> None:
    """Write the circuit. The same circuit gives the same bytes."""
    plain = plain_circuit(circuit)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.graph.update({name: _json(plain[name]) for name in HEAD})
    places = {row["id"]: f"n{number}" for number, row in enumerate(plain["nodes"])}
    for row in plain["nodes"]:
        graph.add_node(places[row["id"]], label=to_xml(row["id"]), **_attributes(row))
    for number, row in enumerate(plain["edges"]):
        graph.add_edge(places[row["source"]], places[row["target"]], order=number, **_attributes(row))
    nx.write_graphml_xml(graph, path)


def read_graphml(path: str | Path) -> CircuitGraph:
    """Read what `write_graphml` wrote, and check it; other GraphML is a ValueError."""
    try:
        graph = nx.read_graphml(path)
        content = {
            **{name: json.loads(graph.graph[name]) for name in HEAD},
            "nodes": [_node_row(name, data) for name, data in graph.nodes(data=True)],
            "edges": [_edge_row(*edge) for edge in sorted(graph.edges(data=True), key=lambda e: e[2]["order"])],
        }
        return circuit_from(content)
    except (ParseError, nx.NetworkXError, KeyError) as error:
        raise ValueError(f"{path}: not a circuit in GraphML ({type(error).__name__}: {error}).") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values that GraphML can hold: numbers and text."""
    found = {name: value for name, value in row.items() if value is not None and name not in ("id", "source", "target")}
    return {name: _attribute(name, value) for name, value in found.items()}


def _attribute(name: str, value: Any) -> Any:
    if name in _NESTED:
        return _json(value)
    return to_xml(value) if isinstance(value, str) else value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _node_row(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    own = {k: from_xml(v) if k in _TEXTS else json.loads(v) if k in _NESTED else v for k, v in data.items()}
    missing = dict.fromkeys(f for f in WeightedNode.__dataclass_fields__ if f != "node")
    return {**missing, **{k: v for k, v in own.items() if k != "label"}, "id": name}


def _edge_row(source: str, target: str, data: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: data[name] for name in Edge.__dataclass_fields__ if name in data}
    return {"source": source, "target": target, **known}
