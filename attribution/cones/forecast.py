"""Forecast of the time that exact patching of all nodes takes.

    seconds = FLOPs of all patches / rate        rate = FLOPs / seconds of a small random sample of them

FLOPs are those of the cones (`cone_cost.py`). If the model's blocks are not known, every patch runs whole blocks, at
two FLOPs per entry of their matrices and position. If there are many pairs, a random sample is counted and scaled up.
The samples are seeded but their time is not, so two forecasts differ as much as the load of the machine.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.cones.cone import Cone
from attribution.cones.cone_cost import cone_flops
from attribution.cones.cone_patching import effects_in_cones
from attribution.cones.exact_engine import effects_of_patches
from attribution.cones.sweep_cost import block_flops, head_flops
from attribution.effects.measurement import Situation, prepare
from attribution.effects.patches import Patches, all_patches
from attribution.models.architectures import UnknownArchitecture, plain_model
from attribution.models.site_names import layer_of
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.resuming import TOKENS
from attribution.splice.spliced_model import ErrorMode, SplicedModel

MOST_PAIRS = 64
PROBE_SECONDS = 1.0
_RUNS_OF_A_SAMPLE = 2048
_FLOPS_OF_A_SAMPLE = 2e10


@dataclass(frozen=True)
class Forecast:
    """The predicted cost of patching every node.

    `nodes` counts a node once per example, `rate` is in FLOPs per second, and `in_cones` says whether runs are cones.
    `pairs_looked_at` of the `pairs` were counted.
    """

    nodes: int
    flops: float
    rate: float
    in_cones: bool
    pairs: int
    pairs_looked_at: int

    @property
    def seconds(self) -> float:
        """Predicted time of patching all nodes."""
        return self.flops / self.rate


def forecast(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    bytes_at_once: int = BYTES_AT_ONCE,
    seed: int = 0,
) -> Forecast:
    """Count the patches of the pairs, or of `MOST_PAIRS` random ones, and time a sample of them for about a second.

    Raises:
        ValueError: clean and patch values of all nodes are equal.
    """
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    draw = np.random.default_rng(seed)
    some = PromptPairs(tuple(pairs.pairs[n] for n in draw.permutation(len(pairs))[:MOST_PAIRS].tolist()))
    nodes, flops, rate, in_cones = 0, 0.0, 0.0, True
    with spliced.model.frozen(), torch.no_grad():
        for batch in some.batches(batch_size, spliced.model, metric.positions):
            situation = prepare(spliced, batch, metric, error_mode, patch_value)
            work = _Work.of(situation, metric, bytes_at_once)
            patches = all_patches(situation)
            own = sum(map(len, patches))
            nodes, flops = nodes + own, flops + work.flops(patches)
            in_cones = work.cone is not None
            if rate == 0.0 and own > 0:
                rate = _measured_rate(work, patches, work.flops(patches) / own, draw)
    if nodes == 0:
        raise ValueError("Clean and patch values of all nodes are equal: there is nothing to patch.")
    scale = len(pairs) / len(some)
    return Forecast(round(scale * nodes), scale * flops, rate, in_cones, len(pairs), len(some))


@dataclass(frozen=True)
class _Work:
    """Patching of one batch: in cones, or by runs of whole blocks if `cone` is None."""

    situation: Situation
    metric: Metric
    cone: Cone | None
    logits: int
    bytes_at_once: int

    @classmethod
    def of(cls, situation: Situation, metric: Metric, bytes_at_once: int) -> "_Work":
        spliced, some = situation.spliced, metric.some
        logits = situation.clean.logits.shape[-1] if some is None else some.columns(situation.batch).shape[1]
        try:
            cone = Cone.of(spliced, plain_model(spliced.model), situation.clean, situation.error_mode)
        except UnknownArchitecture:
            cone = None
        return cls(situation, metric, cone, logits, bytes_at_once)

    def flops(self, patches: list[Patches]) -> float:
        if self.cone is not None:
            return cone_flops(self.cone, patches, self.logits, self.bytes_at_once).executed
        model, length = self.situation.spliced.model, self.situation.clean.ids.shape[1]
        blocks = block_flops(model)
        return sum(len(p) * (length * sum(blocks[self.first_block(p.site) :]) + head_flops(model)) for p in patches)

    def first_block(self, site: str) -> int:
        """The first block that a run of whole blocks executes."""
        if site == TOKENS or not self.situation.spliced.can_resume:
            return 0
        return layer_of(site) + site.endswith("hook_resid_post")

    def run(self, patches: list[Patches]) -> None:
        if self.cone is not None:
            effects_in_cones(self.situation, self.cone, self.metric, patches, self.bytes_at_once)
            return
        for patch in patches:
            effects_of_patches(self.situation, patch, torch.arange(len(patch), device=patch.row.device))


def _measured_rate(work: _Work, patches: list[Patches], flops_of_one: float, draw: np.random.Generator) -> float:
    """FLOPs per second over samples that take about a second together; the first of several is a warm-up."""
    runs = int(np.clip(_FLOPS_OF_A_SAMPLE / flops_of_one, 16, _RUNS_OF_A_SAMPLE))
    flops, seconds, count = 0.0, 0.0, 0
    for sample in _random_samples(work, patches, runs, draw):
        start = time.perf_counter()
        work.run(sample)
        _wait_for_device(work.situation.clean.logits)
        spent = time.perf_counter() - start
        if count == 1 and seconds < PROBE_SECONDS:
            flops, seconds = 0.0, 0.0
        flops, seconds, count = flops + work.flops(sample), seconds + spent, count + 1
        if seconds >= PROBE_SECONDS:
            break
    return flops / seconds


def _random_samples(
    work: _Work, patches: list[Patches], runs: int, draw: np.random.Generator
) -> Iterator[list[Patches]]:
    """Samples of at most `runs` patches that are executed together; larger groups are likely to come first."""
    groups = [[patch] for patch in patches] if work.cone is None else _by_entered_block(work.cone, patches)
    sizes = np.array([sum(map(len, group)) for group in groups], dtype=float)
    for number in draw.choice(len(sizes), len(sizes), replace=False, p=sizes / sizes.sum()).tolist():
        yield _neighbours(work, groups[number], runs, draw)


def _by_entered_block(cone: Cone, patches: list[Patches]) -> list[list[Patches]]:
    """Patches, grouped by the block that they enter."""
    groups: dict[int, list[Patches]] = {}
    for patch in patches:
        groups.setdefault(cone.entered_block(patch.site), []).append(patch)
    return list(groups.values())


def _neighbours(work: _Work, group: list[Patches], runs: int, draw: np.random.Generator) -> list[Patches]:
    """Patches of similar length to the last position that is read of their row, which are executed together."""
    read = work.situation.clean.read
    ends = read if read.ndim == 1 else read.amax(1)
    length = torch.cat([ends[p.row] - p.pos for p in group])
    order = torch.argsort(length, stable=True)
    first = int(draw.integers(0, max(1, len(length) - runs + 1)))
    chosen = torch.zeros_like(length, dtype=torch.bool)
    chosen[order[first : first + runs]] = True
    parts = chosen.split([len(p) for p in group])
    return [p.only(part) for p, part in zip(group, parts, strict=True) if part.any()]


def _wait_for_device(like: Tensor) -> None:
    """Wait until the device has finished."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
