"""Figure of a circuit: estimates by other methods against the exact effects of its nodes."""

from typing import Final

import numpy as np
import plotly.graph_objects as go

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, SERIES_COLOURS
from graphs.figures.effect_axis import EffectAxis
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.nodes import short_site
from graphs.words.method_names import method_name, method_order
from graphs.words.number_formats import counted_noun, signed_number

_COLOURS: Final = (GRADIENT_COLOUR, SERIES_COLOURS[2], EXACT_COLOUR, *SERIES_COLOURS[:2], *SERIES_COLOURS[3:])
_SYMBOLS: Final = ("circle-open", "diamond-open", "square-open", "triangle-up-open", "cross-open", "x-open")
_LARGE: Final = 0.01


def circuit_estimates(circuit: CircuitGraph) -> go.Figure:
    """`estimates` (y) against `effect` (x), both means over examples, of the nodes whose effect is exact in every
    example.

    The axes are those of `estimate_against_exact`, linear below 1% of the total effect. The title counts each method's
    wrong signs among the nodes whose exact effect is larger than that.

    Raises:
        ValueError: no node has an exact effect, or the circuit has no estimates.
    """
    nodes, methods = _exact_nodes(circuit), _methods(circuit)
    total = abs(circuit.measurement.total_effect)
    large = _LARGE * (total or max((abs(w.effect) for w in nodes), default=0.0) or 1.0)
    values = [v for w in nodes for v in (w.effect, *w.estimates.values())]
    axis = EffectAxis.of(np.asarray(values), large)
    series = [_points(circuit, axis, nodes, methods, number) for number in range(len(methods))]
    figure = go.Figure([axis.diagonal(), *series])
    axis.put_on(figure, circuit.measurement.unit)
    left_out = len(circuit.strongest()) - len(nodes)
    return frame_figure(
        figure,
        _wrong_signs(nodes, methods, large),
        f"Each mark is a node of the circuit, mean of {counted_noun(circuit.measurement.examples, 'pair')}. On the "
        f"diagonal the estimate is exact. Large means at least {large:.3g} {circuit.measurement.unit}, 1% of the total "
        f"effect; the axes are linear below that and logarithmic above."
        + (f" Not drawn: {counted_noun(left_out, 'node')} without exact effects." if left_out else ""),
        legend_rows=1,
    )


def _exact_nodes(circuit: CircuitGraph) -> list[WeightedNode]:
    nodes = [w for w in circuit.strongest() if w.count and w.verified == w.count]
    if not nodes:
        raise ValueError(
            "No node of this circuit has an exact effect, so there is nothing to compare estimates with. Find the "
            "circuit with the method `exact`."
        )
    return nodes


def _methods(circuit: CircuitGraph) -> list[str]:
    methods = sorted({name for w in circuit.nodes for name in w.estimates}, key=method_order)
    if not methods:
        raise ValueError("This circuit has no estimates by other methods. Find it with methods to compare.")
    return methods


def _points(
    circuit: CircuitGraph, axis: EffectAxis, nodes: list[WeightedNode], methods: list[str], number: int
) -> go.Scatter:
    method = methods[number]
    found = [w for w in nodes if method in w.estimates]
    return go.Scatter(
        x=axis.at([w.effect for w in found]),
        y=axis.at([w.estimates[method] for w in found]),
        mode="markers",
        name=drawn_text(method_name(method)),
        marker={
            "symbol": _SYMBOLS[number % len(_SYMBOLS)],
            "size": 8,
            "color": _COLOURS[number % len(_COLOURS)],
            "line": {"width": 1.5},
        },
        hovertext=[_hover(circuit, w, method) for w in found],
        hoverinfo="text",
    )


def _hover(circuit: CircuitGraph, weighted: WeightedNode, method: str) -> str:
    estimate = weighted.estimates[method]
    return (
        f"<b>{drawn_text(short_site(circuit.name(weighted.node)))}</b><br>"
        f"exact {signed_number(weighted.effect)} {drawn_text(circuit.measurement.unit)}<br>"
        f"{drawn_text(method_name(method))} {signed_number(estimate)}<br>"
        f"error {signed_number(estimate - weighted.effect)}"
    )


def _wrong_signs(nodes: list[WeightedNode], methods: list[str], large: float) -> str:
    strong = [w for w in nodes if abs(w.effect) >= large]
    if not strong:
        return "No node has a large exact effect"
    wrong = {m: sum(w.estimates.get(m, 0.0) * w.effect < 0 for w in strong) for m in methods}
    counts = ", ".join(f"{method_name(method)} {count}" for method, count in wrong.items())
    return f"Wrong signs among {counted_noun(len(strong), 'large node')}: {counts}"
