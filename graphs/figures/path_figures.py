"""Figures of paths: what happens to the metric on a flagged node's own path, and completeness by number of points."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figures.figure_frame import GRADIENT, LINES, MARK, TRUTH, drawn_text, framed, note
from graphs.nodes import node_name, short_site
from graphs.verdict import NodeVerdict, PathTrace, ResidualCurve, Verdict
from graphs.words.verdict_words import Jump, counted, gate_name, jumps_of, signed

_MOST_MARGINS = 6
_MOST_MARKED = 3
_DECADES_LABELLED = 8


def path_trace(verdict: Verdict, n: int) -> go.Figure:
    """The own path of trace `n` of a verdict, from the clean value (α = 0) to the patch value (α = 1).

    Above: the metric minus its clean value, and what its slope adds up to; then the slope dm/dα, all that a gradient
    method sees; then the margins of gates that flip, open above 0. Metric and slope in units of the metric.
    """
    if not 0 <= n < len(verdict.traces):
        raise LookupError(f"There is no trace {n}: the verdict has {len(verdict.traces)}.")
    trace = verdict.traces[n]
    found = next((v for v in verdict.flagged if (v.node, v.example) == (trace.node, trace.example)), None)
    jumps = jumps_of(found.gates) if found else []
    figure = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.42, 0.25, 0.33])
    _draw_metric(figure, trace)
    drawn = _draw_margins(figure, trace, found)
    _mark_jumps(figure, jumps)
    unit = drawn_text(verdict.unit)
    left_out = f" {drawn} of {len(trace.margins)} gates are drawn." if drawn < len(trace.margins) else ""
    effects = f" Estimate {signed(found.estimate)}, exact {signed(found.exact)} {verdict.unit}." if found else ""
    name, token = node_name(trace.node), verdict.token(trace.node, trace.example).strip()
    framed(
        figure,
        _what_jumps(jumps, verdict.unit) if jumps or not trace.margins else "The metric on a node's own path",
        f"{name}{f' “{token}”' if token else ''}, example {trace.example}, set step by step from its clean "
        f"to its patch value.{effects}{left_out}",
    )
    figure.update_yaxes(title=f"metric − clean<br>({unit})", row=1)
    figure.update_yaxes(title=f"slope dm/dα<br>({unit})", row=2)
    figure.update_yaxes(title="margin of gates<br>(open above 0)", row=3)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title="α: share of the way from the clean to the patch value", row=3)
    return figure


def residual_by_points(verdict: Verdict) -> go.Figure:
    """Completeness of path methods: |total effect − Σ sources| / |total effect|, by number of points; log axes.

    Median over examples as a line, the largest as a dotted one. A residual of exactly 0 stands on the lower edge.
    """
    values = [r for curve in verdict.residuals for r in (*curve.median, *curve.largest) if r > 0]
    floor = 10.0 ** np.floor(np.log10(min(values, default=0.1)))
    top = 10.0 ** np.ceil(np.log10(max(values, default=1.0)))
    colours = (GRADIENT, TRUTH, *LINES)
    figure = go.Figure(
        [
            _residual_line(curve, what, colour, floor)
            for curve, colour in zip(verdict.residuals, colours, strict=False)
            for what in ("median", "largest")
        ]
    )
    points = sorted({p for curve in verdict.residuals for p in curve.points})
    figure.update_xaxes(type="log", tickvals=points, ticktext=[str(p) for p in points], title="points of the path")
    _percent_axis(figure, floor, top)
    if not verdict.residuals:
        note(figure, "no path method was run", x=0.5, y=0.5, xref="paper", yref="paper")
    zero = (
        " A residual of 0 stands on the lower edge."
        if any(0 in c.median + c.largest for c in verdict.residuals)
        else ""
    )
    return framed(
        figure,
        _best_residuals(verdict),
        f"A complete method's parts add up to the total effect. Median of {counted(verdict.examples, 'example')} and "
        f"the largest; a point costs one pass forward and one back.{zero}",
    )


def _residual_line(curve: ResidualCurve, what: Literal["median", "largest"], colour: str, floor: float) -> go.Scatter:
    """The median over examples, or the largest; values below `floor` stand on it."""
    median = what == "median"
    residuals = curve.median if median else curve.largest
    return go.Scatter(
        x=list(curve.points),
        y=[max(r, floor) for r in residuals],
        customdata=list(residuals),
        mode="lines+markers",
        name=f"{drawn_text(curve.method)}, {what}",
        line={"color": colour, "dash": "solid" if median else "dot", "width": 2.5 if median else 1.5},
        marker={"size": 7 if median else 5},
        hovertemplate="%{x} points: %{customdata:.2%}<extra>%{fullData.name}</extra>",
    )


def _draw_metric(figure: go.Figure, trace: PathTrace) -> None:
    alpha, metric, slope = (np.asarray(values) for values in (trace.alpha, trace.metric, trace.slope))
    added_up = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(alpha))])
    for row, values, name, line in (
        (1, metric - metric[0], "metric − clean", {"color": TRUTH, "width": 2.5}),
        (1, added_up, "slope added up", {"color": GRADIENT, "width": 2, "dash": "dash"}),
        (2, slope, "slope: what gradients see", {"color": GRADIENT, "width": 2}),
    ):
        shown = {"name": name, "hovertemplate": "α = %{x:.3f}: %{y:+.4g}"}
        figure.add_trace(go.Scatter(x=alpha.tolist(), y=values.tolist(), mode="lines", line=line, **shown), row, 1)
    for row in (1, 2):
        figure.add_hline(y=0, line={"width": 1, "color": MARK}, row=row, col=1)  # pyright: ignore[reportArgumentType]
    if slope.min() > 0 or slope.max() < 0:
        figure.update_yaxes(rangemode="tozero", row=2)


def _draw_margins(figure: go.Figure, trace: PathTrace, found: NodeVerdict | None) -> int:
    """Margins of the gates with the largest jumps; how many were drawn."""
    sizes = {gate_name(gate): abs(gate.size) for gate in found.gates} if found else {}
    names = sorted(trace.margins, key=lambda name: (-sizes.get(name, 0.0), name))[:_MOST_MARGINS]
    for name, colour in zip(names, LINES, strict=False):
        margin = go.Scatter(
            x=list(trace.alpha),
            y=list(trace.margins[name]),
            mode="lines",
            line={"color": colour, "width": 2},
            name=drawn_text(short_site(name)),
            hovertemplate="α = %{x:.3f}: margin %{y:+.3g}",
        )
        figure.add_trace(margin, 3, 1)
    if names:
        figure.add_hline(y=0, line={"width": 2, "color": MARK}, row=3, col=1)  # pyright: ignore[reportArgumentType]
    else:
        note(figure, "no gate flips on this path", x=0.5, y=0.5, xref="x3 domain", yref="y3 domain")
    return len(names)


def _mark_jumps(figure: go.Figure, jumps: list[Jump]) -> None:
    marked: list[float] = []
    for jump in jumps:
        alpha = jump.alpha
        figure.add_shape(
            type="line", x0=alpha, x1=alpha, y0=0, y1=1, yref="paper", line={"dash": "dot", "width": 1.5, "color": MARK}
        )
        if len(marked) < _MOST_MARKED and all(abs(alpha - other) > 0.15 for other in marked):
            marked.append(alpha)
            right = alpha > 0.8
            figure.add_annotation(
                x=alpha,
                y=1,
                yref="paper",
                yanchor="bottom",
                xanchor="right" if right else "left" if alpha < 0.2 else "center",
                text=f"jump {signed(jump.size)}",
                showarrow=False,
                font={"size": 13},
            )


def _what_jumps(jumps: list[Jump], unit: str) -> str:
    if not jumps:
        return "No gate flips on this path: the metric changes smoothly"
    largest = jumps[0]
    flip = "one gate flips" if len(largest.gates) == 1 else f"{len(largest.gates)} gates flip together"
    by = f"the metric jumps by {signed(largest.size)} {unit}"
    return f"At α = {largest.alpha:.2f}, {flip} and {by}; its slope does not show it"


def _percent_axis(figure: go.Figure, floor: float, top: float) -> None:
    low, high = round(np.log10(floor)), round(np.log10(top))
    step = 1 + (high - low) // _DECADES_LABELLED
    powers = range(high, low - 1, -step)
    figure.update_yaxes(
        type="log",
        tickvals=[10.0**p for p in powers],
        ticktext=[f"{10.0 ** (p + 2):g}%" for p in powers],
        range=[low - 0.05, high + 0.1],
        title="residual: |total effect − Σ parts| as a share of |total effect|",
    )


def _best_residuals(verdict: Verdict) -> str:
    """Where each method stands with its most points."""
    ends = [
        f"{c.method} leaves {_percent(c.median[-1])} of the effect out with {counted(c.points[-1], 'point')}"
        for c in verdict.residuals
        if c.points
    ]
    return "; ".join(ends) or "No path method was run"


def _percent(value: float) -> str:
    return f"{100 * value:.2g}%" if value < 1 else f"{value:.0%}"
