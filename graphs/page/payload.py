"""A circuit, its labels and what a checker found about it, as the header and columns that the page reads.

Nodes keep every digit of float32. Edges keep 11 bits of a weight (a relative error of at most 1/4096) and 4 of its
standard error: the page shows three digits, `circuit.json` has all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.nodes import FeatureNode, MetricNode, Node, TokenNode
from graphs.page.label_columns import label_columns
from graphs.page.pack_columns import fewer_bits, smallest_integers
from graphs.plain_data import plain
from graphs.verdict import flag_of
from graphs.words.certificate_words import certificate_lines, worst_of
from graphs.words.method_names import method_name, method_order

KINDS: Final = ("feature", "error", "token", "metric")
_SHARE_THAT_IS_LARGE: Final = 0.01


def payload(
    circuit: CircuitGraph,
    *,
    title: str,
    labels: Labels | None,
    findings: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and columns of the page's data. `findings` are plain data by node name (see `write_page`)."""
    lines = certificate_lines(circuit)
    label_header, tokens = label_columns(circuit, labels)
    certificate = circuit.certificate
    measured = {k: v for k, v in plain(circuit.measurement).items() if k != "inputs"}
    header = {
        "version": 1,
        "title": title,
        "sites": [_site(name) for name in circuit.sites],
        "positions": [asdict(position) for position in circuit.positions],
        "measurement": measured,
        "methods": [{**method, "flags": _flags(circuit, method["key"])} for method in _methods(circuit)],
        "threshold": _threshold(circuit),
        "exact": _how_many_exact(circuit),
        "grade": worst_of(lines),
        "certificate": [asdict(line) for line in lines],
        "faithfulness": [] if certificate is None else [f.as_dict() for f in certificate.faithfulness],
        "curves": [] if certificate is None else [c.as_dict() for c in certificate.curves],
        "metrics": {n: w.node.name for n, w in enumerate(circuit.nodes) if isinstance(w.node, MetricNode)},
        "flags": {n: dict(w.flags) for n, w in enumerate(circuit.nodes) if w.flags},
        **label_header,
        "findings": {n: list(findings[name]) for n, name in _names(circuit) if name in findings},
    }
    return header, {**_node_columns(circuit), **_edge_columns(circuit), **tokens}


def _names(circuit: CircuitGraph) -> list[tuple[int, str]]:
    return [(n, circuit.name(w.node)) for n, w in enumerate(circuit.nodes)]


def _site(name: str) -> dict[str, Any]:
    """A site with what a row of the grid is called: its layer, and which part of the layer."""
    found = re.fullmatch(r"blocks\.(\d+)\.(?:attn\.|mlp\.)?(?:hook_)?(.+)", name)
    if found is None:
        return {"name": name, "layer": None, "part": name}
    return {"name": name, "layer": int(found[1]), "part": found[2].removesuffix("_out").removesuffix("_post")}


def _methods(circuit: CircuitGraph) -> list[dict[str, str]]:
    """The method of the effects first, then those of the estimates."""
    own = circuit.measurement.method
    names = {name for w in circuit.nodes for name in w.estimates}
    every = [("effect", own), *((name, name) for name in sorted(names, key=method_order))]
    return [{"key": key, "name": method_name(name)} for key, name in every]


def _threshold(circuit: CircuitGraph) -> float:
    """From here on an effect is large."""
    return _SHARE_THAT_IS_LARGE * abs(circuit.measurement.total_effect)


def _how_many_exact(circuit: CircuitGraph) -> str:
    """`all`, `some` or `none` of the circuit's nodes were patched in every example."""
    exact = [w.verified == w.count > 0 for w in circuit.strongest()]
    return "all" if exact and all(exact) else "some" if any(exact) else "none"


def _flags(circuit: CircuitGraph, method: str) -> dict[int, str]:
    """Where a method's mean is wrong about the node's own effect, as a checker would flag it (`graphs/verdict.py`).

    Only nodes that were patched in every example: against another estimate nobody is wrong.
    """
    threshold = _threshold(circuit)
    found = {
        n: flag_of(w.estimates[method], w.effect, threshold)
        for n, w in enumerate(circuit.nodes)
        if method in w.estimates and w.verified == w.count
    }
    return {n: flag for n, flag in found.items() if flag is not None and threshold > 0}


def _node_columns(circuit: CircuitGraph) -> dict[str, np.ndarray]:
    nodes = circuit.nodes
    columns = {
        "kind": smallest_integers(np.array([KINDS.index(w.node.kind) for w in nodes], int)),
        "site": smallest_integers(np.array([_place(circuit, w.node)[0] for w in nodes], int)),
        "position": smallest_integers(np.array([_place(circuit, w.node)[1] for w in nodes], int)),
        "feature": smallest_integers(
            np.array([w.node.index if isinstance(w.node, FeatureNode) else 0 for w in nodes], int)
        ),
        "count": smallest_integers(np.array([w.count for w in nodes], int)),
        "verified": smallest_integers(np.array([w.verified for w in nodes], int)),
    }
    for name in ("effect", "mean_absolute", "standard_error", "clean", "patch", "carried", "undivided"):
        columns[name] = _floats([getattr(w, name) for w in nodes])
    for method in _methods(circuit)[1:]:
        columns[f"estimate {method['key']}"] = _floats([w.estimates.get(method["key"]) for w in nodes])
    return columns


def _place(circuit: CircuitGraph, node: Node) -> tuple[int, int]:
    """Site and position; the metric stands at the last position, tokens and metric at no site (written as 0)."""
    if isinstance(node, MetricNode):
        return 0, max(0, len(circuit.positions) - 1)
    return 0 if isinstance(node, TokenNode) else circuit.sites.index(node.site), node.position


def _edge_columns(circuit: CircuitGraph) -> dict[str, np.ndarray]:
    """Edges sorted by source, then target; sources as the number of edges that leave each node, targets as what each
    adds to the one before (to 0 for the first of a source)."""
    place = {w.node: n for n, w in enumerate(circuit.nodes)}
    edges = sorted(circuit.edges, key=lambda e: (place[e.source], place[e.target]))
    source, target = (np.array([place[getattr(e, end)] for e in edges], int) for end in ("source", "target"))
    first = np.diff(source, prepend=-1) > 0
    leaving = np.bincount(source, minlength=len(circuit.nodes))
    return {
        "edges leaving": smallest_integers(leaving),
        "edge step": smallest_integers(np.where(first, target, np.diff(target, prepend=0))),
        "edge weight": fewer_bits(_floats([e.weight for e in edges]), 11),
        "edge error": fewer_bits(_floats([e.standard_error for e in edges]), 4),
        "edge count": smallest_integers(np.array([e.count or 0 for e in edges], int)),
    }


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """float32, NaN for None."""
    return np.array([np.nan if v is None else v for v in values], np.float32)
