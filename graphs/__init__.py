"""The nouns: nodes, edges and circuit graphs. No torch, no model."""

from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.edge import Edge
from graphs.figures import circuit_figure, write_figure_page
from graphs.jump_ledger import JumpLedger
from graphs.node import ErrorNode, FeatureNode, MetricNode, Node, TokenNode
from graphs.save import load_circuit, save_circuit
from graphs.verdict import (
    Agreement,
    CrossedGate,
    MissedBound,
    NodeVerdict,
    PathTrace,
    ResidualCurve,
    Verdict,
)

__all__ = [
    "Agreement",
    "CircuitGraph",
    "CrossedGate",
    "Edge",
    "ErrorNode",
    "FeatureNode",
    "JumpLedger",
    "Measurement",
    "MetricNode",
    "MissedBound",
    "Node",
    "NodeVerdict",
    "PathTrace",
    "Position",
    "ResidualCurve",
    "TokenNode",
    "Verdict",
    "WeightedNode",
    "circuit_figure",
    "load_circuit",
    "save_circuit",
    "write_figure_page",
]
