"""The exact engine: effects of any patches, each by a patched run.

A run executes only its cone (`cone.py`) if the model's blocks are known to it (`attribution/models/architectures.py`).
Otherwise it executes whole blocks from the patched one on, with the same numbers.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.cones.cone import Cone
from attribution.cones.cone_patching import PatchedRuns, WatchedRuns, runs_in_cones
from attribution.cones.decided_in_float64 import decided_in_float64, nodes_to_repeat, strongest_of
from attribution.cones.sweep_cost import block_flops
from attribution.effects.decided_nodes import DecidedNodes
from attribution.effects.measurement import Scores, Situation, numpy_of
from attribution.effects.patches import Patches, all_patches
from attribution.models.architectures import UnknownArchitecture, plain_model
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import progress_between
from attribution.splice.gate_watch import GateWatch, watched_by
from attribution.splice.resuming import resume
from attribution.splice.spliced_model import TOKENS, SplicedModel

LONG_CHUNK_FLOPS = 1e12
"""FLOPs above which a chunk is kept in parts: about half a minute of one processor."""
CHUNK_FLOPS = 3e11
"""FLOPs that a chunk of several pairs aims at: a few seconds of one processor."""
REPEATED_SHARE = 0.01
"""Share of a chunk's patched runs that are repeated in float64 at the most, which costs about 7 times a run."""
REPEATED_FLOPS = 1e10
"""FLOPs in float32 of patched runs that may be repeated whatever their share: about a second of one processor."""
_MOST_PAIRS, _ACTIVE = 16, 32
"""Most pairs in a chunk; nodes per site and position that are assumed to change."""


@dataclass(frozen=True)
class ExactEngine:
    """The effects of all nodes of a batch, or of those in `only`.

    `bytes_at_once` is the most that runs in cones hold at a time; `runs_at_once` is the number of runs of whole blocks
    in one forward. `in_float64`: whether what rounding could decide is measured again in float64; if not, such effects
    are marked as near.
    """

    spliced: SplicedModel
    metric: Metric
    runs_at_once: int
    bytes_at_once: int
    only: np.ndarray | None
    in_float64: bool = True

    def score(self, situation: Situation) -> Scores:
        """The effect of every node whose clean and patch values differ; 0 for the others.

        In `frozen` and `zero` mode, those that rounding could decide are measured again in float64.
        """
        patches, watched, decided = all_patches(situation, self.only), None, DecidedNodes.none()
        if situation.error_mode != "live":
            watched = WatchedRuns(watched_by(self.spliced.dtype))
        runs = self._runs(situation, patches, watched)
        if watched is not None and len(keys := nodes_to_repeat(situation, patches, runs)):
            most = self._most_repeats(situation, runs) if self.in_float64 else 0
            keys, near = strongest_of(keys, situation, patches, runs, most)
            if len(keys):
                decided = decided_in_float64(situation, self.metric, keys, self._runs)
            decided = replace(decided, near=near)
        changes, blank = situation.changes, situation.clean_metric.new_zeros(situation.clean.spliced.shape)
        features = {s: blank.new_zeros(len(c.row)) for s, c in changes.features.items()}
        vectors = {s: torch.zeros_like(blank) for s in (TOKENS, *changes.errors)}
        for patch, of in zip(patches, runs, strict=True):
            columns = decided.columns(patch.keys(situation), numpy_of(of.effect)) if len(decided.keys) else None
            effect = of.effect if columns is None else torch.from_numpy(columns["effect"]).to(of.effect)
            if patch.kind == "feature":
                features[patch.site][patch.number] = effect
            else:
                vectors[patch.site][patch.row, patch.pos] = effect
        return Scores(
            features={s: (c, features[s]) for s, c in changes.features.items()},
            errors={s: vectors[s] for s in changes.errors},
            tokens=None if changes.entry is None else vectors[TOKENS],
            decided=decided,
        )

    def _most_repeats(self, situation: Situation, runs: Sequence[PatchedRuns]) -> int:
        """Patched runs that may be repeated: a share of all, or as many as are cheap."""
        length = situation.batch.clean_ids.shape[1]
        cheap = REPEATED_FLOPS / max(1.0, _rough_flops(self.spliced, 1, length))
        return max(1, int(cheap), int(REPEATED_SHARE * sum(len(of.effect) for of in runs)))

    def _runs(self, situation: Situation, patches: list[Patches], watched: WatchedRuns | None) -> list[PatchedRuns]:
        spliced = situation.spliced
        try:
            cone = Cone.of(spliced, plain_model(spliced.model), situation.clean, situation.error_mode)
        except UnknownArchitecture as unknown:
            warnings.warn(
                f"No cones for {self.spliced.model.name} ({unknown}): every patched run executes whole blocks. The "
                "numbers are the same; exact patching takes longer.",
                stacklevel=2,
            )
            return [self._run_by_run(situation, patch, watched) for patch in patches]
        runs, length = sum(map(len, patches)), situation.batch.clean_ids.shape[1]
        if _rough_flops(self.spliced, runs, length) < LONG_CHUNK_FLOPS:
            return runs_in_cones(situation, cone, self.metric, patches, self.bytes_at_once, watched)
        return self._block_by_block(situation, cone, patches, watched)

    def _block_by_block(
        self, situation: Situation, cone: Cone, patches: list[Patches], watched: WatchedRuns | None
    ) -> list[PatchedRuns]:
        """The same runs, one entered block after the other, so that each block is a part that can be kept."""
        blank, total, done = situation.clean_metric.detach(), sum(map(len, patches)), 0
        entered = [cone.entered_block(patch.site) for patch in patches]
        found: dict[int, PatchedRuns] = {}
        for block in sorted(set(entered)):
            own = {n: patch for n, patch in enumerate(patches) if entered[n] == block}
            start, done = done, done + sum(map(len, own.values()))
            told = replace(situation, progress=progress_between(situation.progress, start / total, done / total))
            arrays = situation.kept(f"block-{block}", partial(self._numbered, told, cone, own, watched))
            for n in own:
                effect, near = (torch.from_numpy(arrays[name]).to(blank.device) for name in (f"{n}", f"near.{n}"))
                found[n] = PatchedRuns(effect.to(blank), near)
        return [found[n] for n in range(len(patches))]

    def _numbered(
        self, situation: Situation, cone: Cone, patches: dict[int, Patches], watched: WatchedRuns | None
    ) -> dict[str, np.ndarray]:
        some = list(patches.values())
        runs = runs_in_cones(situation, cone, self.metric, some, self.bytes_at_once, watched)
        numbered = dict(zip(patches, runs, strict=True))
        effects = {f"{n}": numpy_of(of.effect) for n, of in numbered.items()}
        return effects | {f"near.{n}": numpy_of(of.near) for n, of in numbered.items()}

    def _run_by_run(self, situation: Situation, patch: Patches, watched: WatchedRuns | None) -> PatchedRuns:
        parts = torch.arange(len(patch), device=patch.row.device).split(self.runs_at_once)
        runs = [runs_of_patches(situation, patch, chosen, watched) for chosen in parts]
        return PatchedRuns(torch.cat([of.effect for of in runs]), torch.cat([of.near for of in runs]))


def pairs_in_chunk(spliced: SplicedModel, pairs: PromptPairs) -> int:
    """Pairs in a chunk, from shapes alone, so that every run cuts its pairs in the same way; a power of two."""
    length = max(map(len, pairs))
    of_a_pair = _rough_flops(spliced, _ACTIVE * length * len(spliced.sites), length)
    return 1 << int(np.clip(CHUNK_FLOPS / max(1.0, of_a_pair), 1, _MOST_PAIRS)).bit_length() - 1


def _rough_flops(spliced: SplicedModel, runs: int, length: int) -> float:
    """Rough FLOPs of patched runs: each executes half of the blocks at half of the positions."""
    return runs * length * sum(block_flops(spliced.model)) / 4


def effects_of_patches(
    situation: Situation, patch: Patches, chosen: Int[Tensor, " chosen"]
) -> Float[Tensor, " chosen"]:
    """m(do(u = p_u)) − m(clean) of the chosen patches, each in a run of its own that executes whole blocks."""
    return runs_of_patches(situation, patch, chosen, None).effect


def runs_of_patches(
    situation: Situation, patch: Patches, chosen: Int[Tensor, " chosen"], watched: WatchedRuns | None
) -> PatchedRuns:
    """As `effects_of_patches`, with the runs whose gates come near; none without `watched`."""
    row, pos = patch.row[chosen], patch.pos[chosen]
    watch = None if watched is None else GateWatch.over(watched.rule, watched.decides, pos)
    near = torch.zeros_like(row, dtype=torch.bool) if watch is None else watch.near
    with torch.no_grad():
        output = patch.outputs(situation, chosen)
        given = situation.spliced, situation.clean, row, patch.site, output, situation.error_mode
        logits = resume(*given, watch=watch)
        return PatchedRuns(situation.metric(logits, situation.batch.rows(row)) - situation.clean_metric[row], near)
