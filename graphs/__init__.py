"""The nouns: nodes, edges and circuit graphs. No torch, no model."""

from graphs.certificate import Certificate, SAEQuality, Screening, SiteQuality
from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.edges import Edge
from graphs.faithfulness import Faithfulness, FaithfulnessCurve
from graphs.feature_labels import Context, FeatureLabel, Labels, Writer
from graphs.figures.cause_figure import error_by_cause
from graphs.figures.circuit_estimates_figure import circuit_estimates
from graphs.figures.circuit_figure import circuit_figure
from graphs.figures.faithfulness_figures import faithfulness_by_size, faithfulness_by_split
from graphs.figures.path_trace_figure import path_trace, residual_by_points
from graphs.figures.position_figure import effect_by_position
from graphs.figures.verdict_figure import estimate_against_exact
from graphs.files.circuit_json import load_circuit, save_circuit
from graphs.files.dot import write_dot
from graphs.files.graphml import read_graphml, write_graphml
from graphs.files.labels_json import load_labels, save_labels
from graphs.files.neuronpedia_read import NeuronpediaGraph, read_neuronpedia
from graphs.files.neuronpedia_write import write_neuronpedia
from graphs.files.tables import read_tables, write_tables
from graphs.files.verdict_json import load_verdict, save_verdict
from graphs.findings import Finding, findings, no_findings_because
from graphs.jump_ledger import JumpLedger
from graphs.merge_positions import merge_positions
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode
from graphs.page import write_page
from graphs.page.verdict_page import write_verdict_page
from graphs.prune import prune
from graphs.strongest_edges import LeftOut, keep_edges, left_out_of
from graphs.verdict import (
    Agreement,
    CrossedGate,
    MissedBound,
    NodeVerdict,
    PathTrace,
    ResidualCurve,
    Verdict,
)
from graphs.words.certificate_words import Line, certificate_lines

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
