"""Figure of a circuit: its nodes on the grid of sites and positions, and its edges as lines."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import plotly.graph_objects as go

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.edges import Edge
from graphs.figures.colours import NEUTRAL_COLOUR, sign_colour
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.figures.grid_layout import GridLayout, grid_layout
from graphs.figures.position_axis import label_position_axis, pixels_below_axis
from graphs.nodes import MetricNode, short_site
from graphs.words.circuit_words import headline
from graphs.words.number_formats import counted_noun, signed_number
from graphs.words.site_words import kept_in_words

_SYMBOLS: Final = {"feature": "circle", "error": "diamond", "token": "square", "metric": "star"}
_LEGEND: Final = {"feature": "features", "error": "SAE errors", "token": "tokens", "metric": "metric"}
_STRONGEST_DRAWN: Final = 300
_EDGES_DRAWN: Final = 3000
_WIDTH_CLASSES: Final = (0.0, 0.02, 0.06, 0.15, 0.35, 0.7, 1.0)
"""Edges whose share of the largest |weight| lies between the same two of these are drawn with one width."""
_PIXELS_PER_ROW: Final = 40
_TOP_AND_BOTTOM: Final = 190


def circuit_figure(circuit: CircuitGraph) -> go.Figure:
    """The circuit on its grid: circles are features, diamonds SAE errors, squares tokens, and the star is the metric.

    Size shows |effect| and the width of a line |weight|; green is positive, purple negative. At most the 300 strongest
    nodes and 3,000 strongest edges are drawn; the title states how many are left out.
    """
    layout = grid_layout(circuit)
    metric = [w for w in circuit.nodes if isinstance(w.node, MetricNode)]
    nodes = [*circuit.strongest(_STRONGEST_DRAWN), *metric]
    edges = _drawn_edges(circuit, nodes)
    figure = go.Figure([*_lines(edges, layout), *_marks(circuit, layout, nodes)])
    frame_figure(
        figure,
        headline(circuit),
        _reading(circuit, len(nodes) - len(metric), len(edges)),
        height=max(420, _TOP_AND_BOTTOM + int(_PIXELS_PER_ROW * layout.height)),
        legend_rows=1,
        below_axis=pixels_below_axis(len(layout.columns)),
    )
    _draw_grid(figure, circuit, layout)
    return figure


def _drawn_edges(circuit: CircuitGraph, nodes: list[WeightedNode]) -> list[Edge]:
    """The strongest edges between nodes that are drawn."""
    drawn = {w.node for w in nodes}
    edges = [edge for edge in circuit.edges if edge.source in drawn and edge.target in drawn]
    return sorted(edges, key=lambda edge: -abs(edge.weight))[:_EDGES_DRAWN]


def _lines(edges: list[Edge], layout: GridLayout) -> Iterator[go.Scatter]:
    """One trace for all edges of one sign and one width class, weak edges first."""
    largest = max((abs(edge.weight) for edge in edges), default=0.0) or 1.0
    for low, high in pairwise(_WIDTH_CLASSES):
        alike = [e for e in edges if low < abs(e.weight) / largest <= high]
        for found in ([e for e in alike if e.weight < 0], [e for e in alike if e.weight > 0]):
            ends = [(layout.place[e.source], layout.place[e.target]) for e in found]
            if ends:
                share = (low + high) / 2
                yield go.Scatter(
                    x=[x for (x0, _), (x1, _) in ends for x in (x0, x1, None)],
                    y=[y for (_, y0), (_, y1) in ends for y in (y0, y1, None)],
                    mode="lines",
                    line={"width": round(0.5 + 6 * share, 2), "color": sign_colour(found[0].weight)},
                    opacity=round(0.12 + 0.6 * share**0.7, 2),
                    hoverinfo="skip",
                    showlegend=False,
                )


def _marks(circuit: CircuitGraph, layout: GridLayout, nodes: list[WeightedNode]) -> Iterator[go.Scatter]:
    """One trace per kind of node."""
    largest = max((abs(w.effect) for w in circuit.strongest(1)), default=0.0) or 1.0
    for kind, symbol in _SYMBOLS.items():
        found = [w for w in nodes if w.node.kind == kind]
        sizes = [16.0 if kind == "metric" else 5 + 17 * min(1.0, abs(w.effect) / largest) ** 0.5 for w in found]
        if found:
            yield go.Scatter(
                x=[layout.place[w.node][0] for w in found],
                y=[layout.place[w.node][1] for w in found],
                mode="markers",
                name=_LEGEND[kind],
                marker={
                    "symbol": symbol,
                    "size": [round(size, 1) for size in sizes],
                    "color": [NEUTRAL_COLOUR if kind == "metric" else sign_colour(w.effect) for w in found],
                    "opacity": 0.9,
                    "line": {"width": 1, "color": "white"},
                },
                hovertext=[_hover(circuit, w) for w in found],
                hoverinfo="text",
            )


def _hover(circuit: CircuitGraph, weighted: WeightedNode) -> str:
    node, measured = weighted.node, circuit.measurement
    lines = [f"<b>{drawn_text(circuit.name(node))}</b>"]
    if isinstance(node, MetricNode):
        return f"{lines[0]}<br>total effect {signed_number(measured.total_effect)} {drawn_text(measured.metric_unit)}"
    position = circuit.positions[node.position]
    if position.clean_token or position.patch_token:
        lines.append(f"token “{drawn_text(position.clean_token)}”, patch token “{drawn_text(position.patch_token)}”")
    if weighted.clean is not None and weighted.patch is not None:
        lines.append(f"{weighted.clean:.3g} → {weighted.patch:.3g} on average")
    error = "" if weighted.standard_error is None else f" ± {weighted.standard_error:.2g}"
    lines.append(f"effect {signed_number(weighted.effect)}{error} {drawn_text(measured.unit)}")
    lines += [f"estimate by {drawn_text(name)} {signed_number(value)}" for name, value in weighted.estimates.items()]
    lines.append(f"mean |effect| {weighted.mean_absolute:.3g}; changes in {counted_noun(weighted.count, 'example')}")
    return "<br>".join(lines)


def _reading(circuit: CircuitGraph, nodes: int, edges: int) -> str:
    measured = circuit.measurement
    method = measured.method.replace("_", " ")
    kept = "" if measured.from_layer is None else f", {kept_in_words(measured.from_layer)}"
    left_out = (len(circuit.strongest()) - nodes, "node"), (len(circuit.edges) - edges, "edge")
    missing = " and ".join(f"{counted_noun(count, noun)}" for count, noun in left_out if count)
    return (
        f"Mean of {counted_noun(measured.examples, 'pair')}; {method}, {measured.error_mode} errors, "
        f"{measured.patch_value} patch{kept}; {measured.evidence}. Size shows |effect|, line width |weight|; "
        "green raises the metric, purple lowers it." + (f" The weakest are not drawn: {missing}." if missing else "")
    )


def _draw_grid(figure: go.Figure, circuit: CircuitGraph, layout: GridLayout) -> None:
    """Bands and names of sites, and names of positions; a run of positions without a node is one gap."""
    for band, (bottom, top) in layout.bands.items():
        if band % 2:
            figure.add_hrect(y0=bottom, y1=top, fillcolor="#f4f4f0", line_width=0, layer="below")
    figure.update_yaxes(
        tickvals=[(bottom + top) / 2 for bottom, top in layout.bands.values()],
        ticktext=["tokens", *(drawn_text(short_site(site)) for site in circuit.sites), "metric"],
        range=[0, layout.height],
        showgrid=False,
        ticksuffix=" ",
    )
    shown = [None if column.empty else circuit.positions[column.first] for column in layout.columns]
    label_position_axis(figure, [column.middle for column in layout.columns], shown)
    figure.update_xaxes(range=[0, layout.width])
