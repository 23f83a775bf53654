"""Read a graph file of Neuronpedia / circuit-tracer: ours without loss, theirs as far as its numbers go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.files.circuit_tracer_graph import TracedGraph
from graphs.files.labels_json import labels_from_plain
from graphs.files.neuronpedia_rules import structural_faults
from graphs.files.neuronpedia_write import JUMPWIRE_KEY
from graphs.files.plain_circuit import circuit_from_plain
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text
from graphs.short_repr import short_repr

_SHOWN_FAULTS: Final = 5


@dataclass(frozen=True)
class NeuronpediaGraph:
    """A graph file: the circuit, and what its reader pinned, grouped and selected.

    Attributes:
        circuit: the circuit, checked.
        labels: feature labels; None where the file has none. Labels from circuit-tracer are mere texts without a
            corpus: their `tokens` and every `frequency` are 0.
        pinned, clicked: names of nodes that are pinned, and of the one selected; nodes missing in the file are left
            out.
        supernodes: name and member nodes of each group.
    """

    __repr__ = short_repr

    circuit: CircuitGraph
    labels: Labels | None
    pinned: tuple[str, ...]
    supernodes: tuple[tuple[str, tuple[str, ...]], ...]
    clicked: str | None


def read_neuronpedia(path: str | Path) -> NeuronpediaGraph:
    """Read a graph file that `write_neuronpedia` or circuit-tracer wrote.

    Raises:
        ValueError: the file is not such a graph; the message says where.
    """
    text = read_text(path)
    try:
        document = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from None
    return neuronpedia_graph(document, path)


def neuronpedia_graph(document: Any, path: str | Path) -> NeuronpediaGraph:
    """As `read_neuronpedia`, from what the file holds."""
    if faults := structural_faults(document):
        more = f" And {len(faults) - _SHOWN_FAULTS:,} more." if len(faults) > _SHOWN_FAULTS else ""
        raise ValueError(f"{path}: not a graph of Neuronpedia: {' '.join(faults[:_SHOWN_FAULTS])}{more}")
    try:
        return _graph(document)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def is_neuronpedia(document: Any) -> bool:
    """Whether a JSON document looks like a graph file of Neuronpedia."""
    return isinstance(document, dict) and {"metadata", "qParams", "nodes", "links"} <= set(document)


def _graph(document: Mapping[str, Any]) -> NeuronpediaGraph:
    if JUMPWIRE_KEY in document["metadata"]:
        circuit = circuit_from_plain(_our_rows(document))
        found = document["metadata"][JUMPWIRE_KEY].get("labels")
        labels = None if found is None else labels_from_plain(found)
    else:
        traced = TracedGraph(document)
        circuit, labels = traced.circuit(), traced.labels()
    ids = (node["node_id"] for node in document["nodes"])
    names = {own: circuit.name(weighted.node) for own, weighted in zip(ids, circuit.nodes, strict=True)}
    state = document["qParams"]
    groups = [(group[0], [names[i] for i in group[1:] if i in names]) for group in state.get("supernodes") or []]
    return NeuronpediaGraph(
        circuit=circuit,
        labels=labels,
        pinned=tuple(names[i] for i in state.get("pinnedIds") or [] if i in names),
        supernodes=tuple((name, tuple(members)) for name, members in groups if members),
        clicked=names.get(state.get("clickedId") or ""),
    )


def _our_rows(document: Mapping[str, Any]) -> dict[str, Any]:
    """The rows as `plain_circuit` gives them."""
    for row in (*document["nodes"], *document["links"]):
        if not isinstance(row.get(JUMPWIRE_KEY), dict):
            raise ValueError(
                f"{row.get('node_id', 'a link')!r} was added by another tool: it has no {JUMPWIRE_KEY} key."
            )
    ends = ("source", "target", "weight")
    return {
        **{name: value for name, value in document["metadata"][JUMPWIRE_KEY].items() if name != "labels"},
        "nodes": [{"id": node["node_id"], **node[JUMPWIRE_KEY]} for node in document["nodes"]],
        "edges": [{**{end: link[end] for end in ends}, **link[JUMPWIRE_KEY]} for link in document["links"]],
    }
