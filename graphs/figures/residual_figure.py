"""Figure of a verdict: how close path methods come to completeness, by number of points."""

from typing import Final, Literal

import numpy as np
import plotly.graph_objects as go

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import drawn_text, frame_figure, write_in_panel
from graphs.verdict import ResidualCurve, Verdict
from graphs.words.number_formats import counted_noun

_DECADES_LABELLED: Final = 8


def residual_by_points(verdict: Verdict) -> go.Figure:
    """Completeness of path methods: |total effect − Σ sources| / |total effect| by number of points, on log axes.

    Solid lines: median over examples. Dotted lines: the largest. A residual of exactly 0 is drawn at the lower edge.
    """
    values = [r for curve in verdict.residuals for r in (*curve.median, *curve.largest) if r > 0]
    floor = 10.0 ** np.floor(np.log10(min(values, default=0.1)))
    top = 10.0 ** np.ceil(np.log10(max(values, default=1.0)))
    colours = (GRADIENT_COLOUR, EXACT_COLOUR, *SERIES_COLOURS)
    figure = go.Figure(
        [
            _residual_line(curve, what, colour, floor)
            for curve, colour in zip(verdict.residuals, colours, strict=False)
            for what in ("median", "largest")
        ]
    )
    points = sorted({p for curve in verdict.residuals for p in curve.points})
    figure.update_xaxes(type="log", tickvals=points, ticktext=[str(p) for p in points], title="points on the path")
    _percent_axis(figure, floor, top)
    if not verdict.residuals:
        write_in_panel(figure, "no path method was run", x=0.5, y=0.5, xref="paper", yref="paper")
    zero = (
        " A residual of 0 is drawn at the lower edge."
        if any(0 in c.median + c.largest for c in verdict.residuals)
        else ""
    )
    return frame_figure(
        figure,
        _best_residuals(verdict),
        f"The parts of a complete method add up to the total effect. Median over "
        f"{counted_noun(verdict.examples, 'example')}, and the largest. A point costs one forward and one backward "
        f"pass.{zero}",
    )


def _residual_line(curve: ResidualCurve, what: Literal["median", "largest"], colour: str, floor: float) -> go.Scatter:
    """The median over examples, or the largest; values below `floor` are drawn at `floor`."""
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
    """What each method leaves out with its largest number of points."""
    ends = [
        f"{c.method} leaves out {_percent(c.median[-1])} of the effect with {counted_noun(c.points[-1], 'point')}"
        for c in verdict.residuals
        if c.points
    ]
    return "; ".join(ends) or "No path method was run"


def _percent(value: float) -> str:
    return f"{100 * value:.2g}%" if value < 1 else f"{value:.0%}"
