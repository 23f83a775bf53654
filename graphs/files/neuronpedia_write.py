"""Write a circuit as a graph file of Neuronpedia / circuit-tracer (`neuronpedia_rules.py`).

An extra key `jumpwire` holds what their format has no place for, so that `read_neuronpedia` returns the same circuit:

    metadata.jumpwire   sites, positions, measurement, certificate, labels
    node.jumpwire       kind, site, position, effect, standard error, estimates, flags, ... (`WeightedNode`)
    link.jumpwire       mean_absolute, standard_error, count (`Edge`)

`neuronpedia_nodes.py` says how nodes, layers and influence are written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.files.labels_json import plain_labels
from graphs.files.neuronpedia_nodes import cumulative_influence, node_ids, node_row, output_weight
from graphs.files.neuronpedia_rules import broken_rules
from graphs.files.plain_circuit import HEAD_FIELDS, plain_circuit
from graphs.strongest_edges import left_out_of
from graphs.words.number_formats import counted_noun
from graphs.words.site_words import kept_in_words

JUMPWIRE_KEY: Final = "jumpwire"
_SHOWN_FAULTS: Final = 5


def write_neuronpedia(
    circuit: CircuitGraph,
    path: str | Path,
    *,
    slug: str,
    scan: str,
    labels: Labels | None = None,
    pinned: Sequence[str] = (),
    supernodes: Sequence[tuple[str, Sequence[str]]] = (),
    clicked: str | None = None,
) -> None:
    """Write the graph file. The same circuit always gives the same bytes.

    Args:
        slug: the graph's name on Neuronpedia.
        scan: the model's name on Neuronpedia.
        labels: feature labels; only those of the circuit's features are written.
        pinned, clicked: names of nodes that are pinned, and of the one selected, as `circuit.name` gives them.
        supernodes: name and member nodes of each group.

    Raises:
        LookupError: a name that is not a node of the circuit.
        ValueError: the graph breaks a rule of Neuronpedia; the message lists the broken rules.
    """
    ids = node_ids(circuit)
    named = {circuit.name(node): name for node, name in ids.items()}
    plain = plain_circuit(circuit)
    own = labels and labels.only(circuit.features)
    share = cumulative_influence(circuit)
    document = {
        "metadata": {
            **_metadata(circuit, slug, scan),
            **({"node_threshold": 1.0} if share else {}),
            JUMPWIRE_KEY: {
                **{name: plain[name] for name in HEAD_FIELDS},
                "labels": None if own is None else plain_labels(own),
            },
        },
        "qParams": {
            "pinnedIds": [_id_of(name, named) for name in pinned],
            "supernodes": [[group, *(_id_of(name, named) for name in names)] for group, names in supernodes],
            "linkType": "both",
            "clickedId": "" if clicked is None else _id_of(clicked, named),
            "sg_pos": "",
        },
        "nodes": [
            node_row(circuit, weighted, ids, own, share) | {JUMPWIRE_KEY: {k: v for k, v in row.items() if k != "id"}}
            for weighted, row in zip(circuit.nodes, plain["nodes"], strict=True)
        ],
        "links": [_link(row, named) for row in plain["edges"]],
    }
    _write(document, path)


def _id_of(name: str, named: Mapping[str, str]) -> str:
    if name not in named:
        some = ", ".join(list(named)[:5])
        raise LookupError(f"The circuit has no node {name!r} to pin or group. It has, among others: {some}.")
    return named[name]


def _metadata(circuit: CircuitGraph, slug: str, scan: str) -> dict[str, Any]:
    tokens = [position.heading for position in circuit.positions]
    spaced = any(token.startswith(" ") for token in tokens)
    generator = {"name": "jumpwire", "version": version("jumpwire")}
    return {
        "slug": slug,
        "scan": scan,
        "transcoder_list": [],
        "prompt_tokens": tokens,
        "prompt": ("" if spaced else " ").join(tokens),
        "schema_version": 1,
        "info": {"description": _description(circuit), "generator": generator},
    }


def _description(circuit: CircuitGraph) -> str:
    """How to read the graph: what its numbers, columns and layers mean."""
    measured = circuit.measurement
    columns = ", ".join(f"{p.label} ({p.clean_token!r}, patch {p.patch_token!r})" for p in circuit.positions)
    layers = ", ".join(f"{number} {site}" for number, site in enumerate(circuit.sites))
    left_out, kept = left_out_of(circuit), kept_in_words(measured.from_layer)
    return " ".join(
        (
            "Written by jumpwire.",
            f"Effects and weights are means over {counted_noun(measured.examples, 'example')}, in {measured.unit}; "
            f"{measured.sign}.",
            f"Method: {measured.method}; metric: {measured.metric}; SAE errors: {measured.error_mode}.",
            f"Evidence: {measured.evidence}.",
            "Columns are positions aligned across examples; the prompt shows the commonest clean token of each: "
            f"{columns}.",
            f"Layers are sites, in the order of the forward pass: {layers}.",
            f"Influence is the cumulative share of Σ|effect|. The p of the output is {output_weight(circuit)[1]}.",
            *(() if kept is None else (f"{kept[0].upper()}{kept[1:]}.",)),
            *(() if left_out is None else (left_out.sentence,)),
        )
    )


def _link(row: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    ends = ("source", "target")
    own = {k: v for k, v in row.items() if k not in (*ends, "weight")}
    return {**{end: named[row[end]] for end in ends}, "weight": row["weight"], JUMPWIRE_KEY: own}


def _write(document: Mapping[str, Any], path: str | Path) -> None:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
    faults = broken_rules(document, size=len(text))
    if faults:
        raise ValueError(f"{path}: Neuronpedia would not take this graph. {_listed(faults)}")
    Path(path).write_bytes(text + b"\n")


def _listed(faults: Iterable[str]) -> str:
    """The first faults, and how many there are besides."""
    found = list(faults)
    more = f" And {len(found) - _SHOWN_FAULTS:,} more." if len(found) > _SHOWN_FAULTS else ""
    return " ".join(fault[0].upper() + fault[1:] for fault in found[:_SHOWN_FAULTS]) + more
