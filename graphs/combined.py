"""One circuit out of several: every node that any of them has (the union), or that all have (the intersection).

    effect(u) = Σ_c n_c · effect_c(u) / Σ_c n_c        over the circuits c that have u; n_c: examples of c

Edge weights likewise. Nodes are the same if their site, kind, feature and name of position are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, TypeVar

from graphs.circuit_graph import EXACT, CircuitGraph, Measurement, Position, WeightedNode
from graphs.edges import Edge
from graphs.nodes import VARIOUS, MetricNode, Node

_SAME: Final = ("metric", "unit", "metric_unit", "patch_value", "error_mode", "from_layer")
"""What circuits must share for their effects to have a mean."""
_Item = TypeVar("_Item")


def refuse_other_effects(circuits: Sequence[CircuitGraph]) -> None:
    """A ValueError if effects of the circuits mean different things, so that they have no mean."""
    for name in _SAME:
        values = sorted({str(getattr(circuit.measurement, name)) for circuit in circuits})
        if len(values) > 1:
            raise ValueError(
                f"The circuits were measured with different values of {name}: {', '.join(values)}. Their effects have "
                "no mean. Find them all with the same one."
            )


def combined(circuits: Sequence[CircuitGraph], *, every: bool, what: str) -> CircuitGraph:
    """The union of the circuits, or with `every` their intersection, without a certificate.

    What several circuits have has no standard error, as they may share pairs; its `count` and `verified` are sums. No
    resample has drawn the combined circuit, so there are no inclusion rates. Estimates by other
    methods, and what a node carries, are kept where each of its circuits has them.

    Args:
        circuits: of which effects can be averaged (`refuse_other_effects`).
        every: keep nodes and edges that all circuits have; else those that any has.
        what: the circuits in words, for `evidence` and `method` where they differ.

    Raises:
        ValueError: sites that are in no common order.
    """
    in_the_pass = [pair for circuit in circuits for pair in pairwise(circuit.sites)]
    sites, circle = _in_order([circuit.sites for circuit in circuits], in_the_pass)
    if circle:
        raise ValueError(f"The sites of the circuits are in no common order: {', '.join(circle)}.")
    in_the_text = [labels for circuit in circuits for edge in circuit.edges if (labels := _labels(circuit, edge))]
    labels, vary = _in_order([[p.label for p in circuit.positions] for circuit in circuits], in_the_text)
    least = len(circuits) if every else 1
    placed = [(circuit, _onto(circuit, labels), circuit.measurement.examples) for circuit in circuits]
    nodes = _grouped((to(w.node), (size, w)) for circuit, to, size in placed for w in circuit.nodes)
    edges = _grouped(((to(e.source), to(e.target)), (size, e)) for circuit, to, size in placed for e in circuit.edges)
    return CircuitGraph(
        sites=tuple(sites),
        positions=tuple(_position(label, circuits) for label in labels),
        nodes=tuple(_node(node, own) for node, own in nodes.items() if len(own) >= least),
        edges=tuple(_edge(source, target, own) for (source, target), own in edges.items() if len(own) >= least),
        measurement=replace(
            _measurement([circuit.measurement for circuit in circuits], what),
            positions_vary=bool(vary) or any(circuit.measurement.positions_vary for circuit in circuits),
        ),
    )


def _in_order(orders: Sequence[Sequence[str]], before: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """All names by their mean place in the orders, except that in each pair of `before` the first comes first.

    Where the pairs go round in a circle, only the mean places count, and the second list names the circle.
    """
    import networkx as nx

    places: dict[str, list[float]] = {}
    for own in orders:
        for n, name in enumerate(own, start=1):
            places.setdefault(name, []).append(n / len(own))
    mean = {name: sum(own) / len(own) for name, own in places.items()}
    graph: nx.DiGraph[str] = nx.DiGraph(before)
    graph.add_nodes_from(mean)
    try:
        return list(nx.lexicographical_topological_sort(graph, key=lambda name: (mean[name], name))), []
    except nx.NetworkXUnfeasible:
        by_mean = sorted(mean, key=lambda name: (mean[name], name))
        return by_mean, [source for source, _ in nx.find_cycle(graph)]


def _labels(circuit: CircuitGraph, edge: Edge) -> tuple[str, str] | None:
    """The names of the positions that an edge joins; None within one position, and to the metric."""
    if isinstance(edge.source, MetricNode) or isinstance(edge.target, MetricNode):
        return None
    one, two = (circuit.positions[node.position].label for node in (edge.source, edge.target))
    return None if one == two else (one, two)


def _onto(circuit: CircuitGraph, labels: Sequence[str]) -> Callable[[Node], Node]:
    """Where a node of the circuit lies in the combined one."""
    columns = [labels.index(position.label) for position in circuit.positions]
    return lambda node: node if isinstance(node, MetricNode) else replace(node, position=columns[node.position])


def _position(label: str, circuits: Sequence[CircuitGraph]) -> Position:
    own = [p for circuit in circuits for p in circuit.positions if p.label == label]
    clean, patch = ({getattr(p, side) for p in own} for side in ("clean_token", "patch_token"))
    return Position(label, *(next(iter(tokens)) if len(tokens) == 1 else VARIOUS for tokens in (clean, patch)))


def _grouped(items: Iterable[tuple[Any, _Item]]) -> dict[Any, list[_Item]]:
    found: dict[Any, list[_Item]] = {}
    for key, item in items:
        found.setdefault(key, []).append(item)
    return found


def _node(node: Node, own: Sequence[tuple[int, WeightedNode]]) -> WeightedNode:
    first = own[0][1]
    methods = [name for name in first.estimates if all(name in w.estimates for _, w in own)]
    flags = dict.fromkeys(flag for _, w in own for flag in w.flags)
    counts = [(w.count, w) for _, w in own]
    return WeightedNode(
        node=node,
        effect=_known_mean([(n, w.effect) for n, w in own]),
        mean_absolute=_known_mean([(n, w.mean_absolute) for n, w in own]),
        standard_error=first.standard_error if len(own) == 1 else None,
        count=sum(w.count for _, w in own),
        clean=_mean([(n, w.clean) for n, w in counts]),
        patch=_mean([(n, w.patch) for n, w in counts]),
        verified=sum(w.verified for _, w in own),
        estimates={name: _known_mean([(n, w.estimates[name]) for n, w in own]) for name in methods},
        carried=_mean([(n, w.carried) for n, w in own]),
        undivided=_mean([(n, w.undivided) for n, w in own]),
        flags={flag: sum(w.flags.get(flag, 0) for _, w in own) for flag in flags},
        **_undecided(own),
    )


def _undecided(own: Sequence[tuple[int, WeightedNode]]) -> dict[str, Any]:
    """In how many examples the effect is undecided, and its two mean values; nothing where none is."""
    count = sum(w.undecided for _, w in own)
    if not count:
        return {}
    closed, opened = (_known_mean([(n, w.both_effects[side]) for n, w in own]) for side in (0, 1))
    return {"undecided": count, "closed_effect": closed, "open_effect": opened}


def _edge(source: Node, target: Node, own: Sequence[tuple[int, Edge]]) -> Edge:
    if len(own) == 1:
        return replace(own[0][1], source=source, target=target, inclusion=None, inclusion_templates=None)
    counts = [e.count for _, e in own]
    return Edge(
        source,
        target,
        _known_mean([(n, e.weight) for n, e in own]),
        _mean([(n, e.mean_absolute) for n, e in own]),
        count=None if None in counts else sum(filter(None, counts)),
    )


def _known_mean(values: Sequence[tuple[int, float]]) -> float:
    """The mean of values by their weights; of one value, that value."""
    weight = sum(n for n, _ in values)
    return sum(n * v for n, v in values) / weight if len(values) > 1 else values[0][1]


def _mean(values: Sequence[tuple[int, float | None]]) -> float | None:
    """As `_known_mean`; None where a value is, or where nothing has weight."""
    known = [(n, v) for n, v in values if v is not None]
    if len(known) < len(values) or not sum(n for n, _ in known):
        return None
    return _known_mean(known)


def _measurement(own: Sequence[Measurement], what: str) -> Measurement:
    first, methods = own[0], list(dict.fromkeys(m.method for m in own))
    residuals = [m.residual_max for m in own]
    known = [r for r in residuals if r is not None]
    exact = all(m.evidence == EXACT for m in own)
    return replace(
        first,
        method=first.method if len(methods) == 1 else "; ".join(methods),
        examples=sum(m.examples for m in own),
        total_effect=_known_mean([(m.examples, m.total_effect) for m in own]),
        residual_median=None,
        residual_max=max(known) if len(known) == len(own) else None,
        residual_law=f"of each circuit by itself: {first.residual_law}",
        evidence=f"{what}; " + (EXACT if exact else "; ".join(dict.fromkeys(m.evidence for m in own))),
        ranked_by=what,
        nodes_measured=max(m.nodes_measured for m in own),
        share_kept=None,
        edge_imbalance=None,
        edges_measured=max(m.edges_measured for m in own),
        pruned=0,
        flags_of=first.flags_of if len({m.flags_of for m in own}) == 1 else None,
        inputs=_inputs([m.inputs for m in own]),
    )


def _inputs(own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all circuits were made from; the tasks are joined, and hashes of prompts are left out."""
    same = {name: value for name, value in own[0].items() if all(i.get(name) == value for i in own)}
    tasks = list(dict.fromkeys(str(i["task"]) for i in own if "task" in i))
    hashes = [{k: v for k, v in (i.get("hashes") or {}).items() if k != "prompts"} for i in own]
    found = same | ({"task": " + ".join(tasks)} if tasks else {})
    found.pop("hashes", None)
    return found | ({"hashes": hashes[0]} if hashes[0] and all(h == hashes[0] for h in hashes) else {})
