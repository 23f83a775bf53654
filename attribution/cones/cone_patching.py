"""Exact effects of patches in their cones.

    effect(u) = m(do(u = p_u)) − m(clean)

Both metrics are computed by the same plain blocks, so that their rounding agrees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.cones.cone import Cone, RunStarts
from attribution.effects.measurement import Situation
from attribution.effects.patches import Patches
from attribution.prompts.metrics import Metric
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.gate_rounding import GateRule
from attribution.splice.gate_watch import GateWatch
from attribution.splice.resuming import at_least_float32

_ROWS_OF_ALL_LOGITS = 256
_ROWS_OF_SOME_LOGITS = 4096


@dataclass(frozen=True)
class WatchedRuns:
    """Which gates of patched runs are near their threshold, and whether these fall by the rule (`gate_watch.py`)."""

    rule: GateRule
    decides: bool = False


@dataclass(frozen=True)
class PatchedRuns:
    """The effect of each patch, in units of the metric, and whether a gate in its run is near its threshold."""

    effect: Float[Tensor, " patch"]
    near: Bool[Tensor, " patch"]


def effects_in_cones(
    situation: Situation, cone: Cone, metric: Metric, patches: Sequence[Patches], bytes_at_once: int = BYTES_AT_ONCE
) -> list[Float[Tensor, "..."]]:
    """The effect of every patch, one tensor for each of `patches`, in units of the metric.

    A patch that does not reach the logits that the metric reads has effect 0. `bytes_at_once` is the most that the runs
    of one batch hold at a time.
    """
    return [runs.effect for runs in runs_in_cones(situation, cone, metric, patches, bytes_at_once)]


def runs_in_cones(
    situation: Situation,
    cone: Cone,
    metric: Metric,
    patches: Sequence[Patches],
    bytes_at_once: int = BYTES_AT_ONCE,
    watched: WatchedRuns | None = None,
) -> list[PatchedRuns]:
    """As `effects_in_cones`, with the runs whose gates come near; none without `watched`."""
    blank = situation.clean_metric
    found = [PatchedRuns(blank.new_zeros(len(p)), torch.zeros_like(p.row, dtype=torch.bool)) for p in patches]
    effects, flags = [runs.effect for runs in found], [runs.near for runs in found]
    with torch.no_grad():
        sweep = _Sweep(situation, cone, metric, bytes_at_once, watched)
        clean = sweep.clean_metric()
        groups = sweep.groups(patches)
        total, done = sum(group.work(cone) for group in groups), 0
        for group in groups:
            for part, values, near in sweep.metrics(group):
                group.spread(part, values - clean[group.row[part]], effects)
                group.spread(part, near, flags)
                done += group.only(part).work(cone)
                situation.progress(done / total)
    return found


@dataclass(frozen=True)
class _Group:
    """Patches that enter one block: the n-th is patch `number[n]` of `patches[own[n]]`."""

    block: int
    patches: Sequence[Patches]
    own: Int[Tensor, " patch"]
    number: Int[Tensor, " patch"]
    row: Int[Tensor, " patch"]
    pos: Int[Tensor, " patch"]

    def only(self, chosen: Int[Tensor, " chosen"]) -> "_Group":
        columns = (c[chosen] for c in (self.own, self.number, self.row, self.pos))
        return _Group(self.block, self.patches, *columns)

    def work(self, cone: Cone) -> int:
        """Positions that all runs execute in all blocks, as a measure of progress."""
        return int(cone.lengths(self.row, self.pos).sum()) * max(1, len(cone.layers) - self.block)

    def spread(self, chosen: Int[Tensor, " chosen"], values: Tensor, into: list[Tensor]) -> None:
        """Write the values of some patches to their places in the result."""
        own, number = self.own[chosen], self.number[chosen]
        for place in torch.unique(own).tolist():
            into[place][number[own == place]] = values[own == place].to(into[place].dtype)


@dataclass(frozen=True)
class _Sweep:
    situation: Situation
    cone: Cone
    metric: Metric
    bytes_at_once: int
    watched: WatchedRuns | None = None

    def groups(self, patches: Sequence[Patches]) -> list[_Group]:
        """The patches by the block they enter, without those that reach no position that the metric reads."""
        read, ends, found = self.cone.read, self.cone.ends, []
        by_block: dict[int, list[tuple[int, Patches]]] = {}
        for place, patch in enumerate(patches):
            by_block.setdefault(self.cone.entered_block(patch.site), []).append((place, patch))
        for block, some in by_block.items():
            own = torch.cat([torch.full_like(p.row, place) for place, p in some])
            number = torch.cat([torch.arange(len(p), device=p.row.device) for _, p in some])
            row, pos = torch.cat([p.row for _, p in some]), torch.cat([p.pos for _, p in some])
            group = _Group(block, patches, own, number, row, pos)
            reaches = pos <= ends[row]
            if block == len(self.cone.layers):
                reaches = (read[row] == pos[:, None]).any(1)
            found.append(group if reaches.all() else group.only(torch.nonzero(reaches)[:, 0]))
        return found

    def metrics(
        self, group: _Group
    ) -> Iterator[tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"], Bool[Tensor, " chosen"]]]:
        """The metric under the patches of a group, batch by batch, and which of these runs have a gate that is near."""
        for wave in self.cone.waves(group.row, group.pos, self.bytes_at_once):
            sizes = [len(batch) for batch in wave]
            vectors, near = self._vectors(group.only(torch.cat(wave)))
            for chosen, own, flags in zip(wave, vectors.split(sizes), near.split(sizes), strict=True):
                row, pos = group.row[chosen], group.pos[chosen]
                cone, seen = self._watching(pos)
                metric = self._metric_at(cone.upwards(RunStarts(group.block, row, pos, own)), row)
                yield chosen, metric, flags | seen

    def _watching(self, pos: Int[Tensor, " run"]) -> tuple[Cone, Bool[Tensor, " run"]]:
        """The cone that watches runs with these positions, and the flags it will set."""
        if self.watched is None:
            return self.cone, torch.zeros_like(pos, dtype=torch.bool)
        watch = GateWatch.over(self.watched.rule, self.watched.decides, pos)
        return replace(self.cone, watch=watch), watch.near

    def _vectors(self, group: _Group) -> tuple[Float[Tensor, "run d_model"], Bool[Tensor, " run"]]:
        """The residual stream into the group's block at each run's own position, and which runs have a gate near."""
        found = self.situation.clean.entry.new_empty(len(group.own), self.situation.clean.entry.shape[-1])
        near = torch.zeros_like(group.own, dtype=torch.bool)
        for place in torch.unique(group.own).tolist():
            patch, (chosen,) = group.patches[place], torch.nonzero(group.own == place, as_tuple=True)
            row, pos = group.row[chosen], group.pos[chosen]
            output = patch.written(self.situation, group.number[chosen])
            cone, seen = self._watching(pos)
            found[chosen] = cone.start(patch.site, row, pos, output)
            near[chosen] = seen
        return found, near

    def clean_metric(self) -> Float[Tensor, " row"]:
        """The metric of the clean run, computed by the same blocks as the patched runs."""
        read = self.cone.read
        rows = torch.arange(len(read), device=read.device)
        return self._metric_at(self.cone.clean.end[rows[:, None], read], rows)

    def _metric_at(self, hidden: Float[Tensor, "run read d_model"], rows: Int[Tensor, " run"]) -> Float[Tensor, " run"]:
        most = max(1, _ROWS_OF_ALL_LOGITS // hidden.shape[1]) if self.metric.some is None else _ROWS_OF_SOME_LOGITS
        parts = torch.arange(len(rows), device=rows.device).split(most)
        return torch.cat([self._metric_of_part(hidden[n], rows[n]) for n in parts])

    def _metric_of_part(self, hidden: Tensor, rows: Tensor) -> Tensor:
        batch, model, some = self.situation.batch.rows(rows), self.situation.spliced.model, self.metric.some
        if some is None:
            logits = at_least_float32(model.head(hidden))
            return self.situation.metric(logits if batch.read.ndim == 2 else logits[:, 0], batch)
        columns = some.columns(batch).clamp(min=0)
        return some.of(at_least_float32(model.head_columns(hidden[:, 0], columns)), batch)
