"""m(λ): the metric of clean prompts whose nodes carry masks, its gradient, and attribution on the mask path.

    value(u) = reference_u + λ_u · (own_u − reference_u)      own_u: what u computes in this very run
    A_C(u)   = ∫₀¹ ∂m/∂λ_u (α · 1_C) dα                       Σ_{u ∈ C} A_C(u) = m(C) − m(∅)

So m(1) is the model's metric, m(0) that with everything at its reference, and m(1_C) the m(C) of `metric_keeping`.
Nodes that carry no mask have λ = 0. A_C is the Aumann-Shapley value of the game v(C) = m(C).

A gate that opens or closes on the path adds a jump to m that no derivative sees. With secants, the derivative of a gate
that differs between the path's ends is its secant, (f₁ − f₀) / (p₁ − p₀), so that what feeds the gate is credited with
its jump. Cost: q forwards and backwards for q points, and two forwards more for the secants. Sources: this project;
Aumann & Shapley 1974; Sundararajan et al. 2017.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.effects.measurement import numpy_of
from attribution.effects.quadrature import Quadrature, midpoint
from attribution.masks.mask_nodes import MaskNodes
from attribution.masks.masked_batch import MaskedBatch
from attribution.models.hooks import logits_at
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import ChunkKeys, digest_of, environment_of, metric_in_words
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.splice.references import PreparedReference, Reference
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import SplicedModel

STAGE: Final = "mask_path"


def upper_half(count: int) -> Quadrature:
    """`count` midpoints of [½, 1] with weights that add up to 1.

    Sets found with them are as small as with points on the whole path, at half the points (`docs/measured.md`).
    """
    whole = midpoint(count)
    return Quadrature(tuple(0.5 + p / 2 for p in whole.points), whole.weights, "upper_half")


@dataclass(frozen=True)
class MaskPath:
    """Attribution on the path from ∅ to a set C, as means over the pairs.

    Attributes:
        attribution: A_C(u) of each node in C; 0 outside C.
        outside: the mean slope ∂m/∂λ_u along the path of each node outside C: what it would add, to first order.
        by_pair: the slopes of some nodes in every pair, in C or not; the others have 0. None where none were asked for.
    """

    attribution: Float[np.ndarray, " node"]
    outside: Float[np.ndarray, " node"]
    by_pair: Float[np.ndarray, "pair node"] | None = None


@dataclass(frozen=True)
class MaskedMetric:
    """m(λ) on some pairs, for the masks of some nodes.

    Args:
        nodes: the nodes that carry masks.
        columns: of each position of each pair, the column it lies in; −1 for none.
        reference: values at λ = 0. Where it has several draws, m is their mean.
        batch_size: pairs in one forward.

    Raises:
        ValueError: pairs that do not fit the model or that the reference has no value for.
    """

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    reference: Reference
    nodes: MaskNodes
    columns: Sequence[Sequence[int]]
    batch_size: int = 64

    def __post_init__(self) -> None:
        self.pairs.check_fits(self.spliced.model, splice_bos=self.spliced.splice_bos)
        if [len(own) for own in self.columns] != [len(pair) for pair in self.pairs]:
            raise ValueError("Give a column, or −1, for each position of each pair.")

    def values(self, mask: Float[np.ndarray, " node"]) -> Float[np.ndarray, " pair"]:
        """m(λ) of each pair."""
        return self.values_of_each(mask[None])[0]

    def values_of_each(self, masks: Float[np.ndarray, "mask node"]) -> Float[np.ndarray, "mask pair"]:
        """m(λ) of each pair under each mask; several run side by side where a batch has room."""
        return self._kept("metric", masks, {}, partial(self._values, masks))["metric"]

    def attribution(
        self,
        kept: Bool[np.ndarray, " node"],
        points: Quadrature = midpoint(8),  # noqa: B008  (a frozen value)
        *,
        secants: bool = True,
        by_pair: Bool[np.ndarray, " node"] | None = None,
    ) -> MaskPath:
        """A_C of the nodes `kept`, and the slopes of the others; pair by pair too for the nodes of `by_pair`."""
        refuse_pursuits(self.spliced.saes, "The mask path")
        about: dict[str, object] = {"points": points.points, "weights": points.weights, "secants": secants}
        if by_pair is not None:
            about["by pair"] = digest_of(by_pair)
        found = self._kept("attribution", kept, about, partial(self._slopes, kept, points, secants, by_pair))
        mean, each = found["slope"], None
        if by_pair is not None:
            each = np.zeros((len(self.pairs), len(kept)), np.float32)
            each[:, by_pair] = found["by_pair"]
        return MaskPath(np.where(kept, mean, 0.0), np.where(kept, 0.0, mean), each)

    def gradient(self, mask: Float[np.ndarray, " node"]) -> Float[np.ndarray, " node"]:
        """∂m/∂λ at one point, as the mean over the pairs."""
        return self.value_and_gradient(mask)[1]

    def value_and_gradient(self, mask: Float[np.ndarray, " node"]) -> tuple[float, Float[np.ndarray, " node"]]:
        """The mean of m(λ) over the pairs and its gradient ∂m/∂λ, from one forward and one backward."""
        refuse_pursuits(self.spliced.saes, "The slope of a mask")
        at = torch.as_tensor(mask, dtype=self._dtype, device=self._device)
        value, gradient = 0.0, torch.zeros(len(self.nodes), dtype=torch.float64, device=self._device)
        for batch in self._batches:
            own, slopes = batch.value_and_slopes(at)
            value, gradient = value + own, gradient + slopes
        count = len(self.pairs) * self._prepared.draws
        return value / count, numpy_of(gradient) / count

    def key(self, store: ChunkStore, **about: object) -> str:
        """The key of a chunk that depends on these pairs, nodes and reference, on the metric, and on `about`."""
        prepared, everything = self._prepared, range(len(self.pairs))
        common = {"metric": metric_in_words(self.metric), "draws": prepared.draws, **about}
        columns = {name: digest_of(getattr(self.nodes, name)) for name in ("site", "column", "index")}
        return ChunkKeys({**environment_of(store, self.spliced), **common, **columns}).key(
            self.pairs,
            everything,
            columns=[list(own) for own in self.columns],
            reference=[self.reference.name, prepared.digest(everything)],
        )

    @property
    def _dtype(self) -> torch.dtype:
        return next(iter(self.spliced.saes.values())).W_dec.dtype

    @property
    def _device(self) -> torch.device:
        return self.spliced.model.device

    @cached_property
    def _prepared(self) -> PreparedReference:
        return self.reference.prepared(self.spliced, self.pairs)

    def _values(self, masks: Float[np.ndarray, "mask node"], _keep: KeepPart) -> Arrays:
        at = torch.as_tensor(masks, dtype=self._dtype, device=self._device)
        found, draws = np.zeros((len(masks), len(self.pairs))), self._prepared.draws
        with torch.no_grad(), self.spliced.model.frozen():
            for batch in self._batches:
                each = torch.cat([batch.metrics(part) for part in at.split(self._copies(batch))])
                found[:, numpy_of(batch.pairs.example)] += numpy_of(each) / draws
        return {"metric": found}

    def _slopes(
        self,
        kept: Bool[np.ndarray, " node"],
        points: Quadrature,
        secants: bool,
        by_pair: Bool[np.ndarray, " node"] | None,
        _keep: KeepPart,
    ) -> Arrays:
        total = torch.zeros(len(self.nodes), dtype=torch.float64, device=self._device)
        each = np.zeros((len(self.pairs), 0 if by_pair is None else int(by_pair.sum())), np.float32)
        end = torch.as_tensor(kept, dtype=self._dtype, device=self._device)
        weighted = list(zip(points.points, points.weights, strict=True))
        for batch in self._batches:
            with self.spliced.model.frozen():
                jumps = batch.secants(end) if secants else None
                size = self._copies(batch)
                parts = [
                    batch.slopes(end, weighted[n : n + size], jumps, by_row=by_pair is not None).double()
                    for n in range(0, len(weighted), size)
                ]
            slopes = torch.stack(parts).sum(0)
            if by_pair is None:
                total += slopes
            else:
                total += slopes.sum(0)
                each[numpy_of(batch.pairs.example)] += numpy_of(slopes)[:, by_pair] / self._prepared.draws
        found = {"slope": numpy_of(total) / len(self.pairs) / self._prepared.draws}
        return found if by_pair is None else {**found, "by_pair": each}

    def _copies(self, batch: MaskedBatch) -> int:
        """How many times one forward has room for a batch."""
        return max(1, self.batch_size // len(batch))

    @cached_property
    def _batches(self) -> list[MaskedBatch]:
        """Every batch with every draw of the reference."""
        found: list[MaskedBatch] = []
        with torch.no_grad(), self.spliced.model.frozen():
            for examples in self.pairs.cut(self.batch_size, self.spliced.model.lengths):
                pairs = self.pairs.batch(examples, self._device, self.metric.positions)
                clean = logits_at(self.spliced.model, pairs.clean_ids, pairs.read, {})
                bound = self.metric.bind(at_least_float32(clean), pairs)
                given = self.spliced, pairs, bound, self.nodes, self._column(pairs)
                found += (MaskedBatch.of(*given, self._prepared(pairs, n)) for n in range(self._prepared.draws))
        return found

    def _column(self, pairs: PairBatch) -> Int[Tensor, "row pos"]:
        column = torch.full_like(pairs.clean_ids, -1)
        for row, example in enumerate(pairs.example.tolist()):
            own = self.columns[example]
            column[row, : len(own)] = torch.as_tensor(own, device=self._device)
        return column

    def _kept(
        self, what: str, mask: np.ndarray, about: Mapping[str, object], compute: Callable[[KeepPart], Arrays]
    ) -> Arrays:
        at = digest_of(np.asarray(mask, np.float64).view(np.int64))
        named = {"mask path": what, "mask": at, **about}
        return kept_chunk(STAGE, lambda store: self.key(store, **named), compute)
