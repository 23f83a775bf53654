"""Exact patching as it is commonly done: whole forward passes of a hooked model, one for each node or many in a batch.

What patching a node adds to an activation is worked out before, so that only the forward passes are measured. Effects
are those of `live` mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution import Effects, counterfactual
from attribution.models.block_calls import BlockCall
from attribution.models.hooks import SiteFunction, hooked, logits_with
from attribution.models.site_names import ENTRY_SITE
from attribution.splice.node_keys import KINDS
from attribution.splice.resuming import at_least_float32
from benchmarks.cases import Case


@dataclass(frozen=True)
class Write:
    """What patching one node adds to an activation of one prompt."""

    example: int
    hook: str
    position: int
    added: Tensor


@dataclass(frozen=True)
class PlainHooks:
    """Runs whole forward passes of a case's model, with hooks."""

    case: Case

    def write(self, effects: Effects, node: int) -> Write:
        """The write of the node that is entry `node` of the effects."""
        example, position = int(effects.example[node]), int(effects.position[node])
        hook, index = effects.sites[effects.site[node]], int(effects.index[node])
        kind = KINDS[effects.kind[node]]
        if kind == "token":
            clean, patch = (run[ENTRY_SITE] for run in self._runs[example])
            return Write(example, ENTRY_SITE, position, (patch - clean)[0, position])
        parts = [self._parts(run[hook], hook) for run in self._runs[example]]
        (features, error), (new_features, new_error) = parts[0], parts[1] if self._is_patched else (None, None)
        if kind == "error":
            added = -error if new_error is None else new_error - error
            return Write(example, hook, position, added[0, position])
        gain = -features if new_features is None else new_features - features
        return Write(example, hook, position, gain[0, position, index] * self.case.spliced.saes[hook].W_dec[index])

    def one(self, write: Write) -> float:
        """The effect, measured by one forward pass that computes all logits, as `run_with_hooks` does."""
        ids = self._tensor([self.case.pairs[write.example].clean_ids])

        def add(activation: Tensor, hook: object) -> Tensor:
            del hook
            changed = activation.clone()
            changed[0, write.position] += write.added
            return changed

        logits = self.case.spliced.model.module.run_with_hooks(ids, fwd_hooks=[(write.hook, add)])
        return self._metric(logits[:, -1], write.example)[0] - self._clean_metric[write.example]

    def batched(self, writes: Sequence[Write]) -> np.ndarray:
        """The effects of writes at one hook of one prompt, measured by one forward pass.

        It computes all blocks at all positions, but only two logits.
        """
        model, first = self.case.spliced.model, writes[0]
        positions = self._tensor([w.position for w in writes])
        added, runs = torch.stack([w.added for w in writes]), self._tensor(range(len(writes)))

        def add(activation: Tensor) -> Tensor:
            changed = activation.clone()
            changed[runs, positions] += added
            return changed

        pair, (entry, calls) = self.case.pairs[first.example], self._blocks[first.example]
        rows = torch.zeros_like(runs)
        hidden = entry.expand(len(writes), -1, -1)
        hooks: dict[str, SiteFunction] = {} if first.hook == ENTRY_SITE else {first.hook: add}
        with model.frozen(), hooked(model, hooks):
            start = add(hidden) if first.hook == ENTRY_SITE else hidden
            hidden = model.run_blocks(start, 0, [call.for_rows(rows) for call in calls])
            columns = self._tensor([[pair.answer_id, pair.foil_id]]).expand(len(writes), -1)
            logits = model.head_columns(hidden[:, -1], columns)
        logits = at_least_float32(logits)
        return (logits[:, 0] - logits[:, 1]).cpu().numpy() - self._clean_metric[first.example]

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, device=self.case.spliced.model.device)

    @property
    def _is_patched(self) -> bool:
        return self.case.patch_value is counterfactual

    def _parts(self, x: Tensor, site: str) -> tuple[Tensor, Tensor]:
        """Features and error. Whole activations are encoded, as in our runs, so that rounding is the same."""
        sae = self.case.spliced.saes[site]
        encoding = sae.encode(x)
        return encoding.features, x - sae.decode(encoding.features, encoding.frame)

    @cached_property
    def _runs(self) -> list[list[dict[str, Tensor]]]:
        """The activations of every pair's clean and patch prompt, at the sites and at block 0's input."""
        module, names = self.case.spliced.model.module, [ENTRY_SITE, *self.case.spliced.sites]
        prompts = [(pair.clean_ids, pair.patch_ids) for pair in self.case.pairs]
        return [[module.run_with_cache(self._tensor([ids]), names_filter=names)[1] for ids in two] for two in prompts]

    @cached_property
    def _blocks(self) -> list[tuple[Tensor, list[BlockCall]]]:
        """For each prompt, the residual stream into block 0, and what every block is called with besides that."""
        found: list[tuple[Tensor, list[BlockCall]]] = []
        for pair in self.case.pairs:
            blocks: list[tuple[Tensor, BlockCall]] = []
            logits_with(self.case.spliced.model, self._tensor([pair.clean_ids]), {}, blocks=blocks)
            found.append((blocks[0][0], [call for _, call in blocks]))
        return found

    @cached_property
    def _clean_metric(self) -> list[float]:
        model = self.case.spliced.model
        ids = [self._tensor([pair.clean_ids]) for pair in self.case.pairs]
        return [self._metric(model.logits(one)[:, -1], n)[0] for n, one in enumerate(ids)]

    def _metric(self, logits: Tensor, example: int) -> list[float]:
        pair, logits = self.case.pairs[example], at_least_float32(logits)
        return (logits[:, pair.answer_id] - logits[:, pair.foil_id]).tolist()


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` whole numbers, spread evenly from 0 to `count` − 1."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(int)).tolist()


def batches_of_neighbours(effects: Effects, size: int, batches: int) -> list[list[int]]:
    """At most `batches` batches, spread over all nodes. Each has up to `size` nodes at one site of one prompt."""
    place = effects.example.astype(np.int64) * len(effects.sites) + effects.site
    found: list[list[int]] = []
    for start in evenly_spaced(len(effects), batches):
        group = np.flatnonzero(place == place[start])
        first = int(min(start, max(group[0], group[-1] + 1 - size)))
        found.append(list(range(first, int(min(first + size, group[-1] + 1)))))
    return found
