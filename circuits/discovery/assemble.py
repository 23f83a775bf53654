"""Assemble a circuit graph from the chosen nodes and their flow: nodes, edges, and what the numbers mean."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from attribution.edges.chord_edges import CHORD_FLOW
from attribution.edges.edges import Edges
from circuits.discovery.measuring import MeasuredNodes, flags_of
from circuits.ranking.aggregate import Ranking
from circuits.ranking.aggregate_edges import AveragedFlow
from graphs import CircuitGraph, Measurement, MetricNode, Node, Verdict, WeightedNode
from graphs.nodes import EVERYWHERE

SUMMED: Final = "; a node's effect is the sum over the positions where it changes"
"""What effects are where nodes have no position, in words."""


def assemble(
    chosen: Ranking,
    measured: MeasuredNodes,
    ranking: Ranking,
    *,
    edges: Edges,
    flow: AveragedFlow,
    estimates: Mapping[str, Ranking],
    checked: Verdict | None,
    ranked_by: str,
    inputs: Mapping[str, Any],
    from_layer: int | None = None,
) -> CircuitGraph:
    """The chosen nodes, the metric and the edges among them; nothing is pruned.

    Args:
        chosen: the nodes of the circuit, out of `ranking`, which has all nodes.
        measured: the effects that both were made from.
        edges, flow: edges among the nodes, per example and averaged.
        estimates: rankings by other methods, by name.
        checked: a verdict on an estimate; each node shows how often it is flagged.
        ranked_by: the method whose ranking the nodes were chosen from.
        inputs: what the circuit was made from; stored in it.
        from_layer: the layer below which everything is kept as it is.
    """
    others = {name: {w.node: w.effect for w in by.nodes} for name, by in estimates.items()}
    flags = flags_of(checked, chosen.positions)
    nodes = [_with_evidence(w, others, flow, flags) for w in chosen.nodes]
    effects, total = measured.effects, measured.effects.total_effect
    metric = WeightedNode(
        MetricNode(effects.metric), float(total.mean()), float(np.abs(total).mean()), None, len(total), None, None
    )
    circuit = CircuitGraph(
        sites=chosen.sites,
        positions=chosen.positions,
        nodes=(*nodes, metric),
        edges=flow.edges,
        measurement=replace(
            _measurement(chosen, measured, ranking, edges, flow, checked, ranked_by, inputs), from_layer=from_layer
        ),
    )
    return sorted_by_depth(circuit)


def sorted_by_depth(circuit: CircuitGraph) -> CircuitGraph:
    """The circuit with nodes and edges sorted by depth and name, so that equal circuits give equal files."""

    def place(node: Node) -> tuple[int, str]:
        return circuit.depth(node), circuit.name(node)

    return replace(
        circuit,
        nodes=tuple(sorted(circuit.nodes, key=lambda w: place(w.node))),
        edges=tuple(sorted(circuit.edges, key=lambda e: (place(e.source), place(e.target)))),
    )


def _with_evidence(
    weighted: WeightedNode,
    estimates: Mapping[str, Mapping[Node, float]],
    flow: AveragedFlow,
    flags: Mapping[Node, Mapping[str, int]],
) -> WeightedNode:
    carried = flow.carried.get(weighted.node)
    return replace(
        weighted,
        estimates={name: of[weighted.node] for name, of in estimates.items() if weighted.node in of},
        carried=None if carried is None else carried.carried,
        undivided=None if carried is None else carried.undivided,
        flags=dict(flags.get(weighted.node, {})),
    )


def _measurement(
    chosen: Ranking,
    measured: MeasuredNodes,
    ranking: Ranking,
    edges: Edges,
    flow: AveragedFlow,
    checked: Verdict | None,
    ranked_by: str,
    inputs: Mapping[str, Any],
) -> Measurement:
    effects = measured.effects
    whole, total = sum(abs(w.effect) for w in ranking.nodes), np.abs(effects.total_effect).mean()
    residual = None if effects.residual is None else np.abs(effects.residual)
    conserved = edges.method == CHORD_FLOW and total > 0
    return Measurement(
        method=effects.method,
        metric=effects.metric,
        unit=effects.unit,
        metric_unit=effects.metric_unit,
        sign=effects.sign + (SUMMED if chosen.positions[0].label == EVERYWHERE else ""),
        error_mode=effects.error_mode,
        patch_value=effects.patch_value,
        examples=len(effects.total_effect),
        total_effect=float(effects.total_effect.mean()),
        residual_median=None if residual is None else float(np.median(residual)),
        residual_max=None if residual is None else float(residual.max()),
        residual_law=effects.residual_law,
        evidence=measured.evidence,
        ranked_by=ranked_by,
        nodes_measured=len(ranking.nodes),
        share_kept=sum(abs(w.effect) for w in chosen.nodes) / whole if whole > 0 else None,
        edge_method=edges.method,
        edge_imbalance=float(np.abs(edges.imbalance).max() / total) if conserved else None,
        edges_measured=len(flow.edges),
        positions_vary=chosen.positions_vary,
        flags_of=None if checked is None else checked.estimate_name,
        inputs=dict(inputs),
    )
