"""What the page says of a node's flags: a few examples, first those whose own path was traced."""

from collections.abc import Mapping
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.findings import Finding, findings
from graphs.nodes import FeatureNode, node_name
from graphs.plain_data import plain
from graphs.verdict import CrossedGate, Verdict

_SHOWN: Final = 3


def findings_shown(circuit: CircuitGraph, verdict: Verdict | None) -> Mapping[str, list[dict[str, Any]]]:
    """Plain data by node name, at most three findings a node; nothing without a verdict."""
    if verdict is None:
        return {}
    shown: dict[str, list[dict[str, Any]]] = {}
    for name, found in findings(circuit, verdict).items():
        first = sorted(found, key=lambda finding: finding.trace is None)[:_SHOWN]
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
        "parts": plain(flagged.parts),
        "gates": [_gate(verdict, flagged.example, gate) for gate in flagged.gates],
        "trace": None if trace is None else {k: v for k, v in plain(trace).items() if k not in ("node", "example")},
    }


def _gate(verdict: Verdict, example: int, gate: CrossedGate) -> dict[str, Any]:
    """A gate under the name that its feature has in circuits."""
    feature = FeatureNode(gate.site, gate.position, gate.index)
    name = node_name(feature, verdict.names[example][gate.position])
    return {"name": name, "opened": gate.opened, "alpha": gate.alpha, "size": gate.size}
