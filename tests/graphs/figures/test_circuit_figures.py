"""Figures of a circuit: few traces whatever the edges, places where nothing overlaps, sums and counts by hand."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import plotly.io as pio
import pytest

from graphs import CircuitGraph, Edge, Position, circuit_estimates, circuit_figure, effect_by_position
from graphs.circuit_graph import Measurement, WeightedNode
from graphs.figures.colours import NEGATIVE_COLOUR, POSITIVE_COLOUR
from graphs.figures.figure_frame import TEMPLATE
from graphs.figures.grid_layout import grid_layout
from graphs.nodes import FeatureNode, MetricNode, Node, TokenNode

SITES = tuple(f"blocks.{b}.hook_{s}" for b in range(3) for s in ("attn_out", "resid_post"))
METRIC = MetricNode("logit_difference")
HOSTILE = "<script>alert(1)</script>"
MEASUREMENT = Measurement(
    method="exact_patching",
    metric="logit_difference",
    unit="logits",
    metric_unit="logits",
    sign="positive: the metric rises",
    error_mode="live",
    patch_value="counterfactual",
    examples=4,
    total_effect=-2.0,
    residual_median=None,
    residual_max=None,
    residual_law="none",
)


def weighted(node: Node, effect: float, **changes: Any) -> WeightedNode:
    return replace(WeightedNode(node, effect, abs(effect), 0.1, 4, 1.0, 0.0, verified=4), **changes)


def circuit(features: int = 40, columns: tuple[int, ...] = (1, 4), positions: int = 8) -> CircuitGraph:
    """Features spread over sites and `columns`, each with an edge to the metric, and a token."""
    nodes = [FeatureNode(SITES[n % len(SITES)], columns[n % len(columns)], n) for n in range(features)]
    token = TokenNode(columns[0])
    made = [weighted(node, (-1) ** n * (1 + n) / 10, estimates={"atp": 0.5}) for n, node in enumerate(nodes)]
    return CircuitGraph(
        sites=SITES,
        positions=tuple(Position(f"role{p}", f" {HOSTILE}", " dogs") for p in range(positions)),
        nodes=(*made, weighted(token, -2.0), weighted(METRIC, 0.0)),
        edges=tuple(Edge(node, METRIC, (-1) ** n * (1 + n)) for n, node in enumerate((*nodes, token))),
        measurement=MEASUREMENT,
    )


def traces(figure: Any, mode: str) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == mode]


def test_edges_are_drawn_in_few_traces_and_none_is_lost() -> None:
    figure: Any = circuit_figure(circuit(200))
    lines = traces(figure, "lines")
    assert len(lines) <= 12
    assert sum(line.x.count(None) for line in lines) == 201
    assert {line.line.color for line in lines} == {POSITIVE_COLOUR, NEGATIVE_COLOUR}


def test_the_strongest_edge_is_the_thickest_line_and_drawn_last() -> None:
    lines = traces(circuit_figure(circuit(200)), "lines")
    widths = [line.line.width for line in lines]
    assert widths == sorted(widths)
    assert widths[-1] > 4 * widths[0]


def test_nodes_and_edges_that_are_left_out_are_counted_in_the_title() -> None:
    figure: Any = circuit_figure(circuit(302))
    assert sum(len(marks.x) for marks in traces(figure, "markers")) == 301
    assert "The weakest are not drawn: 3 nodes and 3 edges." in figure.layout.meta["reading"]
    all_drawn: Any = circuit_figure(circuit(20))
    assert "not drawn" not in all_drawn.layout.meta["reading"]


def test_no_two_nodes_stand_at_one_place_and_none_outside_its_column_and_band() -> None:
    made = circuit(120, columns=(0, 1, 2, 5))
    layout = grid_layout(made)
    assert len(set(layout.place.values())) == len(layout.place) == len(made.nodes)
    columns = {column.first: column for column in layout.columns}
    for node, (x, y) in layout.place.items():
        column = columns[7 if isinstance(node, MetricNode) else node.position]
        assert column.left < x < column.right
        bottom, top = layout.bands[made.depth(node)]
        assert bottom < y < top


def test_positions_without_a_node_share_one_narrow_gap() -> None:
    layout = grid_layout(circuit(40, columns=(1, 4)))
    assert [(c.first, c.last, c.empty) for c in layout.columns] == [
        (0, 0, True),
        (1, 1, False),
        (2, 3, True),
        (4, 4, False),
        (5, 6, True),
        (7, 7, False),
    ]
    gaps, wide = ([c.right - c.left for c in layout.columns if c.empty is empty] for empty in (True, False))
    assert max(gaps) < min(wide)
    assert all(a.right == b.left for a, b in pairwise(layout.columns))


def test_sums_by_position_are_those_of_the_effects_there() -> None:
    made = circuit(40)
    signed: Any = effect_by_position(made).data[0]
    sizes: Any = effect_by_position(made, absolute=True).data[0]
    here = [w.effect for w in made.nodes if isinstance(w.node, FeatureNode) and w.node.site == SITES[2]]
    assert signed.z[3][0] == pytest.approx(sum(here))
    assert sizes.z[3][0] == pytest.approx(sum(map(abs, here)))
    assert signed.z[3][1] is None
    assert signed.z[0][0] == -2.0
    assert (signed.zmin, signed.zmax) == (-signed.zmax, signed.zmax)
    assert sizes.zmin == 0


def test_the_title_says_whether_signs_count() -> None:
    figures: Any = effect_by_position(circuit()), effect_by_position(circuit(), absolute=True)
    for figure, what in zip(figures, ("Σ effect by site", "Σ|effect| by site"), strict=True):
        assert figure.layout.meta["finding"].startswith(what)


def test_a_circuit_of_the_metric_alone_has_no_effects_to_draw() -> None:
    alone = replace(circuit(), nodes=(weighted(METRIC, 0.0),), edges=())
    with pytest.raises(ValueError, match="no node except the metric"):
        effect_by_position(alone)
    assert traces(circuit_figure(alone), "lines") == []


def test_estimates_of_a_circuit_count_wrong_signs_among_large_exact_nodes_only() -> None:
    effects = {"large, right": (1.0, 0.2), "large, wrong": (-1.0, 0.2), "small, wrong": (-0.01, 0.2)}
    nodes = [
        weighted(FeatureNode(SITES[0], 0, n), exact, estimates={"atp": estimate})
        for n, (exact, estimate) in enumerate(effects.values())
    ]
    partly = weighted(FeatureNode(SITES[0], 0, 9), -1.0, estimates={"atp": 1.0}, verified=3)
    figure: Any = circuit_estimates(replace(circuit(), nodes=(*nodes, partly, weighted(METRIC, 0.0)), edges=()))
    assert figure.layout.meta["finding"] == "Wrong signs among 2 large nodes: AtP 1"
    assert "Not drawn: 1 node without exact effects." in figure.layout.meta["reading"]
    assert len(traces(figure, "markers")[0].x) == 3


def test_a_circuit_without_exact_effects_or_without_estimates_is_refused() -> None:
    made = circuit(4)
    guessed = replace(made, nodes=tuple(replace(w, verified=0) for w in made.nodes))
    with pytest.raises(
        ValueError, match=r"nothing to compare estimates with\. Find the circuit with the method `exact`"
    ):
        circuit_estimates(guessed)
    bare = replace(made, nodes=tuple(replace(w, estimates={}) for w in made.nodes))
    with pytest.raises(ValueError, match="Find it with methods to compare"):
        circuit_estimates(bare)


def test_every_figure_carries_the_template_escapes_tokens_and_leaves_the_global_theme() -> None:
    before = pio.templates.default
    made = circuit(40)
    figures: list[Any] = [circuit_figure(made), circuit_estimates(made), effect_by_position(made)]
    for figure in figures:
        assert figure.layout.template == TEMPLATE
        assert HOSTILE not in str(figure.to_dict())
    assert "&lt;script&gt;" in str(figures[0].to_dict())
    assert pio.templates.default == before
