"""Edges: the direct effect of one node on another, with every spliced site in between held fixed.

    e(u→d) = Δu · Σ_k w_k ∂/∂u [seed(d) · x_d](α_k)        seed(d): what d's flow sends to the activation there

The direct path from u to d is the stretch of network between their sites; skip connections count. A `Flow` says what
the seeds and the points are: chord IG (`chord_edges.py`) or the plain gradient (`gradient_edges.py`). One backward of
one section for one target of every row of a batch; nothing of the size of d_sae is made for a target.
Source: METHODS of this project, section 4; Marks et al. 2024 for edges by gradients.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.chord.stretches import METRIC, Ends, SectionRuns, Stretch, sections
from attribution.effects.effects import Effects
from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.effects.patches import keys_of
from attribution.effects.quadrature import Quadrature
from attribution.effects.scoring import dot, score_features
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_key import chunk_keys, digest_of
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, progress_between
from attribution.splice.node_keys import keys_of_examples, shifted_keys
from attribution.splice.patch_values import PatchValue
from attribution.splice.recording import ErrorMode, FeatureChange, number_in_group
from attribution.splice.resuming import TOKENS
from attribution.splice.spliced_model import SplicedModel

METRIC_KEY = -1
"""Stands for the metric among the keys of targets."""

STAGE: Final = "edges"
_EDGE: Final = ("example", "source", "target", "weight")
_BALANCE: Final = ("target_example", "target_key", "attribution", "undivided", "inflow", "passing")
_TARGETS_AT_ONCE = 16
_NO_TARGET = -2


@dataclass(frozen=True)
class Edges:
    """Edges as columns, one entry per example and edge, and the balance of every target.

    Attributes:
        method: how the edges were measured, in words.
        example, source, target: which pair, and the two nodes by key (`Effects.keys`; METRIC_KEY is the metric).
        weight: e(source→target) in units of the metric; positive: the metric rises.
        target_example, target_key: every target once per example.
        attribution, undivided, inflow, passing: of each target: what it carries, its undivided jump, the sum over all
            of its direct sources, those not kept included, and what comes through changed normalisations. For chord
            edges attribution = undivided + inflow + passing, up to quadrature.
    """

    method: str
    example: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    target_example: np.ndarray
    target_key: np.ndarray
    attribution: np.ndarray
    undivided: np.ndarray
    inflow: np.ndarray
    passing: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def imbalance(self) -> np.ndarray:
        """Per target: attribution − undivided − inflow − passing; quadrature only, for chord edges."""
        return self.attribution - self.undivided - self.inflow - self.passing


@dataclass(frozen=True)
class Carried:
    """The attributions of some target features, and each one's seed: what its flow sends to the activation there."""

    attribution: Float[Tensor, " target"]
    undivided: Float[Tensor, " target"]
    seed: Float[Tensor, "target width"]


@runtime_checkable
class Flow(Protocol):
    """A way of attributing between the two ends of a batch: chord IG or plain gradients."""

    @property
    def ends(self) -> Ends: ...

    @property
    def rule(self) -> Quadrature:
        """The points α_k of every stretch, and their weights."""
        ...

    def carried(self, site: str, change: FeatureChange) -> Carried: ...

    def passing(self, leaf: str, multiplier: Float[Tensor, "slot row pos width"]) -> Float[Tensor, "slot row"]:
        """The flow that comes through a leaf's changed normalisation, and therefore from none of its nodes."""
        ...


def collect_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    flow: Callable[[Situation], Flow],
    targets: Effects,
    sources: Effects | None,
    *,
    method: str,
    settings: Mapping[str, Any],
    error_mode: ErrorMode,
    patch_value: PatchValue,
    least: float,
    batch_size: int,
    with_gradients: bool = False,
    with_projections: bool = False,
    progress: Progress,
) -> Edges:
    """All edges of a flow into the metric and the target features; see `chord_edges` for the arguments.

    `method` is the flow's name in words, `settings` say in plain data what else its numbers depend on. Where chunks are
    kept (`execution.py`), each is a batch.
    """
    for nodes in (targets, sources):
        if nodes is not None and nodes.sites != (TOKENS, *spliced.sites):
            raise ValueError(f"The nodes of the edges are of other sites: {', '.join(nodes.sites[1:])}.")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    wanted = _Wanted(targets.keys()[targets.of_kind("feature")], None if sources is None else sources.keys(), least)

    def measured(examples: range, told: Progress) -> dict[str, np.ndarray]:
        batch = pairs.batch(examples, spliced.model.device)
        situation = prepare(
            spliced,
            batch,
            metric,
            error_mode,
            patch_value,
            with_gradients=with_gradients,
            with_projections=with_projections,
        )
        found = _Found()
        _Batch(situation, flow(situation), wanted, found).run(told)
        return _counted_from(-examples.start, found.arrays())

    def key(examples: range, store: ChunkStore) -> str:
        about = {"error_mode": error_mode, "least": least, "name": method, "settings": settings}
        return chunk_keys(store, spliced, metric, patch_value, **about).key(
            pairs, examples, nodes=wanted.digests(examples)
        )

    parts: list[dict[str, np.ndarray]] = []
    with spliced.model.frozen():
        for examples in pairs.cut(batch_size):
            told = progress_between(progress, examples.start / len(pairs), examples.stop / len(pairs))
            chunk = kept_chunk(STAGE, partial(key, examples), lambda _, e=examples, t=told: measured(e, t))
            parts.append(_counted_from(examples.start, chunk))
            told(1.0)
    return Edges(method, **{name: np.concatenate([part[name] for part in parts]) for name in (*_EDGE, *_BALANCE)})


def _counted_from(start: int, chunk: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same edges with every example number raised."""
    found = dict(chunk)
    for name in ("example", "target_example"):
        found[name] = chunk[name] + start
    for name in ("source", "target", "target_key"):
        found[name] = np.where(chunk[name] == METRIC_KEY, METRIC_KEY, shifted_keys(chunk[name], start))
    return found


@dataclass(frozen=True)
class _Wanted:
    """Keys of targets and sources (None: all), and the least size of an edge."""

    targets: np.ndarray
    sources: np.ndarray | None
    least: float

    def digests(self, examples: range) -> list[str | None]:
        """Digests of the wanted targets and sources of some pairs; None for all."""
        return [
            None if keys is None else digest_of(keys_of_examples(keys, examples))
            for keys in (self.targets, self.sources)
        ]


@dataclass
class _Found:
    """Columns in parts."""

    edges: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    balance: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns by their names in `Edges`."""
        found: dict[str, np.ndarray] = {}
        for names, parts in ((_EDGE, self.edges), (_BALANCE, self.balance)):
            found |= {
                name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
            }
        return found


@dataclass(frozen=True)
class _Targets:
    """Targets of one stretch in slots: slot n holds the n-th target of each row; `_NO_TARGET` where there is none."""

    key: Int[Tensor, "slot row"]
    attribution: Float[Tensor, "slot row"]
    undivided: Float[Tensor, "slot row"]
    seed: Float[Tensor, "slot row pos width"] | None


@dataclass
class _Batch:
    """One batch on its way to edges."""

    situation: Situation
    flow: Flow
    wanted: _Wanted
    found: _Found

    def run(self, progress: Progress) -> None:
        ends = self.flow.ends
        no_limit = torch.full_like(ends.total, torch.inf, dtype=torch.float64)
        parts = sections(self.situation.spliced.sites)
        for number, section in enumerate(reversed(parts)):
            runs = SectionRuns(ends, section, (self.flow.rule,))
            for stretch in section.stretches():
                sources = self._sources(stretch)
                for targets in self._targets(stretch):
                    self._keep(sources, targets, runs.pull_back(stretch, targets.seed, no_limit).multipliers)
            progress((number + 1) / len(parts))

    def _targets(self, stretch: Stretch) -> Iterator[_Targets]:
        total = self.flow.ends.total.detach()
        if stretch.target == METRIC:
            key = torch.full_like(total, METRIC_KEY, dtype=torch.int64)
            yield _Targets(key[None], total[None], torch.zeros_like(total)[None], None)
            return
        change = self.situation.changes.features[stretch.target]
        keys = _feature_keys(self.situation, stretch.target, change)
        chosen = torch.from_numpy(np.isin(keys, self.wanted.targets)).to(change.row.device)
        if not chosen.any():
            return
        change, key = change.only(chosen), torch.from_numpy(keys).to(change.row.device)[chosen]
        carried = self.flow.carried(stretch.target, change)
        slot = number_in_group(change.row)
        for first in range(0, int(slot.max()) + 1, _TARGETS_AT_ONCE):
            here = (slot >= first) & (slot < first + _TARGETS_AT_ONCE)
            yield self._in_slots(stretch.target, slot[here] - first, change.only(here), key[here], carried, here)

    def _in_slots(
        self, site: str, slot: Tensor, change: FeatureChange, key: Tensor, carried: Carried, here: Tensor
    ) -> _Targets:
        place, slots = (slot, change.row), int(slot.max()) + 1
        activation = self.flow.ends.start(site)
        blank = carried.attribution.new_zeros(slots, len(activation))
        seed = activation.new_zeros(slots, *activation.shape)
        seed[*place, change.pos] = carried.seed[here].to(seed.dtype)
        return _Targets(
            torch.full_like(blank, _NO_TARGET, dtype=torch.int64).index_put(place, key),
            blank.index_put(place, carried.attribution[here]),
            blank.index_put(place, carried.undivided[here]),
            seed,
        )

    def _sources(self, stretch: Stretch) -> "dict[str, list[_Sources]]":
        return {leaf: list(self._sources_at(leaf)) for leaf in stretch.leaves}

    def _keep(self, sources: "dict[str, list[_Sources]]", targets: _Targets, multipliers: dict[str, Tensor]) -> None:
        inflow = torch.zeros_like(targets.attribution, dtype=torch.float64)
        passing = torch.zeros_like(inflow)
        example = self.situation.batch.example
        for leaf, multiplier in multipliers.items():
            passing += self.flow.passing(leaf, multiplier).double()
            for group in sources[leaf]:
                for slot, target in enumerate(targets.key):
                    weight = group.weigh(multiplier[slot])
                    inflow[slot].index_add_(0, group.row, weight.double())
                    kept = group.wanted & (target[group.row] != _NO_TARGET)
                    kept &= (weight.abs() >= self.wanted.least) & (weight != 0)
                    columns = (example[group.row[kept]], group.key[kept], target[group.row[kept]], weight[kept])
                    self.found.edges.append(tuple(map(numpy_of, columns)))
        real = targets.key != _NO_TARGET
        _, row = torch.nonzero(real, as_tuple=True)
        values = (targets.key, targets.attribution, targets.undivided, inflow, passing)
        self.found.balance.append(tuple(map(numpy_of, (example[row], *(v[real] for v in values)))))

    def _sources_at(self, leaf: str) -> "Iterator[_Sources]":
        situation, ends = self.situation, self.flow.ends
        if leaf == TOKENS:
            if situation.changes.entry is not None:
                differ = situation.batch.clean_ids != situation.batch.patch_ids
                yield self._vectors(leaf, "token", situation.changes.entry - situation.clean.entry.detach(), differ)
            return
        change = situation.changes.features[leaf]
        frame = ends.mean_frame(leaf)

        def weigh(multiplier: Tensor) -> Tensor:
            return score_features(situation, leaf, change, multiplier, frame=frame)

        yield self._group(_feature_keys(situation, leaf, change), change.row, weigh)
        error = situation.error_change(leaf)
        if error is not None:
            yield self._vectors(leaf, "error", error, (error != 0).any(-1))

    def _vectors(self, leaf: str, kind: str, difference: Tensor, here: Tensor) -> "_Sources":
        row, pos = torch.nonzero(here, as_tuple=True)
        keys = keys_of(self.situation, leaf, kind, row, pos, torch.full_like(row, -1))
        return self._group(keys, row, lambda multiplier: dot(difference, multiplier)[row, pos])

    def _group(self, keys: np.ndarray, row: Tensor, weigh: Callable[[Tensor], Tensor]) -> "_Sources":
        wanted = np.ones(len(keys), bool) if self.wanted.sources is None else np.isin(keys, self.wanted.sources)
        return _Sources(torch.from_numpy(keys).to(row), row, torch.from_numpy(wanted).to(row.device), weigh)


@dataclass(frozen=True)
class _Sources:
    """Nodes of one kind at one leaf. `weigh` gives Δu · multiplier of each, in units of the metric."""

    key: Int[Tensor, " source"]
    row: Int[Tensor, " source"]
    wanted: Tensor
    weigh: Callable[[Float[Tensor, "row pos width"]], Float[Tensor, " source"]]


def _feature_keys(situation: Situation, site: str, change: FeatureChange) -> np.ndarray:
    return keys_of(situation, site, "feature", change.row, change.pos, change.index)
