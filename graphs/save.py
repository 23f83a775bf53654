"""A circuit as versioned JSON, in and out. The same circuit gives the same bytes."""

from pathlib import Path
from typing import Any, Final

import networkx as nx

from graphs.circuit_graph import CircuitGraph
from graphs.versioned_json import plain, read, write

SCHEMA: Final = "jumpwire.circuit"
SCHEMA_VERSION: Final = 2


def save_circuit(circuit: CircuitGraph, path: str | Path) -> None:
    """Write the circuit with its certificate; keys are sorted, floats keep every digit."""
    graph = circuit.to_networkx()
    content = {
        **{name: plain(value) for name, value in graph.graph.items()},
        "nodes": [{"id": name, **plain(data)} for name, data in graph.nodes(data=True)],
        "edges": [{"source": s, "target": t, **data} for s, t, data in graph.edges(data=True)],
    }
    write(path, SCHEMA, SCHEMA_VERSION, content)


def load_circuit(path: str | Path) -> CircuitGraph:
    """Read what `save_circuit` wrote, and check it."""
    content = read(path, SCHEMA, SCHEMA_VERSION)
    try:
        return CircuitGraph.from_networkx(_graph(content))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a whole circuit: {error}") from None


def _graph(content: dict[str, Any]) -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph(**{k: v for k, v in content.items() if k not in ("nodes", "edges")})
    for node in content["nodes"]:
        graph.add_node(node["id"], **{k: v for k, v in node.items() if k != "id"})
    for edge in content["edges"]:
        for end in (edge["source"], edge["target"]):
            if end not in graph:
                raise ValueError(f"an edge ends in {end!r}, which is no node of the file.")
        graph.add_edge(
            edge["source"], edge["target"], **{k: v for k, v in edge.items() if k not in ("source", "target")}
        )
    return graph
