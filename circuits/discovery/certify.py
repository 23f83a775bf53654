"""The certificate of a circuit: what was verified, what SAE errors carry, how good SAEs and faithfulness are.

Faithfulness is that of the whole circuit: everything outside takes its value in the patch prompt, and errors are nodes
like any other (`circuits/faithfulness/faithfulness.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from attribution.checking.dictionary_cautions import dictionary_cautions
from attribution.checking.gates_at_threshold import gates_at_threshold
from attribution.checking.pair_cautions import part_cautions
from attribution.checking.sae_quality import sae_quality
from attribution.effects.effects import Effects
from attribution.effects.undecided_effects import effects_in_rounding
from attribution.prompts.prompt_pair import NO_FOIL
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, Stages, progress_between
from attribution.splice.gate_rounding import GateRule
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.faithfulness.faithfulness_curves import curve_around
from circuits.ranking.aggregate import Ranking
from circuits.ranking.question import Question
from graphs import (
    Caution,
    Certificate,
    CircuitGraph,
    ErrorNode,
    Faithfulness,
    FaithfulnessCurve,
    FeatureNode,
    MetricNode,
    SAEQuality,
    Screening,
    Verdict,
)
from graphs.verdict import FLAGS
from graphs.words.part_words import OWN, VALIDATION

CERTIFICATE_STAGES: Final = ("faithfulness", "faithfulness in float64", "quality of the SAEs")
"""What `certify` does, in this order."""


def certify(
    circuit: CircuitGraph,
    question: Question,
    *,
    verdict: Verdict | None = None,
    effects: Effects | None = None,
    ranking: Ranking | None = None,
    splits: Mapping[str, PromptPairs] | None = None,
    texts: Mapping[str, Sequence[Sequence[int]]] | None = None,
    stages: Stages | None = None,
) -> Certificate:
    """Measure everything a certificate holds.

    Args:
        circuit: nodes and edges.
        question: the question that the circuit answers.
        verdict: of the checker, if nodes were screened by an estimate.
        effects: of all nodes; those that rounding could have decided are counted.
        ranking: what the circuit was chosen from. Faithfulness by size is that of its first nodes.
        splits: pairs that judge the circuit, and those that chose its size; faithfulness is measured on each.
        texts: token ids of general texts by name; the SAEs are measured on them and on the task.
        stages: told every stage (`CERTIFICATE_STAGES`), and the share of work done.
    """
    missing: dict[str, str] = {}
    stages = stages or Stages(names=CERTIFICATE_STAGES)
    every = {**(splits or {}), OWN: question.pairs}  # what judges comes first
    measured, in_float64, quality = CERTIFICATE_STAGES
    faithfulness, curves = _faithfulness(circuit, question, every, ranking, missing, stages.stage(measured))
    stages.stage(in_float64)
    confirmed = _confirmed(circuit, question, {of.split: every[of.split] for of in faithfulness}, missing)
    if not splits:
        missing["other prompts"] = "no held-out pairs were given"
    if not texts:
        missing["general text"] = "no text was given"
    return Certificate(
        hashes={**question.spliced.hashes(), "prompts": question.pairs.digest()},
        circuit_verified=_verified(circuit),
        error_share=_error_share(circuit),
        flow_shown=_flow_shown(circuit),
        screening=None if verdict is None else _screening(verdict),
        quality=_quality(question, texts or {}, stages.stage(quality)),
        faithfulness=faithfulness,
        alone=_alone(circuit, question, every, missing),
        curves=curves,
        confirmed=confirmed,
        missing=missing,
        gates_at_threshold=_at_threshold(question, verdict),
        rounding=None if effects is None else effects_in_rounding(effects),
        warnings=_warnings(question, splits or {}),
    )


def _warnings(question: Question, splits: Mapping[str, PromptPairs]) -> tuple[Caution, ...]:
    batches = question.pairs.batches(question.room.pairs("exact"), question.spliced.model)
    parts = {OWN: question.pairs, **splits}
    return (*part_cautions(parts), *dictionary_cautions(question.spliced, batches))


def _faithfulness(
    circuit: CircuitGraph,
    question: Question,
    splits: Mapping[str, PromptPairs],
    ranking: Ranking | None,
    missing: dict[str, str],
    progress: Progress,
) -> tuple[tuple[Faithfulness, ...], tuple[FaithfulnessCurve, ...]]:
    """Faithfulness and its curve on each split where they are defined; `missing` takes the reasons for the others."""
    found: list[Faithfulness] = []
    curves: list[FaithfulnessCurve] = []
    by = circuit.measurement.ranked_by or circuit.measurement.method
    for number, (name, pairs) in enumerate(splits.items()):
        part = progress_between(progress, number / len(splits), (number + 1) / len(splits))
        what = f"faithfulness, {name}"
        try:
            found += faithfulness_report(
                question.spliced,
                {name: pairs},
                question.metric,
                circuit,
                reference=question.reference,
                batch_size=question.room.pairs("exact", 64),
                progress=progress_between(part, 0.0, 0.2),
            )
            if ranking is not None and name != VALIDATION:  # the search has been along it there
                what = f"faithfulness over size, {name}"
                curves.append(
                    curve_around(found[-1].nodes, ranking, by, question, name, pairs, progress_between(part, 0.2, 1.0))
                )
        except ValueError as error:
            missing[what] = str(error)
    return tuple(found), tuple(curves)


def _confirmed(
    circuit: CircuitGraph, question: Question, splits: Mapping[str, PromptPairs], missing: dict[str, str]
) -> tuple[Faithfulness, ...]:
    """Faithfulness on each split, where it is defined, once more in float64; nothing where all is float64 anyway."""
    if not splits or question.spliced.dtype == torch.float64:
        return ()
    if not question.room.holds_float64:
        missing["faithfulness in float64"] = question.room.float64_in_words
        return ()
    try:
        with question.spliced.in_float64(GateRule()) as wide:
            return faithfulness_report(
                wide,
                splits,
                question.metric,
                circuit,
                reference=question.reference,
                batch_size=max(1, question.room.pairs("exact", 64) // 2),
            )
    except ValueError as error:
        missing["faithfulness in float64"] = str(error)
    return ()


def _alone(
    circuit: CircuitGraph, question: Question, splits: Mapping[str, PromptPairs], missing: dict[str, str]
) -> tuple[Faithfulness, ...]:
    """Faithfulness on each split with the layers below the boundary at their reference too; nothing without one."""
    found: list[Faithfulness] = []
    for name, pairs in splits.items() if question.spliced.boundary is not None else ():
        try:
            found += faithfulness_report(
                question.spliced.whole,
                {name: pairs},
                question.metric,
                circuit,
                reference=question.reference,
                batch_size=question.room.pairs("exact", 64),
            )
        except ValueError as error:
            missing[f"the circuit alone, {name}"] = str(error)
    return tuple(found)


def _verified(circuit: CircuitGraph) -> float:
    nodes = circuit.strongest()
    return sum(w.verified for w in nodes) / max(1, sum(w.count for w in nodes))


def _at_threshold(question: Question, verdict: Verdict | None) -> int:
    if verdict is not None:
        return verdict.gates_at_threshold
    size = question.room.pairs("exact")
    return gates_at_threshold(question.spliced, question.pairs, question.error_mode, batch_size=size)


def _error_share(circuit: CircuitGraph) -> float | None:
    measured = circuit.measurement
    if measured.error_mode == "zero" or measured.unit != measured.metric_unit:
        return None
    errors, features = (
        sum(abs(w.effect) for w in circuit.nodes if isinstance(w.node, kind)) for kind in (ErrorNode, FeatureNode)
    )
    return errors / (errors + features) if errors + features > 0 else 0.0


def _flow_shown(circuit: CircuitGraph) -> float | None:
    total = circuit.measurement.total_effect
    if circuit.measurement.edge_imbalance is None or total == 0:
        return None
    return sum(edge.weight for edge in circuit.edges if isinstance(edge.target, MetricNode)) / total


def _screening(verdict: Verdict) -> Screening:
    return Screening(
        estimate=verdict.estimate_name,
        verified=verdict.verified,
        nodes=verdict.nodes,
        threshold=verdict.threshold,
        flags={flag: verdict.count(flag) for flag in FLAGS if verdict.count(flag)},
        bound=verdict.bound,
    )


def _quality(
    question: Question, texts: Mapping[str, Sequence[Sequence[int]]], progress: Progress
) -> tuple[SAEQuality, ...]:
    prompts = [ids[: pair.asked + 1] for pair in question.pairs for ids in (pair.clean_ids, pair.patch_ids)]
    foils = [pair.answer_id if pair.foil_id == NO_FOIL else pair.foil_id for pair in question.pairs]
    answers = [token for pair, foil in zip(question.pairs, foils, strict=True) for token in (pair.answer_id, foil)]
    count, spliced = 1 + len(texts), question.spliced
    told = [progress_between(progress, n / count, (n + 1) / count) for n in range(count)]

    def measured(number: int, ids: Sequence[Sequence[int]], name: str, last: Sequence[int] | None = None) -> SAEQuality:
        size = question.room.texts(spliced, max(map(len, ids)))
        return sae_quality(spliced, ids, name, last_only=last, batch_size=size, progress=told[number])

    first = measured(0, prompts, "the task's answers", answers)
    return (first, *(measured(n, ids, name) for n, (name, ids) in enumerate(texts.items(), start=1)))
