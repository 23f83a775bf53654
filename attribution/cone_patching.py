"""Exact effects of patches, each in its cone: m(do(u = p_u)) − m(clean), both computed by the same plain blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.cone import Cone, Starts, needed_logits
from attribution.measurement import Situation
from attribution.metric import Metric
from attribution.patches import Patches
from attribution.resuming import at_least_float32

BYTES_AT_ONCE = 256 * 2**20
_ROWS_OF_ALL_LOGITS = 256
_ROWS_OF_SOME_LOGITS = 4096


def effects_in_cones(
    situation: Situation, cone: Cone, metric: Metric, patches: Sequence[Patches], bytes_at_once: int = BYTES_AT_ONCE
) -> list[Float[Tensor, "..."]]:
    """The effect of every patch, one tensor for each of `patches`. A patch that reaches nothing has effect 0.

    `bytes_at_once` bounds what the runs of one batch hold at a time.
    """
    found = [situation.clean_metric.new_zeros(len(patch)) for patch in patches]
    by_block: dict[int, list[int]] = {}
    for number, patch in enumerate(patches):
        by_block.setdefault(cone.entered_block(patch.site), []).append(number)
    total, done = sum(map(len, patches)), 0
    with torch.no_grad():
        sweep = _Sweep(situation, cone, metric, bytes_at_once)
        clean = sweep.clean_metric()
        for row in range(len(situation.batch.last)):
            for block, numbers in by_block.items():
                parts = [patches[n] for n in numbers]
                chosen = [sweep.of_row(part, row, block) for part in parts]
                values = sweep.metric_of(row, block, parts, chosen).split([len(c) for c in chosen])
                for number, own, value in zip(numbers, chosen, values, strict=True):
                    found[number][own] = (value - clean[row]).to(found[number].dtype)
                done += sum(int((part.row == row).sum()) for part in parts)
                situation.progress(done / total)
    return found


@dataclass(frozen=True)
class _Sweep:
    situation: Situation
    cone: Cone
    metric: Metric
    bytes_at_once: int

    def of_row(self, patch: Patches, row: int, block: int) -> Int[Tensor, " chosen"]:
        """The patches of a row that reach the metric: above the last block only those at the last position do."""
        inside = patch.row == row
        if block == len(self.cone.layers):
            inside &= patch.pos == self.cone.recording.last[row]
        return torch.nonzero(inside)[:, 0]

    def metric_of(
        self, row: int, block: int, patches: Sequence[Patches], chosen: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """The metric under the chosen patches of one row, which enter the same block."""
        pos = torch.cat([patch.pos[own] for patch, own in zip(patches, chosen, strict=True)])
        if len(pos) == 0:
            return self.situation.clean_metric.new_zeros(0)
        most = max(1, self.bytes_at_once // self.cone.bytes_of_a_run(1))
        each = [(patch, part) for patch, own in zip(patches, chosen, strict=True) for part in own.split(most)]
        vectors = torch.cat([self._start(patch, row, part) for patch, part in each])
        order = torch.argsort(pos, stable=True)
        last = self.cone.at_last(Starts(row, block, pos[order], vectors[order]), self.bytes_at_once)
        values = self._metric_at(last, torch.full_like(order, row))
        found = torch.empty_like(values)
        found[order] = values
        return found

    def clean_metric(self) -> Float[Tensor, " row"]:
        """Of the recorded run, by the same blocks as the patched runs."""
        last = self.cone.recording.last
        rows = torch.arange(len(last), device=last.device)
        return self._metric_at(self.cone.clean.end[rows, last], rows)

    def _start(self, patch: Patches, row: int, chosen: Tensor) -> Float[Tensor, "run d_model"]:
        return self.cone.start(patch.site, row, patch.pos[chosen], patch.written(self.situation, chosen))

    def _metric_at(self, hidden: Float[Tensor, "run d_model"], rows: Int[Tensor, " run"]) -> Float[Tensor, " run"]:
        most = _ROWS_OF_ALL_LOGITS if self.metric.some is None else _ROWS_OF_SOME_LOGITS
        parts = torch.arange(len(rows), device=rows.device).split(most)
        return torch.cat([self._metric_of_part(hidden[n], rows[n]) for n in parts])

    def _metric_of_part(self, hidden: Tensor, rows: Tensor) -> Tensor:
        batch, model, some = self.situation.batch.rows(rows), self.situation.spliced.model, self.metric.some
        if some is None:
            return self.situation.metric(at_least_float32(needed_logits(model, hidden, None)), batch)
        return some.of(at_least_float32(needed_logits(model, hidden, some.columns(batch))))
