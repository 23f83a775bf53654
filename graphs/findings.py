"""What a checker found about the nodes of a circuit: its flagged nodes of examples, joined by the names of positions.

A flagged node stands at a token position of one example, a circuit's node in a column of all of them. They are the
same node where site, kind and index agree and the position has the column's name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.circuit_graph import CircuitGraph, Position
from graphs.nodes import Node
from graphs.verdict import NodeVerdict, PathTrace, Verdict


@dataclass(frozen=True)
class Finding:
    """One flag on a node of a circuit, in one example, and the node's own path there where it was traced."""

    verdict: NodeVerdict
    trace: PathTrace | None

    @property
    def example(self) -> int:
        """Number of the example."""
        return self.verdict.example


def findings(circuit: CircuitGraph, verdict: Verdict) -> Mapping[str, tuple[Finding, ...]]:
    """By name of each flagged node of the circuit, its flags, largest |error| first.

    Empty where nothing was found; `no_findings_because` says why.
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
    """Why `findings` is empty, in words; None where it is not."""
    if findings(circuit, verdict):
        return None
    if not verdict.flagged:
        return f"no node was flagged: {verdict.sentence}"
    if not verdict.names:
        return "the verdict does not name the positions of its examples: run the check again"
    if not any(flagged_in(circuit.positions, verdict)):
        return "no flagged node stands at a position that the circuit has: the check was made on other prompts"
    return f"none of the {len(verdict.flagged)} flagged nodes is in the circuit"


def flagged_in(positions: Sequence[Position], verdict: Verdict) -> Iterator[tuple[Node, NodeVerdict]]:
    """Flagged nodes at these positions: the node as it is called in all examples, and the verdict on it in one."""
    column = {position.label: place for place, position in enumerate(positions)}
    for flagged in verdict.flagged if verdict.names else ():
        place = column.get(verdict.names[flagged.example][flagged.node.position])
        if place is not None:
            yield replace(flagged.node, position=place), flagged
