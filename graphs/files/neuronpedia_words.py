"""What a Neuronpedia graph file says in words: labels of nodes, the weight of the output, what the columns are."""

import math

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.files.neuronpedia_rules import WEIGHT_OF_LOGIT
from graphs.nodes import ErrorNode, MetricNode, Node, TokenNode, short_site
from graphs.strongest_edges import left_out_of


def description(circuit: CircuitGraph) -> str:
    """How to read the graph: what its numbers, columns and layers are."""
    measured = circuit.measurement
    columns = ", ".join(f"{p.label} ({p.clean_token!r}, patch {p.patch_token!r})" for p in circuit.positions)
    layers = ", ".join(f"{number} {site}" for number, site in enumerate(circuit.sites))
    left_out = left_out_of(circuit)
    return " ".join(
        (
            "Written by jumpwire.",
            f"Effects and weights: means over {measured.examples} example(s), in {measured.unit}; {measured.sign}.",
            f"Method: {measured.method}; metric: {measured.metric}; SAE errors: {measured.error_mode}.",
            f"Evidence: {measured.evidence}.",
            "Columns are positions aligned over the examples; the prompt shows the clean tokens of the first example "
            f"that has them: {columns}.",
            f"Layers are sites in the order of the forward pass: {layers}.",
            f"influence is the cumulative share of Σ|effect|. p of the output is {output_weight(circuit)[1]}.",
            *(() if left_out is None else (left_out.sentence,)),
        )
    )


def output_weight(circuit: CircuitGraph) -> tuple[float, str]:
    """What stands as p of the output, and what it is: a probability only where the certificate holds one."""
    if any(WEIGHT_OF_LOGIT.search(w.node.name) for w in circuit.nodes if isinstance(w.node, MetricNode)):
        return 1.0, "what the graph's source gave it"
    own = [f for f in (circuit.certificate.faithfulness if circuit.certificate else ()) if f.split == "own"]
    if own and circuit.measurement.metric == "log_probability":
        return math.exp(own[0].m_full), "the answer's probability: exp of its mean log probability"
    if own and circuit.measurement.metric == "logit_difference":
        odds = math.exp(-abs(own[0].m_full))
        p = 1 / (1 + odds) if own[0].m_full >= 0 else odds / (1 + odds)
        return p, "that of the answer against the wrong answer: the sigmoid of their mean logit difference"
    return 1.0, "no probability: a weight that makes the metric the only output"


def clerp(circuit: CircuitGraph, node: Node, labels: Labels | None) -> str:
    """The label of a node; that of the metric contains its weight."""
    if isinstance(node, MetricNode):
        has_one = WEIGHT_OF_LOGIT.search(node.name)
        return node.name if has_one else f"{node.name} (p={output_weight(circuit)[0]:.3f})"
    if isinstance(node, TokenNode):
        position = circuit.positions[node.position]
        same = position.clean_token == position.patch_token
        return f"{position.clean_token} → {position.patch_token}" if not same else position.clean_token
    if isinstance(node, ErrorNode):
        return f"SAE error of {short_site(node.site)}"
    place = f"{short_site(node.site)}/{node.index}"
    if labels is not None and (node.site, node.index) in labels:
        return f"{labels.of(node.site, node.index).text} ({place})"
    return place
