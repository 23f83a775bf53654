"""Exact activation patching: the truth that every estimate is measured against.

    effect(u) = m(do(u = p_u)) − m(clean)

One run per node, batched, in its cone (`cone.py`): only what the patch can change is executed. A model whose blocks
are not known runs whole blocks from the patched one on, and says so. In `live` mode nothing else is spliced into the
run; in `frozen` and `zero` mode the encoders downstream are in it. Source: Vig et al. 2020; Meng et al. 2022.
"""

import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.cones.cone import Cone
from attribution.cones.cone_patching import effects_in_cones
from attribution.cones.sweep_cost import block_flops
from attribution.effects.effects import Effects
from attribution.effects.measurement import (
    SOURCES,
    Method,
    Progress,
    Scores,
    Situation,
    measure,
    numpy_of,
    silent,
    within,
)
from attribution.effects.patches import Patches, all_patches
from attribution.models.plain_blocks import UnknownArchitecture, plain_model
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.resuming import resume
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel

LONG = 1e12
"""From so many FLOPs on, about half a minute of a processor, a chunk is kept in parts."""
CHUNK = 3e11
"""FLOPs of a chunk of several pairs, about: a few seconds of a processor."""
_MOST_PAIRS, _ACTIVE = 16, 32
"""Pairs of a chunk at most; nodes at a site and position that are taken to differ."""
PARTIAL = "none: not every node was measured"


def exact_patching(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    runs_at_once: int = 256,
    bytes_at_once: int = BYTES_AT_ONCE,
    only: np.ndarray | None = None,
    progress: Progress = silent,
) -> Effects:
    """Exact effect of every feature, error and token whose clean and patch values differ.

    Arguments as in `attribution_patching`; `bytes_at_once` is what patched runs in cones hold at a time,
    `runs_at_once` the number of those of whole blocks in one forward; `only` are the
    keys (`Effects.keys`) of the nodes to measure, by default all.
    """
    if runs_at_once < 1:
        raise ValueError(f"runs_at_once must be at least 1; got {runs_at_once}.")
    law = SOURCES if only is None else PARTIAL
    patcher = _Patcher(spliced, metric, runs_at_once, bytes_at_once, only)
    in_chunk = _pairs_in_chunk(spliced, pairs)
    method = Method(
        "exact_patching", patcher.score, ("live", "frozen", "zero"), law, only=only, pairs_in_chunk=in_chunk
    )
    effects = measure(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )
    return effects if only is None else effects.subset(np.isin(effects.keys(), only))


@dataclass(frozen=True)
class _Patcher:
    """Measures patches: in cones where the model's blocks are known, else by runs from the patched block on."""

    spliced: SplicedModel
    metric: Metric
    runs_at_once: int
    bytes_at_once: int
    only: np.ndarray | None

    def score(self, situation: Situation) -> Scores:
        patches = all_patches(situation, self.only)
        changes, blank = situation.changes, situation.clean_metric.new_zeros(situation.clean.spliced.shape)
        features = {s: blank.new_zeros(len(c.row)) for s, c in changes.features.items()}
        vectors = {s: torch.zeros_like(blank) for s in (TOKENS, *changes.errors)}
        for patch, effect in zip(patches, self._effects(situation, patches), strict=True):
            if patch.kind == "feature":
                features[patch.site][patch.number] = effect
            else:
                vectors[patch.site][patch.row, patch.pos] = effect
        return Scores(
            features={s: (c, features[s]) for s, c in changes.features.items()},
            errors={s: vectors[s] for s in changes.errors},
            tokens=None if changes.entry is None else vectors[TOKENS],
        )

    def _effects(self, situation: Situation, patches: list[Patches]) -> list[Tensor]:
        try:
            cone = Cone.of(self.spliced, plain_model(self.spliced.model), situation.clean, situation.error_mode)
        except UnknownArchitecture as unknown:
            warnings.warn(
                f"No cones for {self.spliced.model.name} ({unknown}): every patched run executes whole blocks. The "
                "numbers are the same; exact patching takes longer.",
                stacklevel=2,
            )
            return [self._run_by_run(situation, patch) for patch in patches]
        runs, length = sum(map(len, patches)), situation.batch.clean_ids.shape[1]
        if _roughly(self.spliced, runs, length) < LONG:
            return effects_in_cones(situation, cone, self.metric, patches, self.bytes_at_once)
        return self._block_by_block(situation, cone, patches)

    def _block_by_block(self, situation: Situation, cone: Cone, patches: list[Patches]) -> list[Tensor]:
        """The same runs, those that enter one block at a time: a part of the work each, which survives by itself."""
        blank, total, done = situation.clean_metric.detach(), sum(map(len, patches)), 0
        entered = [cone.entered_block(patch.site) for patch in patches]
        found: dict[int, Tensor] = {}
        for block in sorted(set(entered)):
            own = {n: patch for n, patch in enumerate(patches) if entered[n] == block}
            start, done = done, done + sum(map(len, own.values()))
            told = replace(situation, progress=within(situation.progress, start / total, done / total))
            arrays = situation.kept(f"block-{block}", partial(self._numbered, told, cone, own))
            found |= {n: torch.from_numpy(arrays[str(n)]).to(blank) for n in own}
        return [found[n] for n in range(len(patches))]

    def _numbered(self, situation: Situation, cone: Cone, patches: dict[int, Patches]) -> dict[str, np.ndarray]:
        effects = effects_in_cones(situation, cone, self.metric, list(patches.values()), self.bytes_at_once)
        return {str(n): numpy_of(effect) for n, effect in zip(patches, effects, strict=True)}

    def _run_by_run(self, situation: Situation, patch: Patches) -> Tensor:
        parts = torch.arange(len(patch), device=patch.row.device).split(self.runs_at_once)
        return torch.cat([effects_of_patches(situation, patch, chosen) for chosen in parts])


def _pairs_in_chunk(spliced: SplicedModel, pairs: PromptPairs) -> int:
    """From shapes alone, so that every run cuts its pairs alike; a power of two, so that few lengths matter."""
    length = max(map(len, pairs))
    of_a_pair = _roughly(spliced, _ACTIVE * length * len(spliced.sites), length)
    return 1 << int(np.clip(CHUNK / max(1.0, of_a_pair), 1, _MOST_PAIRS)).bit_length() - 1


def _roughly(spliced: SplicedModel, runs: int, length: int) -> float:
    """FLOPs of patched runs, roughly: half of the blocks at half of the positions, each."""
    return runs * length * sum(block_flops(spliced.model)) / 4


def effects_of_patches(
    situation: Situation, patch: Patches, chosen: Int[Tensor, " chosen"]
) -> Float[Tensor, " chosen"]:
    """m(do(u = p_u)) − m(clean) for some of the patches, each in a run of its own."""
    row = patch.row[chosen]
    with torch.no_grad():
        output = patch.outputs(situation, chosen)
        logits = resume(situation.spliced, situation.clean, row, patch.site, output, situation.error_mode)
        return situation.metric(logits, situation.batch.rows(row)) - situation.clean_metric[row]
