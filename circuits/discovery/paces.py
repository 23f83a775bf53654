"""How fast work is done here and now, from probes on one pair and on many.

    gradients   an estimate of all effects: IG where it is cheap, else attribution patching
    runs        the metric with sets of nodes kept: forwards in which every SAE encodes and writes, as in most stages

A stage that is priced in operations and FLOPs takes its seconds at the pace of one of them. The load of the machine is
in them, so forecasts hold as long as it does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, metric_keeping
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_store import keeping_nothing
from attribution.runs.pace import Pace, Work
from attribution.runs.progress import silent
from circuits.discovery.stage_costs import StageCosts
from circuits.ranking.question import Question

CHEAP: Final = 1e10
"""FLOPs of a pair's estimate that is cheap."""
REPEATED: Final = 0.3
"""Seconds for which the probe of one pair is repeated."""
PROBE: Final = 1.5
"""Seconds that the probe of many pairs would take, if each took as long as one alone."""
GRADIENTS: Final = frozenset(("effects", "estimates beside them"))
"""Stages at the pace of gradients."""


@dataclass(frozen=True)
class Paces:
    """The pace of gradients, and that of runs with sets of nodes kept."""

    gradients: Pace
    runs: Pace

    def seconds(self, stage: str, work: Work) -> float:
        """How long the work of a stage takes."""
        return (self.gradients if stage in GRADIENTS else self.runs).seconds(work)


def measured_paces(question: Question) -> Paces:
    """The paces on the question's own pairs; repeated, if there are few."""
    costs, most = StageCosts(question), question.room.pairs("atp")
    cheap = question.metric.flat_at_clean or _of(costs, question.pairs.head(1)).sweep("ig").flops < CHEAP
    method = "ig" if cheap else "atp"

    def estimate(pairs: PromptPairs) -> None:
        replace(question, pairs=pairs).estimate(method, silent)

    def keep(pairs: PromptPairs) -> None:
        given = question.spliced, pairs, question.metric, [EVERYTHING, NOTHING]
        metric_keeping(*given, question.reference, batch_size=most)

    with keeping_nothing():
        return Paces(
            _pace(question.pairs, most, estimate, lambda pairs: _of(costs, pairs).sweep(method)),
            _pace(question.pairs, most, keep, lambda pairs: costs.keeping(pairs, 2)),
        )


def _of(costs: StageCosts, pairs: PromptPairs) -> StageCosts:
    return replace(costs, question=replace(costs.question, pairs=pairs))


def _pace(
    pairs: PromptPairs, most: int, run: Callable[[PromptPairs], None], work: Callable[[PromptPairs], Work]
) -> Pace:
    """The pace of `run`, whose price is `work`. The first run is a warm-up, unless it is long."""
    first = pairs.head(1)
    seconds = _timed(run, first)
    if seconds < PROBE / 2:
        times = [_timed(run, first)]
        while sum(times) < REPEATED:
            times.append(_timed(run, first))
        seconds = sum(times) / len(times)
    count = max(1, min(most, int(PROBE / seconds)))
    many = PromptPairs((pairs.pairs * count)[:count])
    alone = work(first), seconds
    return Pace.between(alone, alone if count == 1 else (work(many), _timed(run, many)))


def _timed(run: Callable[[PromptPairs], None], pairs: PromptPairs) -> float:
    start = time.perf_counter()
    run(pairs)
    return time.perf_counter() - start
