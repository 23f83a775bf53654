"""A graph of circuit-tracer as a circuit: linear weights of a replacement model, none of them measured by patching.

    flow(logit) = p(logit) / Σ p
    flow(node)  = Σ over its targets of flow(target) · |weight| / Σ |weight into the target|

circuit-tracer calls this influence, and here it is the `effect` of a node: the share of what reaches the logits that
passes through the node, by |weight|, along the edges of the file. It is never negative; over tokens and errors it sums
to 1 where every feature has inputs. A layer becomes the site `blocks.<layer>.mlp` and a logit becomes a metric. Weights
stay as they are, in units of their target's input.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph, Measurement, Position, WeightedNode
from graphs.edges import Edge
from graphs.feature_labels import FeatureLabel, Labels
from graphs.files.neuronpedia_rules import ERROR, LOGIT, TOKEN, WEIGHT_OF_LOGIT
from graphs.nodes import ErrorNode, FeatureNode, MetricNode, Node, TokenNode

EVIDENCE: Final = (
    "not measured: weights and influence of circuit-tracer's linear replacement model, none compared with patching"
)
_PLACE: Final = re.compile(r"(\d{1,9})_(\d{1,10})_\d+")


class TracedGraph:
    """The document of a graph file without `structural_faults`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def circuit(self) -> CircuitGraph:
        """The circuit, checked; an edge that does not go forward is a ValueError."""
        tokens = self.document["metadata"]["prompt_tokens"]
        sites = sorted(
            {node.site for node in self.nodes.values() if isinstance(node, FeatureNode | ErrorNode)}, key=_layer
        )
        return CircuitGraph(
            sites=tuple(sorted(sites, key=_layer)),
            positions=tuple(Position(str(n), token, token) for n, token in enumerate(tokens)),
            nodes=tuple(self._weighted(row) for row in self.document["nodes"]),
            edges=tuple(Edge(s, t, w, count=1) for s, t, w in self.links),
            measurement=self._measurement(),
        )

    def labels(self) -> Labels | None:
        """The features' labels; None where no feature has one."""
        found: dict[tuple[str, int], FeatureLabel] = {}
        for row in self.document["nodes"]:
            node, text = self.nodes[row["node_id"]], row["clerp"].strip()
            if isinstance(node, FeatureNode) and text:
                label = FeatureLabel(node.site, node.index, text, "yours", (), None, None, 0.0, None)
                found.setdefault((node.site, node.index), label)
        scan = self.document["metadata"].get("scan", "a model")
        return Labels(tuple(found.values()), f"none: labels of a graph of {scan}", 0) if found else None

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The node of every node_id."""
        found: dict[str, Node] = {}
        taken: dict[Node, str] = {}
        for row in self.document["nodes"]:
            node = _node(row)
            if node in taken and isinstance(node, MetricNode):
                node = MetricNode(f"{node.name} [{row['node_id']}]")
            if node in taken:
                raise ValueError(f"{row['node_id']!r} and {taken[node]!r} are the same node.")
            taken[node] = row["node_id"]
            found[row["node_id"]] = node
        return found

    @cached_property
    def links(self) -> list[tuple[Node, Node, float]]:
        """Source, target and weight of every link."""
        rows = self.document["links"]
        return [(self.nodes[row["source"]], self.nodes[row["target"]], float(row["weight"])) for row in rows]

    @cached_property
    def weights(self) -> dict[Node, float]:
        """p of every logit as a share of their sum; equal shares where the file has no p."""
        rows = [row for row in self.document["nodes"] if row["feature_type"] == LOGIT]
        if not rows:
            raise ValueError("the graph has no logit node: there is nothing that its nodes act on.")
        given = [_probability(row) for row in rows]
        total = sum(given)
        return {
            self.nodes[row["node_id"]]: p / total if total else 1 / len(rows)
            for row, p in zip(rows, given, strict=True)
        }

    @cached_property
    def flow(self) -> dict[Node, float]:
        """The formula above, evaluated from the logits down, layer by layer."""
        into: dict[Node, float] = defaultdict(float)
        for _, target, weight in self.links:
            into[target] += abs(weight)
        found = defaultdict(float, self.weights)
        order = sorted(self.links, key=lambda link: _depth(link[1]), reverse=True)
        for _, same_depth in groupby(order, key=lambda link: _depth(link[1])):
            for source, target, weight in same_depth:
                if into[target]:
                    found[source] += found[target] * abs(weight) / into[target]
        return found

    def _weighted(self, row: Mapping[str, Any]) -> WeightedNode:
        node = self.nodes[row["node_id"]]
        effect = self.flow[node]
        activation = row.get("activation")
        clean = None if activation is None else float(activation)
        return WeightedNode(node, effect, effect, None, 1, clean, None)

    def _measurement(self) -> Measurement:
        metadata = self.document["metadata"]
        given = {name: metadata[name] for name in ("slug", "scan", "prompt", "node_threshold") if metadata.get(name)}
        return Measurement(
            method="circuit-tracer influence",
            metric="weighted logits",
            unit="share of influence",
            metric_unit="share of influence",
            sign="a node's share has no sign; an edge is in units of its target's input, positive where it raises it",
            error_mode="linear replacement model",
            patch_value="none",
            examples=1,
            total_effect=1.0,
            residual_median=None,
            residual_max=None,
            residual_law="none: nothing was patched",
            evidence=EVIDENCE,
            nodes_measured=sum(not isinstance(node, MetricNode) for node in self.nodes.values()),
            edge_method="circuit-tracer: direct linear effects with attention and normalisation frozen",
            edges_measured=len(self.links),
            inputs={"source": "a graph file of circuit-tracer or Neuronpedia", **given},
        )


def _node(row: Mapping[str, Any]) -> Node:
    kind, position = row["feature_type"], row["ctx_idx"]
    if kind == LOGIT:
        return MetricNode(row["clerp"].strip() or row["node_id"])
    if kind == TOKEN:
        return TokenNode(position)
    if row["layer"] == "E":
        raise ValueError(f"{row['node_id']!r} has feature_type {kind!r}, but lies in layer E, which is for tokens.")
    site = f"blocks.{int(row['layer'])}.mlp"
    return ErrorNode(site, position) if kind == ERROR else FeatureNode(site, position, _index(row))


def _index(row: Mapping[str, Any]) -> int:
    """The feature's index in its layer: part of the node_id; `feature` holds it paired with the layer."""
    found = _PLACE.fullmatch(row["node_id"])
    if found and int(found[1]) == int(row["layer"]):
        return int(found[2])
    if row["feature"] is None:
        raise ValueError(f"the feature {row['node_id']!r} has no index.")
    return row["feature"]


def _layer(site: str) -> int:
    return int(site.split(".")[1])


def _depth(node: Node) -> float:
    if isinstance(node, MetricNode):
        return float("inf")
    return -1 if isinstance(node, TokenNode) else _layer(node.site)


def _probability(row: Mapping[str, Any]) -> float:
    """The probability that the node states, else the one in its label, else 0."""
    given = row.get("token_prob")
    if given is not None and given > 0:
        return float(given)
    found = WEIGHT_OF_LOGIT.findall(row["clerp"])
    return float(found[-1]) if found else 0.0
