"""A circuit as plain data, and back. Every file format of circuits is made from these rows.

    {"sites", "positions", "measurement", "certificate"}     `HEAD_FIELDS`
    "nodes": [{"id": name, "kind", fields of the node, fields of WeightedNode}]
    "edges": [{"source": name, "target": name, fields of Edge}]

Nodes and edges keep their order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Final

from pydantic import Field

from graphs.certificate import certificate_from_plain
from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.edges import Edge
from graphs.files.typed_content import FileContent, typed
from graphs.nodes import Node
from graphs.plain_data import as_plain_data, check_fields, node_from_plain
from graphs.strongest_edges import left_out_of


class Hashes(FileContent):
    """The SHA-256 of the model, of the SAE at each site, and of the prompts."""

    model: str
    saes: dict[str, str]
    prompts: str


class KnownHashes(Hashes):
    """Those of them that are known."""

    model: str = ""
    saes: Annotated[dict[str, str], Field(default_factory=dict)]
    prompts: str = ""


class CertificateHead(FileContent):
    """What the certificate is of."""

    hashes: Hashes


class CircuitContent(FileContent):
    """The whole, as far as a reader needs its types."""

    sites: list[str]
    positions: list[dict[str, Any]]
    measurement: dict[str, Any]
    certificate: CertificateHead | None
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


class CircuitInputs(FileContent):
    """What is read of a circuit's `measurement.inputs`."""

    hashes: KnownHashes | None = None


HEAD_FIELDS: Final = ("sites", "positions", "measurement", "certificate")
_VALUES: Final = tuple(f.name for f in fields(WeightedNode) if f.name != "node")
_EDGE_VALUES: Final = tuple(f.name for f in fields(Edge) if f.name not in ("source", "target"))


def plain_circuit(circuit: CircuitGraph) -> dict[str, Any]:
    """The head fields, the nodes and the edges, in JSON's types."""
    return {
        **{name: as_plain_data(getattr(circuit, name)) for name in HEAD_FIELDS},
        "nodes": [_node_row(circuit, weighted) for weighted in circuit.nodes],
        "edges": [
            {
                "source": as_plain_data(circuit.name(edge.source)),
                "target": as_plain_data(circuit.name(edge.target)),
                **{name: as_plain_data(getattr(edge, name)) for name in _EDGE_VALUES},
            }
            for edge in circuit.edges
        ],
    }


def _node_row(circuit: CircuitGraph, weighted: WeightedNode) -> dict[str, Any]:
    values = {name: as_plain_data(getattr(weighted, name)) for name in _VALUES}
    return {"id": as_plain_data(circuit.name(weighted.node)), **as_plain_data(weighted.node), **values}


def circuit_from_plain(content: Mapping[str, Any]) -> CircuitGraph:
    """The inverse of `plain_circuit`, checked; data that do not fit are a ValueError."""
    typed(CircuitContent, content)
    try:
        nodes = _nodes(content["nodes"])
        named = {name: weighted.node for name, weighted in nodes.items()}
        certificate = content["certificate"]
        values: dict[str, Any] = {
            "sites": tuple(content["sites"]),
            "positions": tuple(Position(**position) for position in content["positions"]),
            "nodes": tuple(nodes.values()),
            "edges": tuple(_edge(row, named) for row in content["edges"]),
            "measurement": Measurement(**content["measurement"]),
            "certificate": None if certificate is None else certificate_from_plain(certificate),
        }
        check_fields(CircuitGraph, values)
        found = CircuitGraph(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a complete circuit ({type(error).__name__}: {error}).") from None
    if not found.nodes:
        raise ValueError("the circuit has no nodes: there is nothing to show.")
    typed(CircuitInputs, dict(found.measurement.inputs))
    left_out_of(found)
    return found


def _nodes(rows: Iterable[Mapping[str, Any]]) -> dict[str, WeightedNode]:
    found: dict[str, WeightedNode] = {}
    for row in rows:
        if row["id"] in found:
            raise ValueError(f"the node {row['id']!r} occurs twice.")
        own = {name: value for name, value in row.items() if name != "id" and name not in _VALUES}
        found[row["id"]] = WeightedNode(node=node_from_plain(own), **{k: row[k] for k in _VALUES if k in row})
    return found


def _edge(row: Mapping[str, Any], named: Mapping[str, Node]) -> Edge:
    ends = row["source"], row["target"]
    for end in ends:
        if end not in named:
            raise ValueError(f"an edge ends in {end!r}, which is not a node of the file.")
    return Edge(named[ends[0]], named[ends[1]], **{k: v for k, v in row.items() if k not in ("source", "target")})
