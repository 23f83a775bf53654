"""Plotly figures of circuits. Figures carry their own template; no global theme is changed."""

from html import escape
from typing import Final

import plotly.graph_objects as go

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.grid_layout import GridLayout, grid_layout
from graphs.node import MetricNode, Node, short_site

POSITIVE: Final = "#1b7837"
NEGATIVE: Final = "#762a83"
NEUTRAL: Final = "#555555"
_SYMBOLS: Final = {"feature": "circle", "error": "diamond", "token": "square", "metric": "star"}
_PIXELS_PER_ROW: Final = 44
_STRONGEST_DRAWN: Final = 300


def circuit_figure(circuit: CircuitGraph) -> go.Figure:
    """The circuit on its grid: circles features, diamonds errors, squares tokens, the star the metric.

    Size is |effect|, green positive and purple negative; lines are edges, as thick as |weight|.
    """
    layout = grid_layout(circuit)
    drawn = {w.node for w in circuit.strongest(_STRONGEST_DRAWN)}
    drawn |= {w.node for w in circuit.nodes if isinstance(w.node, MetricNode)}
    largest = max((abs(w.effect) for w in circuit.strongest(1)), default=0.0) or 1.0
    figure = go.Figure()
    _draw_edges(figure, circuit, layout, drawn)
    for kind in _SYMBOLS:
        nodes = [w for w in circuit.nodes if w.node.kind == kind and w.node in drawn]
        if nodes:
            figure.add_trace(_marks(circuit, layout, kind, nodes, largest))
    _frame(figure, circuit, layout)
    return figure


def _draw_edges(figure: go.Figure, circuit: CircuitGraph, layout: GridLayout, drawn: set[Node]) -> None:
    largest = max((abs(edge.weight) for edge in circuit.edges), default=0.0) or 1.0
    for edge in circuit.edges:
        if edge.source in drawn and edge.target in drawn:
            (x0, y0), (x1, y1) = layout.place[edge.source], layout.place[edge.target]
            share = abs(edge.weight) / largest
            figure.add_trace(
                go.Scatter(
                    x=[x0, x1],
                    y=[y0, y1],
                    mode="lines",
                    line={"width": 0.3 + 3 * share, "color": _colour(edge.weight)},
                    opacity=0.08 + 0.5 * share,
                    hoverinfo="skip",
                    showlegend=False,
                )
            )


def _marks(
    circuit: CircuitGraph, layout: GridLayout, kind: str, nodes: list[WeightedNode], largest: float
) -> go.Scatter:
    places = [layout.place[w.node] for w in nodes]
    sizes = [16.0 if kind == "metric" else 5 + 17 * (abs(w.effect) / largest) ** 0.5 for w in nodes]
    return go.Scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        name=kind,
        marker={
            "symbol": _SYMBOLS[kind],
            "size": sizes,
            "color": [NEUTRAL if kind == "metric" else _colour(w.effect) for w in nodes],
            "opacity": 0.85,
            "line": {"width": 1, "color": "white"},
        },
        hovertext=[_hover(circuit, w) for w in nodes],
        hoverinfo="text",
    )


def _hover(circuit: CircuitGraph, weighted: WeightedNode) -> str:
    node = weighted.node
    unit = circuit.measurement.metric_unit if isinstance(node, MetricNode) else circuit.measurement.unit
    lines = [f"<b>{escape(circuit.name(node))}</b>"]
    if not isinstance(node, MetricNode):
        position = circuit.positions[node.position]
        lines.append(f"token “{escape(position.clean_token)}”, patched “{escape(position.patch_token)}”")
    if weighted.clean is not None and weighted.patch is not None:
        lines.append(f"{weighted.clean:.3g} → {weighted.patch:.3g} on average")
    error = "" if weighted.standard_error is None else f" ± {weighted.standard_error:.2g}"
    lines.append(f"effect {weighted.effect:+.4g}{error} {escape(unit)}")
    if not isinstance(node, MetricNode):
        lines.append(f"mean |effect| {weighted.mean_absolute:.4g}; changes in {weighted.count} example(s)")
    return "<br>".join(lines)


def _frame(figure: go.Figure, circuit: CircuitGraph, layout: GridLayout) -> None:
    measured = circuit.measurement
    for band, (bottom, top) in layout.bands.items():
        if band % 2:
            figure.add_hrect(y0=bottom, y1=top, fillcolor="#f4f4f0", line_width=0, layer="below")
    names = ["tokens", *map(short_site, circuit.sites), "metric"]
    title = (
        f"{escape(measured.metric)}: total effect {measured.total_effect:+.3f} {escape(measured.metric_unit)} "
        f"<span style='font-size:13px'>· mean of {measured.examples} pair(s) · {escape(measured.method)}, "
        f"{escape(measured.error_mode)} errors, {escape(measured.patch_value)} patch"
        f"<br>{escape(measured.evidence)}{_left_out(circuit)}</span>"
    )
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 17}},
        height=max(420, 150 + int(_PIXELS_PER_ROW * layout.height)),
        margin={"l": 110, "r": 30, "t": 80, "b": 70},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": "#222222"}},
        legend={
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": 1.0,
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
    )
    figure.update_yaxes(
        tickvals=[(bottom + top) / 2 for bottom, top in layout.bands.values()],
        ticktext=names,
        range=[0, layout.height],
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(
        tickvals=list(range(len(circuit.positions))),
        ticktext=[_tick(p.label, p.clean_token, p.patch_token) for p in circuit.positions],
        range=[-0.6, len(circuit.positions) - 0.4],
        showgrid=False,
        zeroline=False,
    )


def _left_out(circuit: CircuitGraph) -> str:
    count = len(circuit.strongest())
    return f" · the strongest {_STRONGEST_DRAWN} of {count} nodes are drawn" if count > _STRONGEST_DRAWN else ""


def _tick(label: str, clean: str, patch: str) -> str:
    tokens = f"{escape(clean)}" if clean == patch else f"{escape(clean)} → {escape(patch)}"
    return f"{tokens}<br><span style='color:#777777'>{escape(label)}</span>"


def _colour(value: float) -> str:
    return POSITIVE if value >= 0 else NEGATIVE
