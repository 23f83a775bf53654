"""The headline of a circuit, as figures and notebooks show it."""

from graphs.circuit_graph import CircuitGraph
from graphs.words.number_formats import counted_noun, signed_number
from graphs.words.site_words import kept_in_words


def headline(circuit: CircuitGraph) -> str:
    """Metric, total effect, the numbers of nodes (not counting the metric) and edges, and what is kept as it is."""
    measured = circuit.measurement
    kept = kept_in_words(measured.from_layer)
    return (
        f"{measured.metric.replace('_', ' ')}: total effect {signed_number(measured.total_effect)} "
        f"{measured.metric_unit}, {counted_noun(len(circuit.strongest()), 'node')}, "
        f"{counted_noun(len(circuit.edges), 'edge')}" + ("" if kept is None else f"; {kept}")
    )
