"""A circuit as versioned JSON, in and out. The same circuit gives the same bytes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import networkx as nx

from graphs.circuit_graph import CircuitGraph

SCHEMA: Final = "jumpwire.circuit"
SCHEMA_VERSION: Final = 1


def save_circuit(circuit: CircuitGraph, path: str | Path) -> None:
    """Write the circuit; keys are sorted, floats keep every digit."""
    graph = circuit.to_networkx()
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "sites": circuit.sites,
        "positions": [asdict(p) for p in circuit.positions],
        "measurement": asdict(circuit.measurement),
        "nodes": [{"id": name, **data} for name, data in graph.nodes(data=True)],
        "edges": [{"source": s, "target": t, "weight": w} for s, t, w in graph.edges(data="weight")],
    }
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load_circuit(path: str | Path) -> CircuitGraph:
    """Read what `save_circuit` wrote, and check it."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a circuit file of jumpwire (no schema {SCHEMA!r}).")
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {content['schema_version']}; this version of jumpwire reads {SCHEMA_VERSION}."
        )
    graph: nx.DiGraph[str] = nx.DiGraph(**{k: content[k] for k in ("sites", "positions", "measurement")})
    for node in content["nodes"]:
        graph.add_node(node["id"], **{k: v for k, v in node.items() if k != "id"})
    for edge in content["edges"]:
        for end in (edge["source"], edge["target"]):
            if end not in graph:
                raise ValueError(f"{path}: an edge ends in {end!r}, which is no node of the file.")
        graph.add_edge(edge["source"], edge["target"], weight=edge["weight"])
    return CircuitGraph.from_networkx(graph)
