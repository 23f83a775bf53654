"""Circuits and verdicts as data: nodes, edges, evidence; in words, figures, files and pages. No torch, no model.

The front door: `from graphs import CircuitGraph, load_circuit, write_page, ...`. A name is imported when it is first
used, so that `import graphs` loads neither plotly nor pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from graphs.notebook_display import MimeBundle, set_notebook_view

if TYPE_CHECKING:
    from graphs.cautions import Caution
    from graphs.certificate import Certificate, SAEQuality, Screening, SiteQuality
    from graphs.circuit_findings import Finding, findings, no_findings_because
    from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
    from graphs.comparison import Comparison
    from graphs.edges import Edge
    from graphs.faithfulness import Faithfulness, FaithfulnessCurve
    from graphs.feature_labels import Context, FeatureLabel, Labels, Writer
    from graphs.features.feature_json import save_feature_report, save_feature_search
    from graphs.features.feature_report import FeatureReport
    from graphs.features.feature_search import FeatureSearch, FoundFeature
    from graphs.figures.cause_figure import error_by_cause
    from graphs.figures.circuit_estimates_figure import circuit_estimates
    from graphs.figures.circuit_figure import circuit_figure
    from graphs.figures.faithfulness_figures import faithfulness_by_size, faithfulness_by_split
    from graphs.figures.path_trace_figure import path_trace
    from graphs.figures.position_figure import effect_by_position
    from graphs.figures.residual_figure import residual_by_points
    from graphs.figures.steering_figure import steering_curve
    from graphs.figures.verdict_figure import estimate_against_exact
    from graphs.files.circuit_json import load_circuit, save_circuit
    from graphs.files.comparison_files import load_comparison, save_comparison, write_comparison_tables
    from graphs.files.dot import write_dot
    from graphs.files.graphml import read_graphml, read_graphml_labels, write_graphml
    from graphs.files.labels_json import load_labels, save_labels
    from graphs.files.neuronpedia_read import NeuronpediaGraph, read_neuronpedia
    from graphs.files.neuronpedia_write import write_neuronpedia
    from graphs.files.tables import read_table_labels, read_tables, write_tables
    from graphs.files.verdict_json import load_verdict, save_verdict
    from graphs.jump_ledger import JumpLedger
    from graphs.merged_positions import merge_positions
    from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode
    from graphs.page.circuit_page import write_page
    from graphs.page.comparison_page import write_comparison_page
    from graphs.page.feature_page import write_feature_page
    from graphs.page.quality_page import write_quality_page
    from graphs.page.steering_page import write_steering_page
    from graphs.page.verdict_page import write_verdict_page
    from graphs.pruning import prune
    from graphs.quality.bet_words import bet_in_words, choices_in_words
    from graphs.quality.dictionary_quality import DictionaryAtSite, DictionaryQuality, Histogram, SpliceQuality
    from graphs.quality.equal_l0 import AtEqualL0, compare_at_equal_l0
    from graphs.quality.quality_figures import quality_by_l0, scale_biases
    from graphs.quality.quality_json import save_qualities
    from graphs.quality.rounding_figure import rounding_figure
    from graphs.quality.threshold_rounding import Bet, ChosenFeatures, RoundedCode, ThresholdRounding
    from graphs.strongest_edges import LeftOut, keep_edges, left_out_of
    from graphs.sweeps.steering_sweep import SteeredAt, SteeredText, SteeringSweep
    from graphs.verdict import Agreement, CrossedGate, MissedBound, NodeVerdict, PathTrace, ResidualCurve, Verdict
    from graphs.words.certificate_words import CertificateLine, certificate_lines

__all__ = [
    "Agreement",
    "AtEqualL0",
    "Bet",
    "Caution",
    "Certificate",
    "CertificateLine",
    "ChosenFeatures",
    "CircuitGraph",
    "Comparison",
    "Context",
    "CrossedGate",
    "DictionaryAtSite",
    "DictionaryQuality",
    "Edge",
    "ErrorNode",
    "Faithfulness",
    "FaithfulnessCurve",
    "FeatureLabel",
    "FeatureNode",
    "FeatureReport",
    "FeatureSearch",
    "Finding",
    "FoundFeature",
    "Histogram",
    "JumpLedger",
    "Labels",
    "LeftOut",
    "Measurement",
    "MetricNode",
    "MissedBound",
    "NeuronpediaGraph",
    "Node",
    "NodeVerdict",
    "PathTrace",
    "Position",
    "ResidualCurve",
    "RoundedCode",
    "SAEQuality",
    "Screening",
    "SiteQuality",
    "SpliceQuality",
    "SteeredAt",
    "SteeredText",
    "SteeringSweep",
    "ThresholdRounding",
    "TokenNode",
    "Verdict",
    "WeightedNode",
    "Writer",
    "bet_in_words",
    "certificate_lines",
    "choices_in_words",
    "circuit_estimates",
    "circuit_figure",
    "compare_at_equal_l0",
    "effect_by_position",
    "error_by_cause",
    "estimate_against_exact",
    "faithfulness_by_size",
    "faithfulness_by_split",
    "findings",
    "keep_edges",
    "left_out_of",
    "load_circuit",
    "load_comparison",
    "load_labels",
    "load_verdict",
    "merge_positions",
    "no_findings_because",
    "path_trace",
    "prune",
    "quality_by_l0",
    "read_graphml",
    "read_graphml_labels",
    "read_neuronpedia",
    "read_table_labels",
    "read_tables",
    "residual_by_points",
    "rounding_figure",
    "save_circuit",
    "save_comparison",
    "save_feature_report",
    "save_feature_search",
    "save_labels",
    "save_qualities",
    "save_verdict",
    "scale_biases",
    "steering_curve",
    "write_comparison_page",
    "write_comparison_tables",
    "write_dot",
    "write_feature_page",
    "write_graphml",
    "write_neuronpedia",
    "write_page",
    "write_quality_page",
    "write_steering_page",
    "write_tables",
    "write_verdict_page",
]

_NAMES_OF_MODULES: Final = {
    "graphs.cautions": ("Caution",),
    "graphs.certificate": (
        "Certificate",
        "SAEQuality",
        "Screening",
        "SiteQuality",
    ),
    "graphs.circuit_graph": (
        "CircuitGraph",
        "Measurement",
        "Position",
        "WeightedNode",
    ),
    "graphs.comparison": ("Comparison",),
    "graphs.quality.dictionary_quality": (
        "DictionaryAtSite",
        "DictionaryQuality",
        "Histogram",
        "SpliceQuality",
    ),
    "graphs.edges": ("Edge",),
    "graphs.quality.equal_l0": (
        "AtEqualL0",
        "compare_at_equal_l0",
    ),
    "graphs.faithfulness": (
        "Faithfulness",
        "FaithfulnessCurve",
    ),
    "graphs.feature_labels": (
        "Context",
        "FeatureLabel",
        "Labels",
        "Writer",
    ),
    "graphs.features.feature_json": ("save_feature_report", "save_feature_search"),
    "graphs.features.feature_report": ("FeatureReport",),
    "graphs.features.feature_search": ("FeatureSearch", "FoundFeature"),
    "graphs.figures.cause_figure": ("error_by_cause",),
    "graphs.figures.circuit_estimates_figure": ("circuit_estimates",),
    "graphs.figures.circuit_figure": ("circuit_figure",),
    "graphs.figures.faithfulness_figures": (
        "faithfulness_by_size",
        "faithfulness_by_split",
    ),
    "graphs.figures.path_trace_figure": ("path_trace",),
    "graphs.figures.position_figure": ("effect_by_position",),
    "graphs.figures.residual_figure": ("residual_by_points",),
    "graphs.figures.steering_figure": ("steering_curve",),
    "graphs.quality.rounding_figure": ("rounding_figure",),
    "graphs.figures.verdict_figure": ("estimate_against_exact",),
    "graphs.files.circuit_json": (
        "load_circuit",
        "save_circuit",
    ),
    "graphs.files.comparison_files": (
        "load_comparison",
        "save_comparison",
        "write_comparison_tables",
    ),
    "graphs.files.dot": ("write_dot",),
    "graphs.files.graphml": (
        "read_graphml",
        "read_graphml_labels",
        "write_graphml",
    ),
    "graphs.files.labels_json": (
        "load_labels",
        "save_labels",
    ),
    "graphs.files.neuronpedia_read": (
        "NeuronpediaGraph",
        "read_neuronpedia",
    ),
    "graphs.files.neuronpedia_write": ("write_neuronpedia",),
    "graphs.files.tables": (
        "read_table_labels",
        "read_tables",
        "write_tables",
    ),
    "graphs.files.verdict_json": (
        "load_verdict",
        "save_verdict",
    ),
    "graphs.circuit_findings": (
        "Finding",
        "findings",
        "no_findings_because",
    ),
    "graphs.jump_ledger": ("JumpLedger",),
    "graphs.merged_positions": ("merge_positions",),
    "graphs.nodes": (
        "ErrorNode",
        "FeatureNode",
        "MetricNode",
        "Node",
        "TokenNode",
    ),
    "graphs.page.circuit_page": ("write_page",),
    "graphs.page.comparison_page": ("write_comparison_page",),
    "graphs.page.feature_page": ("write_feature_page",),
    "graphs.page.steering_page": ("write_steering_page",),
    "graphs.page.quality_page": ("write_quality_page",),
    "graphs.page.verdict_page": ("write_verdict_page",),
    "graphs.pruning": ("prune",),
    "graphs.quality.quality_figures": (
        "quality_by_l0",
        "scale_biases",
    ),
    "graphs.quality.quality_json": ("save_qualities",),
    "graphs.sweeps.steering_sweep": (
        "SteeredAt",
        "SteeredText",
        "SteeringSweep",
    ),
    "graphs.strongest_edges": (
        "LeftOut",
        "keep_edges",
        "left_out_of",
    ),
    "graphs.quality.threshold_rounding": (
        "Bet",
        "ChosenFeatures",
        "RoundedCode",
        "ThresholdRounding",
    ),
    "graphs.quality.bet_words": (
        "bet_in_words",
        "choices_in_words",
    ),
    "graphs.verdict": (
        "Agreement",
        "CrossedGate",
        "MissedBound",
        "NodeVerdict",
        "PathTrace",
        "ResidualCurve",
        "Verdict",
    ),
    "graphs.words.certificate_words": (
        "CertificateLine",
        "certificate_lines",
    ),
}
_MODULE_OF: Final = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}


if not TYPE_CHECKING:  # so that a type checker reports a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'graphs' has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _display_circuit(circuit: "CircuitGraph") -> MimeBundle:
    from graphs.words.notebook_view import circuit_view

    return circuit_view(circuit)


def _display_verdict(verdict: "Verdict") -> MimeBundle:
    from graphs.words.notebook_view import verdict_view

    return verdict_view(verdict)


set_notebook_view("CircuitGraph", _display_circuit)
set_notebook_view("Verdict", _display_verdict)
