"""Exact effects of patches in their cones.

    effect(u) = m(do(u = p_u)) − m(clean)

Both metrics are computed by the same plain blocks, so that their rounding agrees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.cones.cone import Cone, RunStarts
from attribution.effects.measurement import Situation
from attribution.effects.patches import Patches
from attribution.prompts.metrics import Metric
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.resuming import at_least_float32

_ROWS_OF_ALL_LOGITS = 256
_ROWS_OF_SOME_LOGITS = 4096


def effects_in_cones(
    situation: Situation, cone: Cone, metric: Metric, patches: Sequence[Patches], bytes_at_once: int = BYTES_AT_ONCE
) -> list[Float[Tensor, "..."]]:
    """The effect of every patch, one tensor for each of `patches`, in units of the metric.

    A patch that does not reach the logits that the metric reads has effect 0. `bytes_at_once` is the most that the runs
    of one batch hold at a time.
    """
    found = [situation.clean_metric.new_zeros(len(patch)) for patch in patches]
    with torch.no_grad():
        sweep = _Sweep(situation, cone, metric, bytes_at_once)
        clean = sweep.clean_metric()
        groups = sweep.groups(patches)
        total, done = sum(group.work(cone) for group in groups), 0
        for group in groups:
            for part, values in sweep.metrics(group):
                group.spread(part, values - clean[group.row[part]], found)
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

    def spread(self, chosen: Int[Tensor, " chosen"], values: Float[Tensor, " chosen"], into: list[Tensor]) -> None:
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

    def metrics(self, group: _Group) -> Iterator[tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]]:
        """The metric under the patches of a group, batch by batch."""
        for wave in self.cone.waves(group.row, group.pos, self.bytes_at_once):
            vectors = self._vectors(group.only(torch.cat(wave)))
            for chosen, own in zip(wave, vectors.split([len(batch) for batch in wave]), strict=True):
                row = group.row[chosen]
                starts = RunStarts(group.block, row, group.pos[chosen], own)
                yield chosen, self._metric_at(self.cone.upwards(starts), row)

    def _vectors(self, group: _Group) -> Float[Tensor, "run d_model"]:
        """The residual stream into the group's block at each run's own position."""
        found = self.situation.clean.entry.new_empty(len(group.own), self.situation.clean.entry.shape[-1])
        for place in torch.unique(group.own).tolist():
            patch, (chosen,) = group.patches[place], torch.nonzero(group.own == place, as_tuple=True)
            row, pos = group.row[chosen], group.pos[chosen]
            output = patch.written(self.situation, group.number[chosen])
            found[chosen] = self.cone.start(patch.site, row, pos, output)
        return found

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
