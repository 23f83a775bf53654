"""A circuit as DOT, for Graphviz: the source of a picture, one way only.

A cluster for each site, the tokens below all and the metric on top. Green: the effect or weight is positive, purple:
negative; edges are the thicker the larger. Boxes are features, diamonds errors, plain text tokens, a double octagon
the metric; a red rim marks a node whose estimate was flagged.

    of     attribute   what
    node   effect      in the unit of the measurement
    edge   value       its weight, in the same unit (`weight` means something else in DOT)
    graph  comment     unit and sign, and what was left out
"""

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten, wrap
from typing import Final

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.edges import Edge
from graphs.feature_labels import Labels
from graphs.figures.figure_frame import NEGATIVE, POSITIVE
from graphs.files.xml_text import to_xml
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, TokenNode, short_site
from graphs.strongest_edges import left_out_of

_SHAPES: Final = {"feature": "box", "error": "diamond", "token": "plaintext", "metric": "doubleoctagon"}
_FLAGGED: Final = "#d62728"
_LABEL_LENGTH: Final = 80
_LINE_LENGTH: Final = 28
_WIDEST: Final = 6.0
_THINNEST: Final = 0.4


def write_dot(circuit: CircuitGraph, path: str | Path, *, labels: Labels | None = None) -> None:
    """Write the circuit; features carry their labels. The same circuit gives the same bytes."""
    Path(path).write_text("\n".join(_lines(circuit, labels)) + "\n", encoding="utf-8")


def _lines(circuit: CircuitGraph, labels: Labels | None) -> Iterator[str]:
    ids = {circuit.name(weighted.node): f"n{number}" for number, weighted in enumerate(circuit.nodes)}
    yield "digraph circuit {"
    yield f"  graph [rankdir=BT, newrank=true, fontname=Helvetica, comment={_quoted(_comment(circuit))}];"
    yield "  node [fontname=Helvetica, fontsize=10];"
    yield "  edge [arrowsize=0.6];"
    for number, site in enumerate(circuit.sites):
        members = [w for w in circuit.nodes if isinstance(w.node, FeatureNode | ErrorNode) and w.node.site == site]
        if members:
            yield f"  subgraph cluster_{number} {{"
            yield f"    label={_quoted(short_site(site))}; labeljust=l; color={_quoted('#bbbbbb')};"
            yield from (f"    {_node(circuit, w, ids, labels)}" for w in members)
            yield "  }"
    for kind, rank in ((TokenNode, "source"), (MetricNode, "sink")):
        members = [w for w in circuit.nodes if isinstance(w.node, kind)]
        if members:
            yield f"  {{ rank={rank};"
            yield from (f"    {_node(circuit, w, ids, labels)}" for w in members)
            yield "  }"
    largest = max((abs(edge.weight) for edge in circuit.edges), default=0.0) or 1.0
    for edge in circuit.edges:
        ends = f"{ids[circuit.name(edge.source)]} -> {ids[circuit.name(edge.target)]}"
        yield f"  {ends} [{_attributes(_edge(edge, largest))}];"
    yield "}"


def _comment(circuit: CircuitGraph) -> str:
    left_out = left_out_of(circuit)
    measured = circuit.measurement
    parts = [f"effects and weights: in {measured.unit}; {measured.sign}; {measured.evidence}"]
    return ". ".join(parts if left_out is None else [*parts, left_out.sentence])


def _node(circuit: CircuitGraph, weighted: WeightedNode, ids: dict[str, str], labels: Labels | None) -> str:
    name = circuit.name(weighted.node)
    values = {
        "label": _label(circuit, weighted, labels),
        "shape": _SHAPES[weighted.node.kind],
        "fontcolor": _colour(weighted.effect),
        "color": _FLAGGED if weighted.flags else _colour(weighted.effect),
        "effect": repr(float(weighted.effect)),
        "tooltip": f"{name}: effect {weighted.effect:+.4g}",
    }
    return f"{ids[name]} [{_attributes(values)}];"


def _edge(edge: Edge, largest: float) -> dict[str, str]:
    width = max(_THINNEST, _WIDEST * abs(edge.weight) / largest)
    return {
        "value": repr(float(edge.weight)),
        "color": _colour(edge.weight),
        "penwidth": f"{width:.2f}",
        "tooltip": f"{edge.weight:+.4g}",
    }


def _colour(value: float) -> str:
    return POSITIVE if value >= 0 else NEGATIVE


def _label(circuit: CircuitGraph, weighted: WeightedNode, labels: Labels | None) -> str:
    node = weighted.node
    if isinstance(node, MetricNode):
        return f"{node.name}\n{weighted.effect:+.3g}"
    position = circuit.positions[node.position]
    if isinstance(node, TokenNode):
        same = position.clean_token == position.patch_token
        return position.clean_token if same else f"{position.clean_token} → {position.patch_token}"
    name = "error" if isinstance(node, ErrorNode) else str(node.index)
    lines = [f"{name}  {weighted.effect:+.3g}", position.label]
    if isinstance(node, FeatureNode) and labels is not None and (node.site, node.index) in labels:
        text = shorten(labels.of(node.site, node.index).text, _LABEL_LENGTH, placeholder="…")
        lines += wrap(text, _LINE_LENGTH)
    return "\n".join(lines)


def _attributes(values: dict[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    """A DOT string that shows this text: quotes, escapes and entities mean themselves, a line break stays one."""
    lines = (to_xml(line[:1000]).replace("\\\\", "\\") for line in text.split("\n"))
    safe = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(safe) + '"'
