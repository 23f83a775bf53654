"""What a checker says of a circuit's nodes: a verdict on an estimate of their effects, and why it is wrong where it is.

Where every node was patched the verdict costs no run: the estimate stands beside the exact effects already. Where nodes
were screened it is the verdict of the screening.
"""

import numpy as np

from attribution.checking.causes import with_own_paths
from attribution.checking.check import check
from attribution.effects.effects import Effects
from attribution.runs.progress import Progress, silent
from circuits.discovery.measuring import Measured
from circuits.ranking.question import Question
from graphs import CircuitGraph, Verdict, findings


def checked_estimate(
    question: Question, measured: Measured, estimate: Effects | None, progress: Progress = silent
) -> Verdict | None:
    """The verdict on an estimate of effects that are all exact, else the screening's.

    None where there is nothing to hold an estimate against, no estimate, or no size from which an effect is large:
    half of the pairs have no effect at all.
    """
    if measured.verdict is not None or estimate is None or not measured.exact.all():
        return measured.verdict
    if not np.median(np.abs(estimate.total_effect)) > 0:
        return None
    return check(
        question.spliced,
        question.pairs,
        question.metric,
        estimate,
        patch_value=question.patch_value,
        exact=measured.effects,
        explained=0,
        room=question.room,
        progress=progress,
    )


def with_causes(
    verdict: Verdict, circuit: CircuitGraph, question: Question, effects: Effects, most: int, progress: Progress
) -> Verdict:
    """The verdict with cause, gates and path of the circuit's nodes with the largest errors, at most so many.

    A node is shown in the example in which the estimate is most wrong about it; `effects` hold all nodes.
    """
    worst = [own[0].verdict for own in findings(circuit, verdict).values()]
    worst.sort(key=lambda flagged: -abs(flagged.error))
    return with_own_paths(
        verdict,
        question.spliced,
        question.pairs,
        question.metric,
        effects,
        worst[:most],
        patch_value=question.patch_value,
        progress=progress,
    )
