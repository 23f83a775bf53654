"""Figure of a circuit: its effect by site and position.

    sum(site, position) = Σ effect of the nodes there, or Σ |effect|

Exact effects of single nodes need not add up to the effect of patching the whole cell.
"""

from typing import Final

import numpy as np
import plotly.graph_objects as go

from graphs.circuit_graph import CircuitGraph
from graphs.figures.colours import NEGATIVE_COLOUR, POSITIVE_COLOUR
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.figures.position_axis import label_position_axis, pixels_below_axis
from graphs.nodes import MetricNode, short_site
from graphs.words.number_formats import counted_noun, signed_number

_PIXELS_PER_ROW: Final = 34
_MOST_NUMBERS: Final = 400
_BAR: Final = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "yref": "container",
    "y": 0,
    "yanchor": "bottom",
    "len": 0.4,
    "thickness": 12,
    "outlinewidth": 0,
}
_SIGNED: Final = (
    (0.0, NEGATIVE_COLOUR),
    (0.25, "#b795c1"),
    (0.5, "#f7f7f7"),
    (0.75, "#8cc596"),
    (1.0, POSITIVE_COLOUR),
)
_ABSOLUTE: Final = ((0.0, "#f7f7f7"), (0.5, "#7fb3d5"), (1.0, "#084a80"))


def effect_by_position(circuit: CircuitGraph, *, absolute: bool = False) -> go.Figure:
    """Sums of the circuit's effects by site (rows, tokens at the bottom) and position (columns).

    Signed effects are summed, or with `absolute` their absolute values, in the unit of the circuit's measurement. A
    cell without a node is empty; a position without a node has no column.

    Raises:
        ValueError: the circuit has no node except the metric.
    """
    nodes = [(w, w.node) for w in circuit.nodes if not isinstance(w.node, MetricNode)]
    if not nodes:
        raise ValueError("The circuit has no node except the metric: there is no effect to draw.")
    positions = sorted({node.position for _, node in nodes})
    sums: list[list[float | None]] = [[None] * len(positions) for _ in range(len(circuit.sites) + 1)]
    counts = np.zeros((len(sums), len(positions)), dtype=int)
    for w, node in nodes:
        row, column = circuit.depth(node), positions.index(node.position)
        sums[row][column] = (sums[row][column] or 0.0) + (abs(w.effect) if absolute else w.effect)
        counts[row, column] += 1
    figure = go.Figure(_cells(circuit, sums, counts, absolute))
    frame_figure(
        figure,
        _finding(circuit, sums, positions, absolute),
        _reading(circuit, positions, absolute),
        height=max(420, 240 + _PIXELS_PER_ROW * len(sums)),
        legend_rows=2,
        below_axis=pixels_below_axis(len(positions)),
    )
    names = ["tokens", *(drawn_text(short_site(site)) for site in circuit.sites)]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False, ticksuffix=" ")
    label_position_axis(figure, range(len(positions)), [circuit.positions[p] for p in positions])
    return figure


def _cells(circuit: CircuitGraph, sums: list[list[float | None]], counts: np.ndarray, absolute: bool) -> go.Heatmap:
    largest = max(abs(v) for row in sums for v in row if v is not None) or 1.0
    numbers = [["" if v is None else f"{v:.3g}" if absolute else signed_number(v) for v in row] for row in sums]
    return go.Heatmap(
        z=sums,
        text=numbers,
        customdata=counts.tolist(),
        zmin=0 if absolute else -largest,
        zmax=largest,
        colorscale=_ABSOLUTE if absolute else _SIGNED,
        colorbar=_BAR | {"title": {"text": drawn_text(circuit.measurement.unit), "side": "right"}},
        xgap=2,
        ygap=2,
        hoverongaps=False,
        texttemplate="%{text}" if counts.size <= _MOST_NUMBERS else None,
        hovertemplate="%{y}, %{x}<br>sum %{text} of %{customdata} node(s)<extra></extra>",
    )


def _finding(circuit: CircuitGraph, sums: list[list[float | None]], positions: list[int], absolute: bool) -> str:
    found = [(v, row, column) for row, values in enumerate(sums) for column, v in enumerate(values) if v is not None]
    value, row, column = max(found, key=lambda cell: abs(cell[0]))
    site = "tokens" if row == 0 else short_site(circuit.sites[row - 1])
    what, size = ("Σ|effect|", f"{value:.3g}") if absolute else ("Σ effect", signed_number(value))
    where = circuit.positions[positions[column]].label
    return f"{what} by site and position: the largest, {size} {circuit.measurement.unit}, at {site}, “{where}”"


def _reading(circuit: CircuitGraph, positions: list[int], absolute: bool) -> str:
    measured = circuit.measurement
    empty = len(circuit.positions) - len(positions)
    how = "absolute effects are summed" if absolute else "signed effects are summed"
    return (
        f"{counted_noun(len(circuit.strongest()), 'node')} of the circuit, mean of "
        f"{counted_noun(measured.examples, 'pair')}, by {measured.method.replace('_', ' ')}; {how}. Patching a whole "
        "cell at once can have more or less effect than this sum."
        + (f" Not drawn: {counted_noun(empty, 'position')} without a node." if empty else "")
    )
