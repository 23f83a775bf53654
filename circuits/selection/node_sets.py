"""A ranking's nodes as sets: the faithfulness of any set of them on some pairs, and how much each node of it helps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, metric_keeping
from attribution.effects.quadrature import Quadrature
from attribution.masks.mask_nodes import MaskNodes
from attribution.masks.masked_metric import MaskedMetric, MaskPath
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import places_by_label
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_store import ChunkStore
from attribution.splice.edits import ERROR
from attribution.splice.references import Reference
from attribution.splice.spliced_model import SplicedModel
from circuits.faithfulness.bootstrap import Scale
from graphs import ErrorNode, FeatureNode, Position

NodeSet = Bool[np.ndarray, " node"]


@dataclass(frozen=True)
class NodeSets:
    """Sets of some features and errors, on some pairs.

    Args:
        nodes: the nodes that sets are made of; their positions are indices into `positions`.
        pairs: prompts on which faithfulness is measured. A node stands wherever they have its position.
        reference: the value of everything outside a set.
    """

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    reference: Reference
    nodes: Sequence[FeatureNode | ErrorNode]
    positions: Sequence[Position]
    batch_size: int = 64
    _known: dict[bytes, Float[np.ndarray, " pair"]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def scale(self) -> Scale:
        """m(M) and m(∅), which must differ.

        Raises:
            ValueError: F is undefined on these pairs.
        """
        return Scale(*self.ends)

    @cached_property
    def ends(self) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
        """m(M) and m(∅) of every pair, which may agree."""
        given, sets = (self.spliced, self.pairs, self.metric), [EVERYTHING, NOTHING]
        full, empty = metric_keeping(*given, sets, self.reference, batch_size=self.batch_size)
        return full, empty

    @property
    def is_defined(self) -> bool:
        """Whether F is defined on these pairs."""
        try:
            _ = self.scale
        except ValueError:
            return False
        return True

    @property
    def span(self) -> float:
        """mean m(M) − mean m(∅)."""
        return float(self.scale.full.mean() - self.scale.empty.mean())

    def faithfulness(self, chosen: NodeSet) -> float:
        """F of a set."""
        return self.scale.ratio(self.values(chosen))

    def standard_error(self, chosen: NodeSet) -> float:
        """The standard error of F over the pairs."""
        return self.scale.standard_error(self.values(chosen))

    def faithfulness_of(
        self, chosen: NodeSet, weights: Float[np.ndarray, "resample pair"]
    ) -> Float[np.ndarray, " resample"]:
        """F of a set on resampled pairs; NaN where it is undefined."""
        scale = self.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            return (weights @ (self.values(chosen) - scale.empty)) / (weights @ (scale.full - scale.empty))

    def shares(self, chosen: NodeSet, points: Quadrature, by_pair: NodeSet | None = None) -> MaskPath:
        """Attribution on the mask path to a set, in units of F: positive where a node helps.

        `by_pair` of the result has the part of each pair, for the nodes asked for; parts add up to the attribution.
        """
        path = self._game.attribution(chosen, points, by_pair=by_pair)
        parts = None if path.by_pair is None else path.by_pair / len(self.pairs) / self.span
        return MaskPath(path.attribution / self.span, path.outside / self.span, parts)

    def value_and_gradient(self, mask: Float[np.ndarray, " node"]) -> tuple[float, Float[np.ndarray, " node"]]:
        """F where every node has the mask λ, and ∂F/∂λ."""
        value, gradient = self._game.value_and_gradient(mask)
        return (value - float(self.scale.empty.mean())) / self.span, gradient / self.span

    def key(self, store: ChunkStore, **about: object) -> str:
        """The key of a chunk that depends on these sets and on `about`."""
        return self._game.key(store, **about)

    def values(self, chosen: NodeSet) -> Float[np.ndarray, " pair"]:
        """m(C) of every pair."""
        self.measure([chosen])
        return self._known[chosen.tobytes()]

    def measure(self, sets: Sequence[NodeSet]) -> None:
        """m(C) of several sets side by side, so that what is asked of them later costs nothing."""
        missing = {key: own for own in sets if (key := own.tobytes()) not in self._known}
        if missing:
            values = self._game.values_of_each(np.array(list(missing.values()), np.float64))
            self._known.update(zip(missing, values, strict=True))

    @cached_property
    def _game(self) -> MaskedMetric:
        labels = {position.label: column for column, position in enumerate(self.positions)}
        columns = [np.full(len(pair), -1) for pair in self.pairs]
        for label, (example, position) in places_by_label(self.pairs).items():
            if label in labels:
                for e, p in zip(example, position, strict=True):
                    columns[e][p] = labels[label]
        index = [node.index if isinstance(node, FeatureNode) else ERROR for node in self.nodes]
        table = [(n.site, n.position, i) for n, i in zip(self.nodes, index, strict=True)]
        return MaskedMetric(
            self.spliced,
            self.pairs,
            self.metric,
            self.reference,
            MaskNodes.of(self.spliced.sites, table),
            [own.tolist() for own in columns],
            self.batch_size,
        )


@dataclass(frozen=True)
class Directions:
    """The same nodes on several sets of pairs, each in units of its own F: pairs as they are, and pairs turned.

    Sets of pairs on which F is undefined, as turned pairs may be for a metric of one's own, count for nothing.

    Args:
        sets: one for each direction.
        rows: which training pair each pair of a set is; by default the set's own order.
    """

    sets: Sequence[NodeSets]
    rows: Sequence[Sequence[int]] = ()

    @cached_property
    def _weighted(self) -> list[tuple[NodeSets, float, Sequence[int]]]:
        both = list(zip(self.sets, self._rows, strict=True))
        defined = [(own, at) for own, at in both if own.is_defined] or both[:1]  # the scale of that says what is wrong
        whole = sum(len(own.pairs) for own, _ in defined)
        return [(own, len(own.pairs) / whole, at) for own, at in defined]

    @property
    def _rows(self) -> Sequence[Sequence[int]]:
        return self.rows or [range(len(own.pairs)) for own in self.sets]

    @property
    def prompts(self) -> int:
        """Number of prompts in all directions."""
        return sum(len(own.pairs) for own, _, _ in self._weighted)

    def faithfulness(self, chosen: NodeSet) -> float:
        """The mean F of a set."""
        return sum(weight * own.faithfulness(chosen) for own, weight, _ in self._weighted)

    def measure(self, sets: Sequence[NodeSet]) -> None:
        """m(C) of several sets side by side, in every direction."""
        for own, _, _ in self._weighted:
            own.measure(sets)

    def shares(self, chosen: NodeSet, points: Quadrature, by_pair: NodeSet | None = None) -> MaskPath:
        """The mean attribution on the mask path to a set, in units of F; with each pair's part, as in `NodeSets`."""
        found = [(own.shares(chosen, points, by_pair), weight, at) for own, weight, at in self._weighted]
        attribution, outside = (
            np.sum([weight * getattr(path, name) for path, weight, _ in found], axis=0)
            for name in ("attribution", "outside")
        )
        if by_pair is None:
            return MaskPath(attribution, outside)
        parts = np.zeros((1 + max(max(at) for at in self._rows), len(chosen)))
        for path, weight, at in found:
            assert path.by_pair is not None
            parts[list(at)] += weight * path.by_pair
        return MaskPath(attribution, outside, parts)

    def value_and_gradient(self, mask: Float[np.ndarray, " node"]) -> tuple[float, Float[np.ndarray, " node"]]:
        """The mean F where every node has the mask λ, and ∂F/∂λ."""
        value, gradient = 0.0, np.zeros(len(mask))
        for own, weight, _ in self._weighted:
            own_value, own_gradient = own.value_and_gradient(mask)
            value, gradient = value + weight * own_value, gradient + weight * own_gradient
        return value, gradient

    def keys(self, store: ChunkStore, **about: object) -> list[str]:
        """The keys of a chunk that depends on the sets of every direction and on `about`."""
        return [own.key(store, **about) for own in self.sets]

    def residual(self, chosen: NodeSet, points: Quadrature) -> float:
        """|F − Σ attribution|: what the quadrature and jumps on the whole path miss, in units of F."""
        return abs(self.faithfulness(chosen) - float(self.shares(chosen, points).attribution.sum()))
