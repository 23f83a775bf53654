"""Figures of faithfulness over circuit size, with intervals as bands: a line per ranking, or a line per split."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from graphs.faithfulness import Bounds, Faithfulness, FaithfulnessCurve
from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.words.number_formats import counted_noun
from graphs.words.part_words import part_in_words

_COLOURS: Final = (EXACT_COLOUR, GRADIENT_COLOUR, *SERIES_COLOURS)
_ERRORS: Final = {
    "nodes": "SAE errors are nodes of the circuit like features.",
    "kept": "Every SAE error is kept.",
    "removed": "Every SAE error is at its reference value, also inside the circuit.",
}
_OF_MODEL: Final = 0.8


def faithfulness_by_size(curves: Sequence[FaithfulnessCurve], *, target: float = _OF_MODEL) -> go.Figure:
    """Compare rankings on one split: faithfulness (left) and completeness (right) over the number of nodes (log axis).

    A dashed line marks `target`. The last point of every line is share 1, the whole model.

    Raises:
        ValueError: no curves, or curves that differ in split, reference, treatment of errors, metric or pairs.
    """
    about = _shared(curves)
    figure = make_subplots(1, 2, shared_xaxes=True, subplot_titles=["faithfulness", "completeness"])
    for number, curve in enumerate(curves):
        colour = NEUTRAL_COLOUR if curve.draws > 1 else _COLOURS[number % len(_COLOURS)]
        name = curve.ranking + (f" (mean of {curve.draws})" if curve.draws > 1 else "")
        _draw(figure, curve, name, colour)
    ends = {"x0": 0, "x1": 1, "y0": target, "y1": target}
    figure.add_shape(
        type="line", xref="x domain", yref="y", line={"dash": "dash", "width": 1, "color": NEUTRAL_COLOUR}, **ends
    )
    where = f"{about.split.replace('_', ' ')}, {counted_noun(about.pairs, 'pair')}, {about.metric}"
    frame_figure(
        figure,
        _finding(curves, target),
        f"{where}. 1 is the whole model; at 0 everything has its {about.reference} value. Faithfulness: only the "
        f"circuit is kept. Completeness: only the rest is kept; 0 is best. {_ERRORS[about.errors]} Bands: bootstrap "
        "over pairs.",
        legend_rows=2,
    )
    return _with_axes(figure)


def faithfulness_by_split(curves: Sequence[FaithfulnessCurve], circuits: Sequence[Faithfulness] = ()) -> go.Figure:
    """Compare splits for one ranking: faithfulness (left) and completeness (right); stars mark the circuit.

    A certificate holds both: `faithfulness_by_split(certificate.curves, certificate.faithfulness)`. A star may lie off
    its line because the circuit was pruned.

    Raises:
        ValueError: no curves, or curves that differ in ranking, reference, treatment of errors or metric.
    """
    about = _shared(curves, but=("split", "pairs"), also=("ranking",))
    figure = make_subplots(1, 2, shared_xaxes=True, subplot_titles=["faithfulness", "completeness"])
    own = {circuit.split: circuit for circuit in circuits}
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        _draw(figure, curve, _split_name(curve.split), colour)
        if curve.split in own:
            for column, mark in enumerate(_marks(own[curve.split], colour), start=1):
                figure.add_trace(mark, 1, column)
    frame_figure(
        figure,
        _circuit_finding([own[curve.split] for curve in curves if curve.split in own]),
        f"First nodes by {about.ranking}; {about.metric}. 1 is the whole model; at 0 everything has its "
        f"{about.reference} value. Faithfulness: only the first nodes are kept. Completeness: only the rest is kept; 0 "
        f"is best. {_ERRORS[about.errors]} Stars: the circuit. Bands: bootstrap over pairs.",
        legend_rows=2,
    )
    return _with_axes(figure)


def _circuit_finding(circuits: Sequence[Faithfulness]) -> str:
    if not circuits:
        return "Faithfulness over the size of a circuit"
    on = [f"on {_split_name(circuit.split)}" for circuit in circuits]
    of = [" of the model's effect", *[""] * (len(circuits) - 1)]
    parts = [f"{c.faithfulness:.0%}{effect} {where}" for c, effect, where in zip(circuits, of, on, strict=True)]
    return f"{counted_noun(circuits[0].nodes, 'node')} alone: {', '.join(parts)}"


def _split_name(split: str) -> str:
    return f"{part_in_words(split)} prompts"


def _marks(circuit: Faithfulness, colour: str) -> tuple[go.Scatter, go.Scatter]:
    marker = {"symbol": "star", "size": 14, "color": colour, "line": {"width": 1, "color": "white"}}
    name = drawn_text(_split_name(circuit.split))
    left, right = (
        go.Scatter(
            x=[circuit.nodes],
            y=[value],
            mode="markers",
            marker=marker,
            name=f"the circuit on {name}",
            legendgroup=name,
            showlegend=False,
            hovertemplate="%{x} nodes: %{y:.3f}",
        )
        for value in (circuit.faithfulness, circuit.completeness)
    )
    return left, right


def _draw(figure: go.Figure, curve: FaithfulnessCurve, name: str, colour: str) -> None:
    """Draw a curve's two lines and their bands."""
    figure.add_trace(_band(curve, curve.low, curve.high, name, colour), 1, 1)
    figure.add_trace(_band(curve, curve.completeness_low, curve.completeness_high, name, colour), 1, 2)
    figure.add_trace(_line(curve, curve.faithfulness, name, colour), 1, 1)
    figure.add_trace(_line(curve, curve.completeness, name, colour).update(showlegend=False), 1, 2)


def _with_axes(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(type="log", title="nodes in the circuit", tickformat="~s", dtick=1)
    figure.update_yaxes(title="F(C)", col=1)
    figure.update_yaxes(title="F(M∖C)", col=2)
    return figure


def _shared(
    curves: Sequence[FaithfulnessCurve], *, but: Sequence[str] = (), also: Sequence[str] = ()
) -> FaithfulnessCurve:
    """The first curve, after a check that all curves agree in what was measured, except for the fields in `but`."""
    if not curves:
        raise ValueError("No curves: there is nothing to draw.")
    for name in (n for n in ("split", "reference", "errors", "metric", "pairs", *also) if n not in but):
        found = sorted({str(getattr(curve, name)) for curve in curves})
        if len(found) > 1:
            raise ValueError(f"Curves of different {name} ({', '.join(found)}) belong in separate figures.")
    return curves[0]


def _finding(curves: Sequence[FaithfulnessCurve], target: float) -> str:
    """Which ranking reaches the target with the fewest nodes, among the sizes drawn below the whole model."""
    reached = {
        curve.ranking: size
        for curve in curves
        for size, share, f in sorted(zip(curve.sizes, curve.shares, curve.faithfulness, strict=True), reverse=True)
        if share < 1 and f >= target
    }
    if not reached:
        return f"No ranking reaches {target:.0%} of the model's effect with fewer nodes than the whole model"
    fewest = min(reached.values())
    best = [f"“{name}”" for name, size in reached.items() if size == fewest]
    needs = "needs" if len(best) == 1 else "need"
    return (
        f"{' and '.join(best)} {needs} {counted_noun(fewest, 'node')} or fewer for {target:.0%} of the model's effect"
    )


def _line(curve: FaithfulnessCurve, values: tuple[float, ...], name: str, colour: str) -> go.Scatter:
    shares = [f"{share:.1%} of its nodes" if share < 1 else "the whole model" for share in curve.shares]
    return go.Scatter(
        x=curve.sizes,
        y=values,
        mode="lines+markers",
        name=drawn_text(name),
        legendgroup=drawn_text(name),
        line={"color": colour, "width": 2, "dash": "dot" if curve.draws > 1 else "solid"},
        marker={"size": 5},
        text=shares,
        hovertemplate="%{x} nodes (%{text}): %{y:.3f}",
    )


def _band(curve: FaithfulnessCurve, low: Bounds, high: Bounds, name: str, colour: str) -> go.Scatter:
    """The interval, at the sizes where it is bounded."""
    found = [(x, a, b) for x, a, b in zip(curve.sizes, low, high, strict=True) if a is not None and b is not None]
    sizes, below, above = zip(*found, strict=True) if found else ((), (), ())
    red, green, blue = hex_to_rgb(colour)
    return go.Scatter(
        x=[*sizes, *reversed(sizes)],
        y=[*below, *reversed(above)],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.13)",
        line={"width": 0},
        legendgroup=drawn_text(name),
        showlegend=False,
        hoverinfo="skip",
        mode="lines",
    )
