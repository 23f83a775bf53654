"""The numbers of a circuit's nodes and edges as the columns of its page.

Node columns keep every digit of float32. Edge columns keep 11 bits of a weight (a relative error of at most 1/4096) and
4 bits of its standard error: the page shows three digits, and `circuit.json` has all of them.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from graphs.circuit_graph import CircuitGraph
from graphs.nodes import FeatureNode, MetricNode, Node, TokenNode
from graphs.page.pack_columns import fewer_bits, smallest_integers
from graphs.words.method_names import method_order

_VALUES: Final = (
    "effect",
    "mean_absolute",
    "standard_error",
    "clean",
    "patch",
    "carried",
    "undivided",
    "inclusion",
    "inclusion_templates",
    "closed_effect",
    "open_effect",
)
KINDS: Final = ("feature", "error", "token", "metric")
"""The column `kind` counts into these."""


NO_RATE: Final = 255
"""The column `edge inclusion`, in percent, where an edge has no rate."""


def node_columns(circuit: CircuitGraph) -> dict[str, np.ndarray]:
    """One entry per node, in the circuit's order; NaN where a value is None."""
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
        "undecided": smallest_integers(np.array([w.undecided for w in nodes], int)),
    }
    for name in _VALUES:
        columns[name] = _floats([getattr(w, name) for w in nodes])
    for method in sorted({name for w in nodes for name in w.estimates}, key=method_order):
        columns[f"estimate {method}"] = _floats([w.estimates.get(method) for w in nodes])
    return columns


def _place(circuit: CircuitGraph, node: Node) -> tuple[int, int]:
    """Site and position. The metric is at the last position; the site of tokens and of the metric is written as 0."""
    if isinstance(node, MetricNode):
        return 0, max(0, len(circuit.positions) - 1)
    return 0 if isinstance(node, TokenNode) else circuit.sites.index(node.site), node.position


def edge_columns(circuit: CircuitGraph) -> dict[str, np.ndarray]:
    """Edges sorted by source, then by target.

    Sources are given by the number of edges that leave each node, targets by the difference to the target before (to 0
    for the first edge of a source).
    """
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
        "edge inclusion": np.array(
            [NO_RATE if e.inclusion is None else round(100 * e.inclusion) for e in edges], np.uint8
        ),
    }


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """float32, with NaN for None."""
    return np.array([np.nan if v is None else v for v in values], np.float32)
