"""Keep the strongest edges of a circuit, and state what was left out.

The strongest edge out of every node and into every node always stays, so that every node keeps its path to the metric,
even where these are more edges than were asked for. The rest are chosen by |weight|.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.edges import Edge
from graphs.nodes import MetricNode
from graphs.plain_data import dataclass_from_plain
from graphs.pruning import needed_edges

LEFT_OUT: Final = "left_out"
"""Key of `measurement.inputs` under which a circuit states what was left out of it."""


@dataclass(frozen=True)
class LeftOut:
    """The edges that were left out of a circuit.

    Attributes:
        edges, all_edges: how many edges are left out, and how many there were.
        weight, all_weight: Σ |weight| of the edges left out, and of all edges.
        flow, all_flow: Σ weight (signed) of the edges left out that enter the metric, and of all that enter it.

    Weights and flows are in units of the edges.
    """

    edges: int
    all_edges: int
    weight: float
    all_weight: float
    flow: float
    all_flow: float

    @property
    def weight_share(self) -> float:
        """Share of Σ |weight| that is left out; 0 where there is no weight."""
        return self.weight / self.all_weight if self.all_weight else 0.0

    @property
    def flow_share(self) -> float | None:
        """Share of the flow into the metric that is left out; None where that flow is 0."""
        return self.flow / self.all_flow if self.all_flow else None

    @property
    def sentence(self) -> str:
        """How many edges are kept, and what the others carry, in one sentence."""
        if not self.edges:
            return f"All {self.all_edges:,} edges are kept."
        share = self.flow_share
        sums = f"{self.flow + 0.0:.3g} of {self.all_flow:.3g}"
        flow = "" if share is None else f" and {share + 0.0:.1%} of the flow into the metric ({sums})"
        return (
            f"{self.all_edges - self.edges:,} of {self.all_edges:,} edges are kept, including the strongest of every "
            f"node; the {self.edges:,} left out carry {self.weight_share:.1%} of Σ|weight|{flow}."
        )


def keep_edges(circuit: CircuitGraph, max_edges: int) -> tuple[CircuitGraph, LeftOut]:
    """The circuit with about `max_edges` edges, and what was left out, including by earlier calls.

    The same is stored in `measurement.inputs["left_out"]`, and the certificate's `flow_shown` is updated.

    Raises:
        ValueError: `max_edges` is below 1.
    """
    if max_edges < 1:
        raise ValueError(f"A circuit keeps at least 1 edge; got {max_edges}.")
    kept = _kept(circuit.edges, max_edges)
    gone = [edge for edge in circuit.edges if (edge.source, edge.target) not in kept]
    left_out = _added(left_out_of(circuit) or _whole(circuit.edges), gone)
    if not gone:
        return circuit, left_out
    edges = tuple(edge for edge in circuit.edges if (edge.source, edge.target) in kept)
    measured, certificate = circuit.measurement, circuit.certificate
    if certificate is not None and certificate.flow_shown is not None and measured.total_effect:
        certificate = replace(certificate, flow_shown=_flow(edges) / measured.total_effect)
    inputs: Mapping[str, Any] = {**measured.inputs, LEFT_OUT: asdict(left_out)}
    smaller = replace(circuit, edges=edges, measurement=replace(measured, inputs=inputs), certificate=certificate)
    return smaller, left_out


def left_out_of(circuit: CircuitGraph) -> LeftOut | None:
    """What `keep_edges` left out of a circuit; None where nothing was left out."""
    found = circuit.measurement.inputs.get(LEFT_OUT)
    return None if found is None else dataclass_from_plain(LeftOut, found)


def _kept(edges: tuple[Edge, ...], max_edges: int) -> set[tuple[object, object]]:
    kept: set[tuple[object, object]] = set(needed_edges(edges))
    for edge in sorted(edges, key=lambda e: -abs(e.weight)):
        if len(kept) >= max_edges:
            break
        kept.add((edge.source, edge.target))
    return kept


def _whole(edges: tuple[Edge, ...]) -> LeftOut:
    return LeftOut(0, len(edges), 0.0, _weight(edges), 0.0, _flow(edges))


def _added(earlier: LeftOut, gone: list[Edge]) -> LeftOut:
    return replace(
        earlier,
        edges=earlier.edges + len(gone),
        weight=earlier.weight + _weight(gone),
        flow=earlier.flow + _flow(gone),
    )


def _weight(edges: Iterable[Edge]) -> float:
    return float(sum(abs(edge.weight) for edge in edges))


def _flow(edges: Iterable[Edge]) -> float:
    return float(sum(edge.weight for edge in edges if isinstance(edge.target, MetricNode)))
