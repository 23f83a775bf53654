"""A circuit as a graph file of Neuronpedia / circuit-tracer (`neuronpedia_rules.py`), for its page and for tools.

What their format has no place for is in an extra key `jumpwire`, so that `read_neuronpedia` gives the same circuit:

    metadata.jumpwire   sites, positions, measurement, certificate, labels
    node.jumpwire       the node's kind and place, effect, standard error, estimates, flags, ... (`WeightedNode`)
    link.jumpwire       mean_absolute, standard_error, count (`Edge`)

A site is a layer of its own, numbered from 0 in the order of the forward pass: Neuronpedia knows one site a layer.
`influence` is the cumulative share of Σ|effect|. `activation` is a feature's mean clean activation.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.feature_labels import Labels
from graphs.files.labels_json import plain_labels
from graphs.files.neuronpedia_rules import (
    ERROR,
    FEATURE,
    LOGIT,
    TOKEN,
    TOKEN_LAYER,
    WEIGHT_OF_LOGIT,
    broken_rules,
)
from graphs.files.neuronpedia_words import clerp, description
from graphs.files.plain_circuit import HEAD, plain_circuit
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode

OURS: Final = "jumpwire"
_SHOWN_FAULTS: Final = 5
_FEATURE_TYPE: Final = {"feature": FEATURE, "error": ERROR, "token": TOKEN, "metric": LOGIT}


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
    """Write the graph file. The same circuit gives the same bytes.

    Args:
        slug: the graph's name there. scan: the model's name there.
        labels: of features; those of the circuit are written.
        pinned, clicked: names of nodes, as `circuit.name` has them.
        supernodes: each with its name and names of nodes.
    """
    ids = node_ids(circuit)
    named = {circuit.name(node): name for node, name in ids.items()}
    plain = plain_circuit(circuit)
    own = labels and _labels_of(circuit, labels)
    share = _influence(circuit)
    document = {
        "metadata": {
            **_metadata(circuit, slug, scan),
            **({"node_threshold": 1.0} if share else {}),
            OURS: {**{name: plain[name] for name in HEAD}, "labels": own and plain_labels(own)},
        },
        "qParams": {
            "pinnedIds": [_id_of(name, named) for name in pinned],
            "supernodes": [[group, *(_id_of(name, named) for name in names)] for group, names in supernodes],
            "linkType": "both",
            "clickedId": "" if clicked is None else _id_of(clicked, named),
            "sg_pos": "",
        },
        "nodes": [
            _node(circuit, weighted, ids, own, share) | {OURS: {k: v for k, v in row.items() if k != "id"}}
            for weighted, row in zip(circuit.nodes, plain["nodes"], strict=True)
        ],
        "links": [_link(row, named) for row in plain["edges"]],
    }
    _write(document, path)


def node_ids(circuit: CircuitGraph) -> dict[Node, str]:
    """The node_id of every node: layer, index, position, as circuit-tracer has them; -1 stands for an error."""
    last = len(circuit.positions) - 1
    metrics = [w.node for w in circuit.nodes if isinstance(w.node, MetricNode)]
    found: dict[Node, str] = {}
    for weighted in circuit.nodes:
        node = weighted.node
        if isinstance(node, TokenNode):
            found[node] = f"{TOKEN_LAYER}_0_{node.position}"
        elif isinstance(node, MetricNode):
            found[node] = f"{_layer(circuit, node)}_{metrics.index(node)}_{last}"
        else:
            found[node] = f"{_layer(circuit, node)}_{_index(node)}_{node.position}"
    return found


def _layer(circuit: CircuitGraph, node: Node) -> str:
    """Its site's number; the metric's is one above the next, as in circuit-tracer."""
    if isinstance(node, TokenNode):
        return TOKEN_LAYER
    return str(len(circuit.sites) + 1 if isinstance(node, MetricNode) else circuit.sites.index(node.site))


def _index(node: FeatureNode | ErrorNode) -> int:
    return node.index if isinstance(node, FeatureNode) else -1


def _id_of(name: str, named: Mapping[str, str]) -> str:
    if name not in named:
        some = ", ".join(list(named)[:5])
        raise LookupError(f"The circuit has no node {name!r} to pin or group. It has, among others: {some}.")
    return named[name]


def _metadata(circuit: CircuitGraph, slug: str, scan: str) -> dict[str, Any]:
    tokens = [position.clean_token or position.label for position in circuit.positions]
    spaced = any(token.startswith(" ") for token in tokens)
    generator = {"name": "jumpwire", "version": version("jumpwire")}
    return {
        "slug": slug,
        "scan": scan,
        "transcoder_list": [],
        "prompt_tokens": tokens,
        "prompt": ("" if spaced else " ").join(tokens),
        "schema_version": 1,
        "info": {"description": description(circuit), "generator": generator},
    }


def _influence(circuit: CircuitGraph) -> dict[Node, float]:
    """The share of Σ|effect| up to and including each node, strongest first; empty where all effects are 0."""
    nodes = circuit.strongest()
    sums = list(accumulate(abs(w.effect) for w in nodes))
    if not nodes or not sums[-1]:
        return {}
    return {w.node: so_far / sums[-1] for w, so_far in zip(nodes, sums, strict=True)}


def _node(
    circuit: CircuitGraph,
    weighted: WeightedNode,
    ids: Mapping[Node, str],
    labels: Labels | None,
    share: Mapping[Node, float],
) -> dict[str, Any]:
    node = weighted.node
    row = {
        "node_id": ids[node],
        "feature": node.position if isinstance(node, TokenNode) else -1,
        "layer": _layer(circuit, node),
        "ctx_idx": len(circuit.positions) - 1 if isinstance(node, MetricNode) else node.position,
        "feature_type": _FEATURE_TYPE[node.kind],
        "jsNodeId": ids[node],
        "clerp": clerp(circuit, node, labels),
        "influence": share.get(node),
        "activation": weighted.clean if isinstance(node, FeatureNode) else None,
    }
    if isinstance(node, FeatureNode):
        layer = circuit.sites.index(node.site)
        row |= {"feature": _pair(layer, node.index), "jsNodeId": f"{layer}_{node.index}-0"}
    if isinstance(node, MetricNode):
        p = float(WEIGHT_OF_LOGIT.findall(row["clerp"])[-1])
        place = int(ids[node].split("_")[1])
        row |= {"feature": place, "token_prob": p, "is_target_logit": place == 0}
    return row


def _pair(layer: int, index: int) -> int:
    """Cantor's number of a pair: how circuit-tracer writes layer and index as one."""
    return (layer + index) * (layer + index + 1) // 2 + index


def _labels_of(circuit: CircuitGraph, labels: Labels) -> Labels:
    features = {(w.node.site, w.node.index) for w in circuit.nodes if isinstance(w.node, FeatureNode)}
    return replace(labels, labels=tuple(label for label in labels if (label.site, label.index) in features))


def _link(row: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    ends = ("source", "target")
    own = {k: v for k, v in row.items() if k not in (*ends, "weight")}
    return {**{end: named[row[end]] for end in ends}, "weight": row["weight"], OURS: own}


def _write(document: Mapping[str, Any], path: str | Path) -> None:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    faults = broken_rules(document, size=len(text))
    if faults:
        raise ValueError(f"{path}: Neuronpedia would not take this graph. {_listed(faults)}")
    Path(path).write_text(text + "\n", encoding="utf-8")


def _listed(faults: Iterable[str]) -> str:
    """The first faults, and how many more there are."""
    found = list(faults)
    more = f" And {len(found) - _SHOWN_FAULTS:,} more." if len(found) > _SHOWN_FAULTS else ""
    return " ".join(fault[0].upper() + fault[1:] for fault in found[:_SHOWN_FAULTS]) + more
