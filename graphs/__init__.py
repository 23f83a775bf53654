"""The nouns: nodes, edges and circuit graphs. No torch, no model."""

from graphs.cause_figure import error_by_cause
from graphs.certificate import Certificate, SAEQuality, Screening, SiteQuality
from graphs.certificate_lines import Line, certificate_lines
from graphs.circuit_estimates_figure import circuit_estimates
from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.dot import write_dot
from graphs.edge import Edge
from graphs.faithfulness_curve import Faithfulness, FaithfulnessCurve
from graphs.faithfulness_figures import faithfulness_by_size, faithfulness_by_split
from graphs.feature_label import Context, FeatureLabel, Labels, Writer
from graphs.figures import circuit_figure
from graphs.findings import Finding, findings, no_findings_because
from graphs.graphml import read_graphml, write_graphml
from graphs.jump_ledger import JumpLedger
from graphs.merge_positions import merge_positions
from graphs.neuronpedia_read import NeuronpediaGraph, read_neuronpedia
from graphs.neuronpedia_write import write_neuronpedia
from graphs.node import ErrorNode, FeatureNode, MetricNode, Node, TokenNode
from graphs.page import write_page
from graphs.path_figures import path_trace, residual_by_points
from graphs.position_figure import effect_by_position
from graphs.prune import prune
from graphs.save import load_circuit, save_circuit
from graphs.save_labels import load_labels, save_labels
from graphs.save_verdict import load_verdict, save_verdict
from graphs.strongest_edges import LeftOut, keep_edges, left_out_of
from graphs.tables import read_tables, write_tables
from graphs.verdict import (
    Agreement,
    CrossedGate,
    MissedBound,
    NodeVerdict,
    PathTrace,
    ResidualCurve,
    Verdict,
)
from graphs.verdict_figures import estimate_against_exact
from graphs.verdict_page import write_verdict_page

__all__ = [
    "Agreement",
    "Certificate",
    "CircuitGraph",
    "Context",
    "CrossedGate",
    "Edge",
    "ErrorNode",
    "Faithfulness",
    "FaithfulnessCurve",
    "FeatureLabel",
    "FeatureNode",
    "Finding",
    "JumpLedger",
    "Labels",
    "LeftOut",
    "Line",
    "Measurement",
    "MetricNode",
    "MissedBound",
    "NeuronpediaGraph",
    "Node",
    "NodeVerdict",
    "PathTrace",
    "Position",
    "ResidualCurve",
    "SAEQuality",
    "Screening",
    "SiteQuality",
    "TokenNode",
    "Verdict",
    "WeightedNode",
    "Writer",
    "certificate_lines",
    "circuit_estimates",
    "circuit_figure",
    "effect_by_position",
    "error_by_cause",
    "estimate_against_exact",
    "faithfulness_by_size",
    "faithfulness_by_split",
    "findings",
    "keep_edges",
    "left_out_of",
    "load_circuit",
    "load_labels",
    "load_verdict",
    "merge_positions",
    "no_findings_because",
    "path_trace",
    "prune",
    "read_graphml",
    "read_neuronpedia",
    "read_tables",
    "residual_by_points",
    "save_circuit",
    "save_labels",
    "save_verdict",
    "write_dot",
    "write_graphml",
    "write_neuronpedia",
    "write_page",
    "write_tables",
    "write_verdict_page",
]
