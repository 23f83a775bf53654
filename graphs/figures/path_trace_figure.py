"""Figure of a verdict: the metric, its slope and the gates on a flagged node's own path."""

from typing import Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import drawn_text, frame_figure, write_in_panel
from graphs.nodes import short_site
from graphs.verdict import NodeVerdict, PathTrace, Verdict
from graphs.words.number_formats import signed_number
from graphs.words.verdict_words import Jump, gate_name, jumps_of

_MOST_MARGINS: Final = 6
_MOST_MARKED: Final = 3


def path_trace(verdict: Verdict, n: int) -> go.Figure:
    """Trace `n` of a verdict: a flagged node's own path from its clean value (α = 0) to its patch value (α = 1).

    Top: the metric minus its clean value, and the integral of its slope. Middle: the slope dm/dα, which is all that a
    gradient method sees. Bottom: the margins of the gates that flip; a gate is open above 0. Metric and slope are in
    units of the metric.

    Raises:
        LookupError: the verdict has no trace `n`.
    """
    if not 0 <= n < len(verdict.traces):
        raise LookupError(f"There is no trace {n}: the verdict has {len(verdict.traces)}.")
    trace = verdict.traces[n]
    found = next((v for v in verdict.flagged if (v.node, v.example) == (trace.node, trace.example)), None)
    jumps = jumps_of(found.gates) if found else []
    figure = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.42, 0.25, 0.33])
    _draw_metric(figure, trace)
    drawn = _draw_margins(figure, verdict, trace, found)
    _mark_jumps(figure, jumps)
    unit = drawn_text(verdict.unit)
    left_out = f" Only {drawn} of {len(trace.margins)} gates are drawn." if drawn < len(trace.margins) else ""
    effects = (
        f" Estimate {signed_number(found.estimate)}, exact {signed_number(found.exact)} {verdict.unit}."
        if found
        else ""
    )
    name, token = verdict.name(trace.node, trace.example), verdict.token(trace.node, trace.example).strip()
    frame_figure(
        figure,
        _what_jumps(jumps, verdict.unit) if jumps or not trace.margins else "The metric on a node's own path",
        f"{name}{f' “{token}”' if token else ''}, example {trace.example}, moved from its clean to its "
        f"patch value.{effects}{left_out}",
    )
    figure.update_yaxes(title=f"metric − clean<br>({unit})", row=1)
    figure.update_yaxes(title=f"slope dm/dα<br>({unit})", row=2)
    figure.update_yaxes(title="margin of gates<br>(open above 0)", row=3)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title="α: share of the way from the clean to the patch value", row=3)
    return figure


def _draw_metric(figure: go.Figure, trace: PathTrace) -> None:
    alpha, metric, slope = (np.asarray(values) for values in (trace.alpha, trace.metric, trace.slope))
    added_up = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(alpha))])
    for row, values, name, line in (
        (1, metric - metric[0], "metric − clean", {"color": EXACT_COLOUR, "width": 2.5}),
        (1, added_up, "integral of the slope", {"color": GRADIENT_COLOUR, "width": 2, "dash": "dash"}),
        (2, slope, "slope: what gradients see", {"color": GRADIENT_COLOUR, "width": 2}),
    ):
        shown = {"name": name, "hovertemplate": "α = %{x:.3f}: %{y:+.4g}"}
        figure.add_trace(go.Scatter(x=alpha.tolist(), y=values.tolist(), mode="lines", line=line, **shown), row, 1)
    for row in (1, 2):
        figure.add_hline(y=0, line={"width": 1, "color": NEUTRAL_COLOUR}, row=row, col=1)  # pyright: ignore[reportArgumentType]
    if slope.min() > 0 or slope.max() < 0:
        figure.update_yaxes(rangemode="tozero", row=2)


def _draw_margins(figure: go.Figure, verdict: Verdict, trace: PathTrace, found: NodeVerdict | None) -> int:
    """Draw the margins of the gates with the largest jumps; returns how many were drawn."""
    sizes = {gate_name(gate): abs(gate.size) for gate in found.gates} if found else {}
    names = sorted(trace.margins, key=lambda name: (-sizes.get(name, 0.0), name))[:_MOST_MARGINS]
    for name, colour in zip(names, SERIES_COLOURS, strict=False):
        margin = go.Scatter(
            x=list(trace.alpha),
            y=list(trace.margins[name]),
            mode="lines",
            line={"color": colour, "width": 2},
            name=drawn_text(short_site(verdict.name_of_margin(name, trace.example))),
            hovertemplate="α = %{x:.3f}: margin %{y:+.3g}",
        )
        figure.add_trace(margin, 3, 1)
    if names:
        figure.add_hline(y=0, line={"width": 2, "color": NEUTRAL_COLOUR}, row=3, col=1)  # pyright: ignore[reportArgumentType]
    else:
        write_in_panel(figure, "no gate flips on this path", x=0.5, y=0.5, xref="x3 domain", yref="y3 domain")
    return len(names)


def _mark_jumps(figure: go.Figure, jumps: list[Jump]) -> None:
    marked: list[float] = []
    for jump in jumps:
        alpha = jump.alpha
        figure.add_shape(
            type="line",
            x0=alpha,
            x1=alpha,
            y0=0,
            y1=1,
            yref="paper",
            line={"dash": "dot", "width": 1.5, "color": NEUTRAL_COLOUR},
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
                text=f"jump {signed_number(jump.size)}",
                showarrow=False,
                font={"size": 13},
            )


def _what_jumps(jumps: list[Jump], unit: str) -> str:
    if not jumps:
        return "No gate flips on this path: the metric changes smoothly"
    largest = jumps[0]
    flip = "one gate flips" if len(largest.gates) == 1 else f"{len(largest.gates)} gates flip together"
    by = f"the metric jumps by {signed_number(largest.size)} {unit}"
    return f"At α = {largest.alpha:.2f}, {flip} and {by}, which its slope does not show"
