"""The headline of a circuit, as figures and notebooks show it."""

from graphs.circuit_graph import CircuitGraph
from graphs.words.number_formats import counted_noun, signed_number


def headline(circuit: CircuitGraph) -> str:
    """Metric, total effect, and the numbers of nodes (not counting the metric) and edges."""
    measured = circuit.measurement
    return (
        f"{measured.metric.replace('_', ' ')}: total effect {signed_number(measured.total_effect)} "
        f"{measured.metric_unit}, {counted_noun(len(circuit.strongest()), 'node')}, "
        f"{counted_noun(len(circuit.edges), 'edge')}"
    )
