"""From effects per example to the nodes of one circuit.

    effect(node) = Σ over examples of the node's effect / number of examples

A node has effect 0 in an example in which its clean and patch value agree, or that does not have its position; so
mean effects add up as the effects of the examples do. Kept are the nodes with the largest |mean effect|.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attribution.effects import KINDS, Effects
from attribution.language_model import LanguageModel
from attribution.prompt_pairs import PromptPairs
from circuits.positions import Alignment, align
from graphs import (
    CircuitGraph,
    Edge,
    ErrorNode,
    FeatureNode,
    Measurement,
    MetricNode,
    Node,
    Position,
    TokenNode,
    WeightedNode,
)
from graphs.circuit_graph import EXACT, NOT_VERIFIED


@dataclass(frozen=True)
class Ranking:
    """Every node of one measurement, averaged over its examples, the largest |effect| first.

    A node's position is a place in `positions`, as in a `CircuitGraph`.
    """

    method: str
    sites: tuple[str, ...]
    positions: tuple[Position, ...]
    nodes: tuple[WeightedNode, ...]


def rank(effects: Effects, pairs: PromptPairs, model: LanguageModel) -> Ranking:
    """Average effects over examples, positions aligned by name, and sort by |mean effect|."""
    if len(effects) == 0:
        raise ValueError("No node differs between clean and patch run: there is no circuit to find.")
    alignment = align(pairs, model)
    nodes = _average(effects, alignment)
    nodes.sort(key=lambda w: -abs(w.effect))
    return Ranking(effects.method, effects.sites[1:], alignment.positions, tuple(nodes))


def build_circuit(
    effects: Effects,
    pairs: PromptPairs,
    model: LanguageModel,
    *,
    nodes: int,
    inputs: Mapping[str, Any] | None = None,
) -> CircuitGraph:
    """The `nodes` strongest nodes, each with an edge to the metric that carries its effect.

    `inputs` is stored with the circuit: what it was made from.
    """
    if nodes < 1:
        raise ValueError(f"A circuit needs at least 1 node; got {nodes}.")
    ranking = rank(effects, pairs, model)
    found, kept = ranking.nodes, ranking.nodes[:nodes]
    metric = MetricNode(effects.metric)
    total = float(effects.total_effect.mean())
    whole = sum(abs(w.effect) for w in found)
    measurement = Measurement(
        method=effects.method,
        metric=effects.metric,
        unit=effects.unit,
        error_mode=effects.error_mode,
        patch_value=effects.patch_value,
        examples=len(pairs),
        metric_unit=effects.metric_unit,
        sign=effects.sign,
        total_effect=total,
        residual_median=None if effects.residual is None else float(np.median(np.abs(effects.residual))),
        residual_max=None if effects.residual is None else float(np.abs(effects.residual).max()),
        residual_law=effects.residual_law,
        evidence=EXACT if effects.method == "exact_patching" else NOT_VERIFIED,
        nodes_measured=len(found),
        share_kept=sum(abs(w.effect) for w in kept) / whole if whole > 0 else None,
        inputs=dict(inputs or {}),
    )
    goal = WeightedNode(metric, total, float(np.abs(effects.total_effect).mean()), None, len(pairs), None, None)
    circuit = CircuitGraph(
        sites=ranking.sites,
        positions=ranking.positions,
        nodes=(*kept, goal),
        edges=tuple(Edge(w.node, metric, w.effect) for w in kept),
        measurement=measurement,
    )
    order = sorted(circuit.nodes, key=lambda w: (circuit.depth(w.node), circuit.name(w.node)))
    edges = sorted(circuit.edges, key=lambda e: (circuit.depth(e.source), circuit.name(e.source)))
    return replace(circuit, nodes=tuple(order), edges=tuple(edges))


def _average(effects: Effects, alignment: Alignment) -> list[WeightedNode]:
    lengths = np.array([len(own) for own in alignment.columns])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    column = np.concatenate([np.array(own) for own in alignment.columns])[starts[effects.example] + effects.position]
    keys = np.stack([effects.site, effects.kind, column, effects.index], axis=1)
    nodes, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.reshape(-1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights=values, minlength=len(nodes))

    examples = len(alignment.columns)
    count = np.bincount(place, minlength=len(nodes))
    mean = total(effects.effect) / examples
    mean_absolute = total(np.abs(effects.effect)) / examples
    squares = total((effects.effect - mean[place]) ** 2) + (examples - count) * mean**2
    spread = np.sqrt(squares / (examples - 1) / examples) if examples > 1 else None
    clean, patch = total(effects.clean) / count, total(effects.patch) / count
    result = []
    for n, (site, kind, col, index) in enumerate(nodes.tolist()):
        is_token = KINDS[kind] == "token"
        result.append(
            WeightedNode(
                node=_node(effects.sites[site], KINDS[kind], col, index),
                effect=float(mean[n]),
                mean_absolute=float(mean_absolute[n]),
                standard_error=None if spread is None else float(spread[n]),
                count=int(count[n]),
                clean=None if is_token else float(clean[n]),
                patch=None if is_token else float(patch[n]),
            )
        )
    return result


def _node(site: str, kind: str, position: int, index: int) -> Node:
    if kind == "token":
        return TokenNode(position)
    return ErrorNode(site, position) if kind == "error" else FeatureNode(site, position, index)
