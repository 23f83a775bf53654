"""Nodes of a circuit as nodes of a Neuronpedia / circuit-tracer graph file (`neuronpedia_rules.py`).

Each site is a layer, numbered from 0 in the order of the forward pass, because Neuronpedia knows one site per layer.
`influence` is the cumulative share of Σ|effect|, strongest node first. `activation` is a feature's mean clean
activation.
"""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph, WeightedNode, undecided_in_words
from graphs.feature_labels import Labels
from graphs.files.neuronpedia_rules import ERROR, FEATURE, LOGIT, TOKEN, TOKEN_LAYER, WEIGHT_OF_LOGIT
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode, short_site
from graphs.words.part_words import OWN

_FEATURE_TYPE: Final = {"feature": FEATURE, "error": ERROR, "token": TOKEN, "metric": LOGIT}


def node_ids(circuit: CircuitGraph) -> dict[Node, str]:
    """The node_id of every node: `layer_index_position` as in circuit-tracer, with index -1 for an SAE error."""
    last = len(circuit.positions) - 1
    metrics = [w.node for w in circuit.nodes if isinstance(w.node, MetricNode)]
    found: dict[Node, str] = {}
    for weighted in circuit.nodes:
        node = weighted.node
        if isinstance(node, TokenNode):
            found[node] = f"{TOKEN_LAYER}_0_{node.position}"
        elif isinstance(node, MetricNode):
            found[node] = f"{_layer(circuit, node)}_{metrics.index(node)}_{last}"
        else:
            found[node] = f"{_layer(circuit, node)}_{_index(node)}_{node.position}"
    return found


def cumulative_influence(circuit: CircuitGraph) -> dict[Node, float]:
    """The share of Σ|effect| up to and including each node, strongest first; empty where every effect is 0."""
    nodes = circuit.strongest()
    sums = list(accumulate(abs(w.effect) for w in nodes))
    if not nodes or not sums[-1]:
        return {}
    return {w.node: so_far / sums[-1] for w, so_far in zip(nodes, sums, strict=True)}


def node_row(
    circuit: CircuitGraph,
    weighted: WeightedNode,
    ids: Mapping[Node, str],
    labels: Labels | None,
    share: Mapping[Node, float],
) -> dict[str, Any]:
    """One node as the file holds it, without our own key.

    `ids` are from `node_ids`, `share` is from `cumulative_influence`.
    """
    node = weighted.node
    row = {
        "node_id": ids[node],
        "feature": node.position if isinstance(node, TokenNode) else -1,
        "layer": _layer(circuit, node),
        "ctx_idx": len(circuit.positions) - 1 if isinstance(node, MetricNode) else node.position,
        "feature_type": _FEATURE_TYPE[node.kind],
        "jsNodeId": ids[node],
        "clerp": clerp(circuit, node, labels) + undecided_in_words(weighted),
        "influence": share.get(node),
        "activation": weighted.clean if isinstance(node, FeatureNode) else None,
    }
    if isinstance(node, FeatureNode):
        layer = circuit.sites.index(node.site)
        row |= {"feature": _pair(layer, node.index), "jsNodeId": f"{layer}_{node.index}-0"}
    if isinstance(node, MetricNode):
        p = float(WEIGHT_OF_LOGIT.findall(row["clerp"])[-1])
        place = int(ids[node].split("_")[1])
        row |= {"feature": place, "token_prob": p, "is_target_logit": place == 0}
    return row


def clerp(circuit: CircuitGraph, node: Node, labels: Labels | None) -> str:
    """The label that Neuronpedia shows (its word for it); that of the metric contains its weight."""
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


def output_weight(circuit: CircuitGraph) -> tuple[float, str]:
    """The p of the output node, and what it means: a probability only where the certificate allows to compute one."""
    if any(WEIGHT_OF_LOGIT.search(w.node.name) for w in circuit.nodes if isinstance(w.node, MetricNode)):
        return 1.0, "the weight in the file that the graph was read from"
    own = [f for f in (circuit.certificate.faithfulness if circuit.certificate else ()) if f.split == OWN]
    if own and circuit.measurement.metric == "log_probability" and own[0].m_full <= 0:
        return math.exp(own[0].m_full), "the answer's probability: exp of its mean log probability"
    if own and circuit.measurement.metric == "logit_difference":
        odds = math.exp(-abs(own[0].m_full))
        p = 1 / (1 + odds) if own[0].m_full >= 0 else odds / (1 + odds)
        return p, "the probability of the answer against the wrong answer: the sigmoid of their mean logit difference"
    return 1.0, "not a probability: a weight of 1 makes the metric the only output"


def _layer(circuit: CircuitGraph, node: Node) -> str:
    """The number of the node's site; the metric's leaves one number free above the last site, as in circuit-tracer."""
    if isinstance(node, TokenNode):
        return TOKEN_LAYER
    return str(len(circuit.sites) + 1 if isinstance(node, MetricNode) else circuit.sites.index(node.site))


def _index(node: FeatureNode | ErrorNode) -> int:
    return node.index if isinstance(node, FeatureNode) else -1


def _pair(layer: int, index: int) -> int:
    """Cantor's pairing function, by which circuit-tracer writes layer and index as one number."""
    return (layer + index) * (layer + index + 1) // 2 + index
