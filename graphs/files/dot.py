"""A circuit as DOT, from which Graphviz draws a picture. Export only.

Each site is a cluster; tokens are below all sites and the metric is above them. Green stands for a positive effect or
weight, purple for a negative one; thicker edges have a larger |weight|. Boxes are features, diamonds SAE errors, plain
text tokens, and a double octagon the metric. A red outline marks a node whose estimate was flagged.

    of     attribute   meaning
    node   effect      in the unit of the measurement
    edge   value       the edge's weight, in the same unit (`weight` has another meaning in DOT)
    graph  comment     unit, sign, evidence, which layers are kept as they are, and which edges were left out
"""

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten, wrap
from typing import Final

from graphs.circuit_graph import CircuitGraph, WeightedNode, undecided_in_words
from graphs.edges import Edge
from graphs.feature_labels import Labels
from graphs.figures.colours import sign_colour
from graphs.files.graphml import escape_xml_text
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, TokenNode, short_site
from graphs.strongest_edges import left_out_of
from graphs.words.site_words import kept_in_words

_SHAPES: Final = {"feature": "box", "error": "diamond", "token": "plaintext", "metric": "doubleoctagon"}
_FLAGGED: Final = "#d62728"
_LABEL_LENGTH: Final = 80
_LINE_LENGTH: Final = 28
_WIDEST: Final = 6.0
_THINNEST: Final = 0.4


def write_dot(circuit: CircuitGraph, path: str | Path, *, labels: Labels | None = None) -> None:
    """Write the circuit; features show their labels. The same circuit always gives the same bytes."""
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
    parts += [] if (kept := kept_in_words(measured.from_layer)) is None else [kept]
    return ". ".join(parts if left_out is None else [*parts, left_out.sentence])


def _node(circuit: CircuitGraph, weighted: WeightedNode, ids: dict[str, str], labels: Labels | None) -> str:
    name = circuit.name(weighted.node)
    values = {
        "label": _label(circuit, weighted, labels),
        "shape": _SHAPES[weighted.node.kind],
        "fontcolor": sign_colour(weighted.effect),
        "color": _FLAGGED if weighted.flags else sign_colour(weighted.effect),
        "effect": repr(float(weighted.effect)),
        "tooltip": f"{name}: effect {weighted.effect:+.4g}{undecided_in_words(weighted)}",
    }
    return f"{ids[name]} [{_attributes(values)}];"


def _edge(edge: Edge, largest: float) -> dict[str, str]:
    width = max(_THINNEST, _WIDEST * abs(edge.weight) / largest)
    return {
        "value": repr(float(edge.weight)),
        "color": sign_colour(edge.weight),
        "penwidth": f"{width:.2f}",
        "tooltip": f"{edge.weight:+.4g}",
    }


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
    """A DOT string that shows this text literally: quotes, backslashes and entities are escaped, line breaks kept."""
    lines = (escape_xml_text(line[:1000]).replace("\\\\", "\\") for line in text.split("\n"))
    safe = (line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(safe) + '"'
