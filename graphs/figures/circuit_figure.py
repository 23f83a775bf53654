"""The circuit as a plotly figure: nodes on the grid of sites and positions, edges as lines between them."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import plotly.graph_objects as go

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.edges import Edge
from graphs.figures.column_names import name_columns, room_below
from graphs.figures.figure_frame import MARK, drawn_text, framed, sign_colour
from graphs.figures.grid_layout import GridLayout, grid_layout
from graphs.nodes import MetricNode, short_site
from graphs.words.circuit_words import headline
from graphs.words.verdict_words import counted, signed

_SYMBOLS: Final = {"feature": "circle", "error": "diamond", "token": "square", "metric": "star"}
_LEGEND: Final = {"feature": "features", "error": "SAE errors", "token": "tokens", "metric": "metric"}
_STRONGEST_DRAWN: Final = 300
_EDGES_DRAWN: Final = 3000
_CLASSES: Final = (0.0, 0.02, 0.06, 0.15, 0.35, 0.7, 1.0)
"""Edges between two of these shares of the largest |weight| are drawn alike."""
_PIXELS_PER_ROW: Final = 40
_TOP_AND_BOTTOM: Final = 190


def circuit_figure(circuit: CircuitGraph) -> go.Figure:
    """The circuit on its grid: circles features, diamonds errors, squares tokens, the star the metric.

    Size is |effect|, green positive and purple negative; lines are edges, as thick as |weight|. The strongest 300 nodes
    and 3,000 edges are drawn; the title says how many are left out.
    """
    layout = grid_layout(circuit)
    metric = [w for w in circuit.nodes if isinstance(w.node, MetricNode)]
    nodes = [*circuit.strongest(_STRONGEST_DRAWN), *metric]
    edges = _drawn_edges(circuit, nodes)
    figure = go.Figure([*_lines(edges, layout), *_marks(circuit, layout, nodes)])
    framed(
        figure,
        headline(circuit),
        _reading(circuit, len(nodes) - len(metric), len(edges)),
        height=max(420, _TOP_AND_BOTTOM + int(_PIXELS_PER_ROW * layout.height)),
        legend_rows=1,
        below_axis=room_below(len(layout.columns)),
    )
    _draw_grid(figure, circuit, layout)
    return figure


def _drawn_edges(circuit: CircuitGraph, nodes: list[WeightedNode]) -> list[Edge]:
    """The strongest edges between drawn nodes."""
    drawn = {w.node for w in nodes}
    edges = [edge for edge in circuit.edges if edge.source in drawn and edge.target in drawn]
    return sorted(edges, key=lambda edge: -abs(edge.weight))[:_EDGES_DRAWN]


def _lines(edges: list[Edge], layout: GridLayout) -> Iterator[go.Scatter]:
    """One trace for all edges of one sign and one class of width, the weak ones first."""
    largest = max((abs(edge.weight) for edge in edges), default=0.0) or 1.0
    for low, high in pairwise(_CLASSES):
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
    """One trace a kind of node."""
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
                    "color": [MARK if kind == "metric" else sign_colour(w.effect) for w in found],
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
        return f"{lines[0]}<br>total effect {signed(measured.total_effect)} {drawn_text(measured.metric_unit)}"
    position = circuit.positions[node.position]
    if position.clean_token or position.patch_token:
        lines.append(f"token “{drawn_text(position.clean_token)}”, patched “{drawn_text(position.patch_token)}”")
    if weighted.clean is not None and weighted.patch is not None:
        lines.append(f"{weighted.clean:.3g} → {weighted.patch:.3g} on average")
    error = "" if weighted.standard_error is None else f" ± {weighted.standard_error:.2g}"
    lines.append(f"effect {signed(weighted.effect)}{error} {drawn_text(measured.unit)}")
    lines += [f"by {drawn_text(name)} {signed(value)}" for name, value in weighted.estimates.items()]
    lines.append(f"mean |effect| {weighted.mean_absolute:.3g}; changes in {counted(weighted.count, 'example')}")
    return "<br>".join(lines)


def _reading(circuit: CircuitGraph, nodes: int, edges: int) -> str:
    measured = circuit.measurement
    method = measured.method.replace("_", " ")
    left_out = (len(circuit.strongest()) - nodes, "node"), (len(circuit.edges) - edges, "edge")
    missing = " and ".join(f"{counted(count, noun)}" for count, noun in left_out if count)
    return (
        f"Mean of {counted(measured.examples, 'pair')}; {method}, {measured.error_mode} errors, {measured.patch_value} "
        f"patch; {measured.evidence}. Size is |effect|, width of a line |weight|; green raises the metric, purple "
        f"lowers it." + (f" The weakest are not drawn: {missing}." if missing else "")
    )


def _draw_grid(figure: go.Figure, circuit: CircuitGraph, layout: GridLayout) -> None:
    """Bands of sites, names of sites and positions; a run of positions without a node is a gap."""
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
    name_columns(figure, [column.middle for column in layout.columns], shown)
    figure.update_xaxes(range=[0, layout.width])
