"""A circuit in plain words: what it is of, and how large."""

from graphs.circuit_graph import CircuitGraph
from graphs.words.verdict_words import counted, signed


def headline(circuit: CircuitGraph) -> str:
    """Metric, total effect, number of nodes (the metric is not counted) and edges."""
    measured = circuit.measurement
    return (
        f"{measured.metric.replace('_', ' ')}: total effect {signed(measured.total_effect)} {measured.metric_unit}, "
        f"{counted(len(circuit.strongest()), 'node')}, {counted(len(circuit.edges), 'edge')}"
    )
