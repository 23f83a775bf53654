"""Small circuits for tests of the page: made by hand, so that every number on the page is known."""

from collections.abc import Mapping
from typing import Any, Final

from graphs import (
    CircuitGraph,
    Context,
    Edge,
    ErrorNode,
    FeatureLabel,
    FeatureNode,
    Labels,
    Measurement,
    MetricNode,
    Position,
    TokenNode,
    WeightedNode,
)
from graphs.nodes import Node

MLP: Final = "blocks.0.hook_mlp_out"
ATTN: Final = "blocks.1.hook_attn_out"
POST: Final = "blocks.1.hook_resid_post"
TOKEN, NOUN, MIDDLE, LATER, ALONE = (
    TokenNode(0),
    FeatureNode(MLP, 0, 7),
    FeatureNode(ATTN, 1, 3),
    FeatureNode(POST, 1, 300),
    FeatureNode(MLP, 1, 9),
)
ERROR, METRIC = ErrorNode(POST, 1), MetricNode("logit_difference")
EFFECTS: Final[dict[Node, float]] = {
    TOKEN: -1.0,
    NOUN: 0.8,
    MIDDLE: -0.6,
    LATER: 0.4,
    ALONE: 0.3,
    ERROR: -0.1,
    METRIC: 0.0,
}
ESTIMATES: Final[dict[Node, Mapping[str, float]]] = {
    NOUN: {"ig": 0.75, "atp": 0.7},
    MIDDLE: {"ig": 0.5, "atp": -0.6},
    LATER: {"ig": 0.42},
}
EDGES: Final = (
    Edge(TOKEN, NOUN, -0.5, 0.5, 0.1, 4),
    Edge(NOUN, MIDDLE, 0.25, 0.25, 0.01, 4),
    Edge(NOUN, LATER, 0.125, 0.2, 0.02, 3),
    Edge(MIDDLE, LATER, -0.0625),
    Edge(LATER, METRIC, 0.75, 0.75, 0.03, 4),
    Edge(ALONE, METRIC, 1 / 3, 0.4, 0.05, 4),
    Edge(ERROR, METRIC, -0.01, 0.01, 0.003, 2),
)
POSITIONS: Final = (Position("noun", " cat", " cats"), Position("verb", " sits", " sits"))


def small_circuit(positions: tuple[Position, ...] = POSITIONS, **measurement: Any) -> CircuitGraph:
    """Seven nodes, seven edges. ALONE is in no cone but its own; IG has the wrong sign at MIDDLE."""
    measured: dict[str, Any] = {
        "method": "exact_patching",
        "metric": "logit_difference",
        "unit": "logits",
        "metric_unit": "logits",
        "sign": "positive: the metric rises",
        "error_mode": "live",
        "patch_value": "counterfactual",
        "examples": 4,
        "total_effect": -2.0,
        "residual_median": None,
        "residual_max": None,
        "residual_law": "none",
    }
    nodes = tuple(
        WeightedNode(node, effect, abs(effect), None, 4, 0.5, None, verified=4, estimates=ESTIMATES.get(node, {}))
        for node, effect in EFFECTS.items()
    )
    return CircuitGraph((MLP, ATTN, POST), positions, nodes, EDGES, Measurement(**{**measured, **measurement}))


def labels_saying(text: str, tokens: tuple[str, ...] = ("the ", "cat ", "sits")) -> Labels:
    """A label with one context and promoted tokens for NOUN, all made of the given text."""
    label = FeatureLabel(
        MLP, 7, text, "yours", (Context(tokens, 1, 2.5),), ((tokens[0], 0.5),), ((tokens[-1], -0.5),), 0.125, 1.5
    )
    return Labels((label,), "a test", 3)
