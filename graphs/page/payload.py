"""Everything that the page of a circuit shows, as a header of plain data and columns of numbers.

The header holds the certificate's lines, labels, flags and findings; the columns hold the circuit's numbers
(`circuit_columns.py`) and the tokens of the labels' contexts (`label_columns.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from graphs.circuit_findings import Finding, findings
from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.nodes import MetricNode
from graphs.page.circuit_columns import edge_columns, node_columns
from graphs.page.label_columns import label_columns
from graphs.plain_data import as_plain_data
from graphs.verdict import CrossedGate, PathTrace, Verdict, flag_of
from graphs.words.certificate_words import certificate_lines, worst_of
from graphs.words.method_names import method_name, method_order

_FINDINGS_PER_NODE: Final = 3
_SHARE_THAT_IS_LARGE: Final = 0.01


def payload(
    circuit: CircuitGraph,
    *,
    title: str,
    labels: Labels | None,
    verdict: Verdict | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and columns of the page's data; arguments as in `write_page`."""
    shown = findings_shown(circuit, verdict)
    lines = certificate_lines(circuit)
    label_header, tokens = label_columns(circuit, labels)
    certificate = circuit.certificate
    measured = {k: v for k, v in as_plain_data(circuit.measurement).items() if k != "inputs"}
    header = {
        "version": 1,
        "title": title,
        "sites": [_site(name) for name in circuit.sites],
        "positions": [asdict(position) for position in circuit.positions],
        "measurement": measured,
        "methods": [{**method, "flags": _flags(circuit, method["key"])} for method in _methods(circuit)],
        "threshold": _threshold(circuit),
        "exact": _how_many_exact(circuit),
        "grade": worst_of(lines),
        "certificate": [asdict(line) for line in lines],
        "warnings": 0 if certificate is None else len(certificate.warnings),
        "faithfulness": [] if certificate is None else [f.as_dict() for f in certificate.faithfulness],
        "stability": [] if certificate is None else as_plain_data(certificate.stability),
        "curves": [] if certificate is None else [c.as_dict() for c in certificate.curves],
        "metrics": {n: w.node.name for n, w in enumerate(circuit.nodes) if isinstance(w.node, MetricNode)},
        "flags": {n: dict(w.flags) for n, w in enumerate(circuit.nodes) if w.flags},
        **label_header,
        "findings": {n: shown[name] for n, name in _names(circuit) if name in shown},
    }
    return header, {**node_columns(circuit), **edge_columns(circuit), **tokens}


def _names(circuit: CircuitGraph) -> list[tuple[int, str]]:
    return [(n, circuit.name(w.node)) for n, w in enumerate(circuit.nodes)]


def _site(name: str) -> dict[str, Any]:
    """A site with the labels of its row on the grid: its layer, and its part of the layer."""
    found = re.fullmatch(r"blocks\.(\d{1,9})\.(?:attn\.|mlp\.)?(?:hook_)?(.+)", name)
    if found is None:
        return {"name": name, "layer": None, "part": name}
    return {"name": name, "layer": int(found[1]), "part": found[2].removesuffix("_out").removesuffix("_post")}


def _methods(circuit: CircuitGraph) -> list[dict[str, str]]:
    """The method of the effects, then those of the estimates; each with its key in the data and its display name."""
    own = circuit.measurement.method
    names = {name for w in circuit.nodes for name in w.estimates}
    every = [("effect", own), *((name, name) for name in sorted(names, key=method_order))]
    return [{"key": key, "name": method_name(name)} for key, name in every]


def _threshold(circuit: CircuitGraph) -> float:
    """An effect of at least this size is large."""
    return _SHARE_THAT_IS_LARGE * abs(circuit.measurement.total_effect)


def _how_many_exact(circuit: CircuitGraph) -> str:
    """How many of the circuit's nodes were patched in every example: `all`, `some` or `none`."""
    exact = [w.verified == w.count > 0 for w in circuit.strongest()]
    return "all" if exact and all(exact) else "some" if any(exact) else "none"


def _flags(circuit: CircuitGraph, method: str) -> dict[int, str]:
    """Flags of a method's mean estimates against the nodes' effects, by the rules of `graphs/verdict.py`.

    Only nodes that were patched in every example have one: an estimate cannot be wrong against another estimate.
    """
    threshold = _threshold(circuit)
    found = {
        n: flag_of(w.estimates[method], w.effect, threshold)
        for n, w in enumerate(circuit.nodes)
        if method in w.estimates and w.verified == w.count
    }
    return {n: flag for n, flag in found.items() if flag is not None and threshold > 0}


def findings_shown(circuit: CircuitGraph, verdict: Verdict | None) -> Mapping[str, list[dict[str, Any]]]:
    """At most three findings per node, as plain data by the node's name; those with a traced path come first."""
    if verdict is None:
        return {}
    shown: dict[str, list[dict[str, Any]]] = {}
    for name, found in findings(circuit, verdict).items():
        first = sorted(found, key=lambda finding: finding.trace is None)[:_FINDINGS_PER_NODE]
        shown[name] = [_finding(verdict, finding) for finding in first]
    return shown


def _finding(verdict: Verdict, finding: Finding) -> dict[str, Any]:
    flagged, trace = finding.verdict, finding.trace
    return {
        "example": flagged.example,
        "estimate_name": verdict.estimate_name,
        "estimate": flagged.estimate,
        "exact": flagged.exact,
        "flag": flagged.flag,
        "cause": flagged.cause,
        "parts": as_plain_data(flagged.parts),
        "gates": [_gate(verdict, flagged.example, gate) for gate in flagged.gates],
        "trace": None if trace is None else _trace(verdict, trace),
    }


def _trace(verdict: Verdict, trace: PathTrace) -> dict[str, Any]:
    margins = {verdict.name_of_margin(name, trace.example): list(values) for name, values in trace.margins.items()}
    return {**{k: v for k, v in as_plain_data(trace).items() if k not in ("node", "example")}, "margins": margins}


def _gate(verdict: Verdict, example: int, gate: CrossedGate) -> dict[str, Any]:
    """A gate, named as its feature is named in circuits."""
    return {"name": verdict.name(gate.feature, example), "opened": gate.opened, "alpha": gate.alpha, "size": gate.size}
