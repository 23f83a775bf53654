"""The page of two circuits: both in one graph, every node and edge marked by the circuits that have it.

The graph is their union. Its effects are the means of those that have a node, and of each circuit. Different kinds of
numbers have no mean: there each circuit's are taken as shares of its Σ |effect|, the larger share is drawn, and the
effects stand beside it in their own units. A site at which the SAEs differ has
two rows: the features of A and those that match them, and the other features of B.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.combined import combined
from graphs.comparison import ComparedNode, Comparison
from graphs.edges import Edge
from graphs.feature_labels import Labels
from graphs.merged_positions import merge_positions
from graphs.nodes import FeatureNode, MetricNode, Node
from graphs.page.circuit_page import write_packed_page
from graphs.page.payload import payload
from graphs.words.comparison_words import (
    FAITHFULNESS_HEADS,
    comparison_headline,
    comparison_numbers,
    faithfulness_rows,
    twin_in_words,
)
from graphs.words.number_formats import counted_noun, signed_number

_KINDS_OF_EFFECT: Final = ("metric", "unit", "metric_unit", "patch_value")
_MEAN: Final = "mean of those that have it"
_LARGER: Final = "larger share of the two"


def write_comparison_page(
    comparison: Comparison,
    a: CircuitGraph,
    b: CircuitGraph,
    path: str | Path,
    *,
    title: str,
    labels: Labels | None = None,
) -> None:
    """Write two circuits and what they share as one self-contained, interactive HTML file.

    Args:
        comparison: of `a` and `b`, in this order.
        a, b: the circuits.
        path: the file to write.
        title: heading of the page.
        labels: of features of A's SAEs.
    """
    union, nodes, edges = drawn_union(comparison, a, b)
    header, columns = payload(union, title=title, labels=labels)
    header["methods"] = [{**method, "flags": {}} for method in header["methods"]]
    header["exact"] = "none"
    header["sites"] = _marked_rows(comparison, header["sites"])
    header["comparison"] = {
        **_in_words(comparison, union),
        "totals": [_total(name, circuit) for name, circuit in zip(comparison.names, (a, b), strict=True)],
        "effects": {} if _of_one_kind(a, b) else _effects_in_units(comparison, union, a, b),
    }
    columns["membership"] = np.array(nodes, np.uint8)
    columns["edge membership"] = np.array(edges, np.uint8)
    write_packed_page(header, columns, path, title=title)


def drawn_union(comparison: Comparison, a: CircuitGraph, b: CircuitGraph) -> tuple[CircuitGraph, list[int], list[int]]:
    """The graph that is drawn, and for each of its nodes and edges 1 if only A has it, 2 if only B, 3 if both."""
    a, b = _merged(comparison, a, b)
    _refuse_other_circuits(comparison, a, b)
    alike = _of_one_kind(a, b)
    if not alike:
        a, b = _in_shares(a), _in_shares(b)
    b = _by_the_features_of_a(comparison, a, b)
    union = combined([a, b], every=False, what="both circuits")
    place = {w.node: n for n, w in enumerate(union.nodes)}
    union = replace(union, edges=tuple(sorted(union.edges, key=lambda e: (place[e.source], place[e.target]))))
    effects = [{c.name(w.node): w.effect for w in c.nodes} for c in (a, b)]
    joined = [{(c.name(e.source), c.name(e.target)): e.weight for e in c.edges} for c in (a, b)]
    nodes = [_membership(union.name(w.node), effects) for w in union.nodes]
    edges = [_membership((union.name(e.source), union.name(e.target)), joined) for e in union.edges]
    shown = tuple(_with_effects(w, union.name(w.node), comparison.names, effects) for w in union.nodes)
    union = replace(union, nodes=shown, measurement=replace(union.measurement, method=_MEAN if alike else _LARGER))
    return union if alike else _with_larger(union, joined), nodes, edges


def _merged(comparison: Comparison, a: CircuitGraph, b: CircuitGraph) -> tuple[CircuitGraph, CircuitGraph]:
    """Both, without positions where these were merged to compare them."""
    one, two = comparison.merged
    return merge_positions(a) if one else a, merge_positions(b) if two else b


def _refuse_other_circuits(comparison: Comparison, a: CircuitGraph, b: CircuitGraph) -> None:
    """A ValueError if a node of the comparison is in no circuit where it should be."""
    for circuit, rows in ((a, [row.a for row in comparison.nodes]), (b, [row.b for row in comparison.nodes])):
        names = {circuit.name(w.node) for w in circuit.nodes}
        if other := {name for name in rows if name is not None} - names:
            raise ValueError(f"The comparison is of other circuits than these: they have no node {min(other)!r}.")


def _membership(name: Any, of: list[Any]) -> int:
    return sum(bit for bit, own in zip((1, 2), of, strict=True) if name in own)


def _with_effects(
    weighted: WeightedNode, name: str, names: tuple[str, str], effects: list[dict[str, float]]
) -> WeightedNode:
    """A node that shows its effect in each circuit where other pages show estimates."""
    own = {circuit: of[name] for circuit, of in zip(names, effects, strict=True) if name in of}
    return replace(weighted, estimates=own, flags={})


def _of_one_kind(a: CircuitGraph, b: CircuitGraph) -> bool:
    """Whether the effects of both are the same kind of number, so that they have a mean."""
    return all(getattr(a.measurement, name) == getattr(b.measurement, name) for name in _KINDS_OF_EFFECT)


def _with_larger(union: CircuitGraph, weights: list[dict[tuple[str, str], float]]) -> CircuitGraph:
    """The union with the larger of two effects, and of two weights, in place of their mean."""
    ends = [(union.name(e.source), union.name(e.target)) for e in union.edges]
    larger = [max((own[pair] for own in weights if pair in own), key=abs) for pair in ends]
    return replace(
        union,
        nodes=tuple(replace(w, effect=max(w.estimates.values(), key=abs, default=w.effect)) for w in union.nodes),
        edges=tuple(replace(e, weight=weight) for e, weight in zip(union.edges, larger, strict=True)),
    )


def _total(name: str, circuit: CircuitGraph) -> str:
    """What the patch prompts change in one circuit's task, in its own unit."""
    measured = circuit.measurement
    total = f"{signed_number(measured.total_effect)} {measured.metric_unit}"
    return f"{name}: {measured.metric.replace('_', ' ')} {total}, {counted_noun(measured.examples, 'pair')}"


def _effects_in_units(comparison: Comparison, union: CircuitGraph, a: CircuitGraph, b: CircuitGraph) -> dict[str, str]:
    """The effects of each drawn node in its circuits, in their own units, by its name."""
    about = zip(comparison.names, _merged(comparison, a, b), strict=True)
    units = {name: (_whole(circuit), circuit.measurement.unit) for name, circuit in about}
    return {
        union.name(weighted.node): "; ".join(
            f"{name}: {signed_number(share * units[name][0])} {units[name][1]}"
            for name, share in weighted.estimates.items()
        )
        for weighted in union.strongest()
    }


def _whole(circuit: CircuitGraph) -> float:
    """Σ |effect| of a circuit; 1 where it is 0."""
    return sum(abs(w.effect) for w in circuit.strongest()) or 1.0


def _in_shares(circuit: CircuitGraph) -> CircuitGraph:
    whole = _whole(circuit)
    return replace(
        circuit,
        nodes=tuple(
            replace(w, effect=w.effect / whole, mean_absolute=w.mean_absolute / whole, standard_error=None)
            for w in circuit.nodes
        ),
        edges=tuple(
            replace(e, weight=e.weight / whole, mean_absolute=None, standard_error=None) for e in circuit.edges
        ),
        measurement=replace(circuit.measurement, unit="share of Σ |effect|"),
    )


def _by_the_features_of_a(comparison: Comparison, a: CircuitGraph, b: CircuitGraph) -> CircuitGraph:
    """B with A's metric and A's numbers of shared features; its others of other SAEs get sites of their own."""
    of_a = {a.name(w.node): w.node for w in a.nodes}
    shared = {row.b: of_a[row.a] for row in comparison.nodes if row.a is not None and row.b is not None}
    metric = next((w.node for w in a.nodes if isinstance(w.node, MetricNode)), None)
    own_site = {site: f"{site} of {comparison.names[1]}" for site in comparison.other_saes}

    def renamed(node: Node) -> Node:
        if isinstance(node, MetricNode):
            return metric or node
        if not isinstance(node, FeatureNode) or node.site not in own_site:
            return node
        same = shared.get(b.name(node))
        if isinstance(same, FeatureNode):
            return replace(node, index=same.index)
        return replace(node, site=own_site[node.site])

    sites = tuple(name for site in b.sites for name in (site, own_site.get(site)) if name is not None)
    return _renamed(replace(b, sites=sites), renamed)


def _renamed(circuit: CircuitGraph, name: Callable[[Node], Node]) -> CircuitGraph:
    def edge(own: Edge) -> Edge:
        return replace(own, source=name(own.source), target=name(own.target))

    nodes = tuple(replace(w, node=name(w.node)) for w in circuit.nodes)
    return replace(circuit, nodes=nodes, edges=tuple(map(edge, circuit.edges)))


def _marked_rows(comparison: Comparison, sites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of sites with two SAEs marked A and B."""
    parts = {site["name"]: site["part"] for site in sites}
    marked = {site: f"{parts[site]} A" for site in comparison.other_saes if site in parts}
    marked |= {f"{site} of {comparison.names[1]}": f"{parts[site]} B" for site in marked}
    return [{**site, "part": marked.get(site["name"], site["part"])} for site in sites]


def _words_of_rows(comparison: Comparison) -> list[str]:
    if not comparison.other_saes:
        return []
    a, b = comparison.names
    return [f"Rows marked A hold the features of {a} and those that match them; rows marked B the others of {b}."]


def _in_words(comparison: Comparison, union: CircuitGraph) -> Mapping[str, Any]:
    """What the page says about the comparison; `twins` by the name of the node that is drawn."""
    words = [(row, twin_in_words(comparison, row)) for row in comparison.nodes]
    drawn = {union.name(w.node) for w in union.nodes}
    twins: dict[str, str] = {}
    for row, text in words:
        if text is not None:
            twins[_drawn_name(comparison, row)] = text
    return {
        "names": list(comparison.names),
        "headline": comparison_headline(comparison),
        "numbers": [asdict(number) for number in comparison_numbers(comparison)],
        "heads": list(FAITHFULNESS_HEADS),
        "faithfulness": faithfulness_rows(comparison),
        "notes": [*comparison.notes, *_words_of_rows(comparison)],
        "missing": [f"{what}: {why}" for what, why in comparison.missing.items()],
        "twins": {name: text for name, text in twins.items() if name in drawn},
    }


def _drawn_name(comparison: Comparison, row: ComparedNode) -> str:
    """The name of a compared node in the union: A's, or B's own, whose features of other SAEs lie at other sites."""
    name = row.b if row.a is None else row.a
    assert name is not None
    moved = row.a is None and row.kind == FeatureNode.kind and row.site in comparison.other_saes
    return name.replace(row.site, f"{row.site} of {comparison.names[1]}", 1) if moved else name
