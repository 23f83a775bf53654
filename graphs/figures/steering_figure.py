"""Figure of a sweep over steering strengths: the metric, KL, and how fluent the text is, each over the strength."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.sweeps.steering_sweep import SteeringSweep
from graphs.words.steering_words import STEERING_NOTE, steering_headline

_HEIGHT: Final = 520
_OF_PROMPTS, _OF_SAMPLES, _OF_TEXT = EXACT_COLOUR, GRADIENT_COLOUR, SERIES_COLOURS[0]


def steering_curve(sweep: SteeringSweep) -> go.Figure:
    """The metric (left; the band spans all prompts), KL (middle) and cross-entropies (right) over the strength.

    Dotted lines: the unsteered model. What was not measured is not drawn.
    """
    figure = make_subplots(1, 3, subplot_titles=[drawn_text(sweep.metric), "KL", "cross-entropy"])
    strengths = [found.strength for found in sweep.strengths]
    low, high = ([pick(found.metric) for found in sweep.strengths] for pick in (min, max))
    figure.add_trace(_band(strengths, low, high), 1, 1)
    bare = sweep.unsteered
    _draw(figure, 1, strengths, [f.mean_metric for f in sweep.strengths], "prompts", _OF_PROMPTS, bare.mean_metric)
    _draw(figure, 2, strengths, [f.mean_kl for f in sweep.strengths], "prompts", _OF_PROMPTS, None)
    _draw(figure, 2, strengths, [f.text_kl for f in sweep.strengths], "general text", _OF_TEXT, None)
    samples, text = "generated text (fluency)", [f.text_cross_entropy for f in sweep.strengths]
    _draw(figure, 3, strengths, [f.fluency for f in sweep.strengths], samples, _OF_SAMPLES, bare.fluency)
    _draw(figure, 3, strengths, text, "general text", _OF_TEXT, bare.text_cross_entropy)
    figure.update_xaxes(title="strength")
    figure.update_yaxes(title=drawn_text(sweep.unit), col=1)
    figure.update_yaxes(title="nats", col=2, rangemode="tozero")
    figure.update_yaxes(title="nats per token", col=3)
    return frame_figure(figure, steering_headline(sweep), STEERING_NOTE, height=_HEIGHT, legend_rows=1)


def _draw(
    figure: go.Figure,
    column: int,
    strengths: Sequence[float],
    values: Sequence[float | None],
    name: str,
    colour: str,
    bare: float | None,
) -> None:
    """A line of what was measured; a name has one place in the legend, and its unsteered value a dotted line."""
    if any(value is None for value in values):
        return
    line = go.Scatter(
        x=list(strengths),
        y=list(values),
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=name not in _named(figure),
        line={"color": colour, "width": 2},
        marker={"size": 6},
        hovertemplate="strength %{x:g}: %{y:.4g}",
    )
    figure.add_trace(line, 1, column)
    if bare is not None:
        place: Any = {"row": 1, "col": column}
        figure.add_hline(y=bare, line={"dash": "dot", "width": 1, "color": NEUTRAL_COLOUR}, **place)


def _named(figure: go.Figure) -> set[str]:
    traces: Any = figure.data
    return {trace.name for trace in traces}


def _band(strengths: Sequence[float], low: Sequence[float], high: Sequence[float]) -> go.Scatter:
    red, green, blue = hex_to_rgb(_OF_PROMPTS)
    return go.Scatter(
        x=[*strengths, *reversed(strengths)],
        y=[*low, *reversed(high)],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.13)",
        line={"width": 0},
        mode="lines",
        showlegend=False,
        hoverinfo="skip",
    )
