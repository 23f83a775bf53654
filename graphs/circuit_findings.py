"""Findings: the flags of a verdict at the nodes of a circuit.

A flagged node lies at a token position of one example; a circuit's node lies in a column that all examples share. They
are the same node where site, kind and index agree and the column has one of the position's names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.circuit_graph import CircuitGraph, Position
from graphs.nodes import Node, labels_at
from graphs.short_repr import short_repr
from graphs.verdict import NodeVerdict, PathTrace, Verdict


@dataclass(frozen=True)
class Finding:
    """One flag of a circuit's node in one example, with the node's own path there if it was traced."""

    __repr__ = short_repr

    verdict: NodeVerdict
    trace: PathTrace | None

    @property
    def example(self) -> int:
        """Index of the example."""
        return self.verdict.example


def findings(circuit: CircuitGraph, verdict: Verdict) -> Mapping[str, tuple[Finding, ...]]:
    """The flags of each flagged node of the circuit, by the node's name, largest |error| first.

    Empty where no flagged node is in the circuit; `no_findings_because` then says why.
    """
    known = {weighted.node for weighted in circuit.nodes}
    traces = {(trace.node, trace.example): trace for trace in verdict.traces}
    found: dict[str, list[Finding]] = {}
    for node, flagged in flagged_in(circuit.positions, verdict):
        if node in known:
            trace = traces.get((flagged.node, flagged.example))
            found.setdefault(circuit.name(node), []).append(Finding(flagged, trace))
    return {name: tuple(sorted(own, key=lambda f: -abs(f.verdict.error))) for name, own in found.items()}


def no_findings_because(circuit: CircuitGraph, verdict: Verdict) -> str | None:
    """Why `findings` is empty, in words; None where it is not empty."""
    if findings(circuit, verdict):
        return None
    if not verdict.flagged:
        return f"no node was flagged: {verdict.sentence}"
    if not verdict.names:
        return "the verdict does not name the positions of its examples: run the check again with this version"
    if not any(flagged_in(circuit.positions, verdict)):
        return "no flagged node lies at a position of the circuit: the check was made on other prompts"
    return f"none of the {len(verdict.flagged)} flagged nodes is in the circuit"


def flagged_in(positions: Sequence[Position], verdict: Verdict) -> Iterator[tuple[Node, NodeVerdict]]:
    """The flagged nodes at these positions: each as a node of a circuit with these columns, and the verdict on it."""
    column = {position.label: place for place, position in enumerate(positions)}
    for flagged in verdict.flagged if verdict.names else ():
        for label in dict.fromkeys(labels_at(verdict.names[flagged.example], flagged.node.position)):
            if label in column:
                yield replace(flagged.node, position=column[label]), flagged
