"""Edges of a flow in one batch: direct effects of nodes on nodes, every spliced site in between held fixed.

    e(u→d) = Δu · Σ_k w_k ∂/∂u [seed(d) · x_d](α_k)        seed(d): multiplier of x_d, the activation at d's place, that
                                                           comes from d alone

The direct path from u to d is the stretch of network between their sites, skip connections included. A `Flow` gives the
seeds and the points α_k: chord IG (`chord_edges.py`) or the plain gradient (`gradient_edges.py`). One backward of one
section serves one target of every row of the batch, and no tensor of size d_sae is made for a target.
Source: METHODS of this project, section 4; Marks et al. 2024 for edges by gradients.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.chord.stretches import METRIC, Ends, SectionRuns, Stretch, sections
from attribution.edges.edges import METRIC_KEY
from attribution.effects.measurement import Situation, numpy_of
from attribution.effects.patches import keys_of
from attribution.effects.quadrature import Quadrature
from attribution.effects.scoring import dot, score_features
from attribution.runs.chunk_key import digest_of
from attribution.runs.progress import Progress
from attribution.splice.node_keys import keys_of_examples
from attribution.splice.recording import FeatureChange, number_in_group
from attribution.splice.resuming import TOKENS

EDGE_COLUMNS: Final = ("example", "source", "target", "weight")
BALANCE_COLUMNS: Final = ("target_example", "target_key", "attribution", "undivided", "inflow", "passing")
_TARGETS_AT_ONCE = 16
_NO_TARGET = -2


@dataclass(frozen=True)
class CarriedFlow:
    """What some target features carry, their undivided jumps, and the seed of each."""

    attribution: Float[Tensor, " target"]
    undivided: Float[Tensor, " target"]
    seed: Float[Tensor, "target width"]


@runtime_checkable
class Flow(Protocol):
    """A way of attributing between the two ends of a batch: chord IG or plain gradients."""

    @property
    def ends(self) -> Ends:
        """The two runs that the flow goes between."""
        ...

    @property
    def rule(self) -> Quadrature:
        """The points α_k of every stretch, and their weights."""
        ...

    def carried(self, site: str, change: FeatureChange) -> CarriedFlow:
        """What some changed features of a site carry."""
        ...

    def passing(self, leaf: str, multiplier: Float[Tensor, "slot row pos width"]) -> Float[Tensor, "slot row"]:
        """The flow that comes through a leaf's changed normalisation, and therefore from none of its nodes."""
        ...


@dataclass(frozen=True)
class WantedEdges:
    """Which edges to keep: the keys of their targets and sources (None for all sources), and their least |weight|."""

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
class FoundEdges:
    """Columns of edges and of balances, in parts."""

    edges: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    balance: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns by their names in `Edges`."""
        found: dict[str, np.ndarray] = {}
        for names, parts in ((EDGE_COLUMNS, self.edges), (BALANCE_COLUMNS, self.balance)):
            found |= {
                name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
            }
        return found


@dataclass(frozen=True)
class _Targets:
    """Targets of one stretch in slots: slot n holds the n-th target of each row, or `_NO_TARGET` if it has fewer."""

    key: Int[Tensor, "slot row"]
    attribution: Float[Tensor, "slot row"]
    undivided: Float[Tensor, "slot row"]
    seed: Float[Tensor, "slot row pos width"] | None


@dataclass
class FlowEdges:
    """The edges of one batch; `run` adds them to `found`."""

    situation: Situation
    flow: Flow
    wanted: WantedEdges
    found: FoundEdges

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
        self, site: str, slot: Tensor, change: FeatureChange, key: Tensor, carried: CarriedFlow, here: Tensor
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
