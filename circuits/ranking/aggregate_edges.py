"""Average edges over the examples, and what each target node carries.

    weight(edge) = Σ over examples of the edge's weight / number of examples

An example that lacks the edge counts as 0, so that the mean edges into a node add up as those of single examples do.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from attribution.edges.edges import METRIC_KEY, Edges
from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import PositionScheme
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS, columns_of_keys
from circuits.ranking.aggregate import node_at
from circuits.ranking.averages import group_averages, group_sums
from circuits.ranking.positions import Alignment, align_positions
from graphs import Edge, MetricNode, Node


@dataclass(frozen=True)
class CarriedFlow:
    """What a node carries in the flow, and its undivided jump: means over examples, in units of the metric."""

    carried: float
    undivided: float


@dataclass(frozen=True)
class AveragedFlow:
    """Edges between nodes of aligned positions, and what the target features carry.

    `example`, `edge` and `weight` list the weight of every edge in each example that has it, with the edge's number in
    `edges`.
    """

    edges: tuple[Edge, ...]
    carried: dict[Node, CarriedFlow]
    example: np.ndarray
    edge: np.ndarray
    weight: np.ndarray

    def by_pair(self, pairs: int) -> Float[np.ndarray, "pair edge"]:
        """The weight of every edge in each of so many pairs; 0 where a pair lacks it."""
        found = np.zeros((pairs, len(self.edges)))
        found[self.example, self.edge] = self.weight
        return found


def average_edges(
    edges: Edges,
    pairs: PromptPairs,
    model: LanguageModel,
    sites: tuple[str, ...],
    metric: str,
    scheme: PositionScheme | None = None,
) -> AveragedFlow:
    """Average over examples, with positions aligned by name. `sites` are those of the effects, the tokens first.

    Without positions, an edge's weight in an example is the sum over pairs of positions.
    """
    alignment = align_positions(pairs, model, scheme)
    ends = [_aligned(keys, edges.example, alignment) for keys in (edges.source, edges.target)]
    own, place = _groups(np.concatenate([edges.example[None], *ends]))
    both, group = _groups(own[1:])
    weight = group_sums(place, edges.weight, own.shape[1])
    found = group_averages(group, weight, both.shape[1], len(pairs))
    averaged = [
        Edge(
            source=_node(column[:4], sites, metric),
            target=_node(column[4:], sites, metric),
            weight=float(found.mean[n]),
            mean_absolute=float(found.mean_absolute[n]),
            standard_error=found.error(n),
            count=int(found.count[n]),
        )
        for n, column in enumerate(both.T.tolist())
    ]
    return AveragedFlow(tuple(averaged), _carried(edges, alignment, sites, len(pairs)), own[0], group, weight)


def _carried(edges: Edges, alignment: Alignment, sites: tuple[str, ...], examples: int) -> dict[Node, CarriedFlow]:
    chosen = edges.target_key != METRIC_KEY
    nodes, group = _groups(_aligned(edges.target_key[chosen], edges.target_example[chosen], alignment))
    means = [group_sums(group, v[chosen], nodes.shape[1]) / examples for v in (edges.attribution, edges.undivided)]
    return {
        _node(column, sites, ""): CarriedFlow(*(float(mean[n]) for mean in means))
        for n, column in enumerate(nodes.T.tolist())
    }


def _groups(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct columns, and for each column which of them it is."""
    different, group = np.unique(columns, axis=1, return_inverse=True)
    return different, group.reshape(-1)


def _aligned(keys: np.ndarray, example: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Site, kind, aligned position and index of each key; all four are −1 for the metric."""
    of_metric = keys == METRIC_KEY
    columns = columns_of_keys(np.where(of_metric, 0, keys))
    position = alignment.columns_of(example, np.where(of_metric, 0, columns["position"]))
    found = np.stack([columns["site"], columns["kind"], position, columns["index"]])
    return np.where(of_metric, -1, found)


def _node(column: list[int], sites: tuple[str, ...], metric: str) -> Node:
    site, kind, position, index = column
    return MetricNode(metric) if site < 0 else node_at(sites[site], KINDS[kind], position, index)
