"""The causal test of a circuit: knock out each of its nodes, and compare with the effects in the graph.

    measured(u) = mean over pairs of  m(u at its patch value, in a whole forward of its own) − m(clean)

These runs go through the whole model with edits in place (`attribution/splice/edits.py`). They share nothing with exact
patching but the patch values. For a circuit of exact effects, on its own pairs, the two agree up to rounding. On other
pairs agreement says that the circuit generalises, and disagreement not that its graph is wrong (`causal_tests.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from attribution.checking.agreement import pearson, spearman
from attribution.checking.dictionary_cautions import dictionary_cautions
from attribution.checking.pair_cautions import cautions_of_test
from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.effects.situation_references import reference_of
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.edits import EVERYWHERE, REMOVE, NodeEdit, SiteNodes
from attribution.splice.gate_rounding import GateRule
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.node_names import NodeName, circuit_names
from graphs import Caution, CircuitGraph
from graphs.circuit_graph import refuse_other_than_circuit
from graphs.short_repr import short_repr

_MOST_ROWS: Final = 64
"""Rows of a forward beyond which more are no faster."""


@dataclass(frozen=True)
class CausalTest:
    """The measured effect of knocking out each node, beside the effect that the graph predicts.

    Attributes:
        names: of the nodes, the strongest of the graph first.
        predicted: the nodes' effects in the graph, in units of the metric: means over its pairs, or over those of them
            on which it is tested.
        measured: means over pairs, in `unit`; positive: the metric rises when the node takes its patch value.
        per_pair: [node, pair]; 0 if a pair does not have the node.
        confirmed: `measured` in float64; None if that did not fit into memory.
        total_effect: m(everything at its patch value) − m(clean), mean over pairs.
        error_mode: of the knock-outs.
        method: that measured the graph's effects.
        own_pairs: whether the pairs are those of the predicted effects, so that the test is a check; None if unknown.
        pearson, spearman: between `predicted` and `measured`; None if undefined.
        warnings: what is no error, but makes less sense than it looks.
    """

    __repr__ = short_repr

    names: tuple[NodeName, ...]
    predicted: np.ndarray
    measured: np.ndarray
    per_pair: np.ndarray
    confirmed: np.ndarray | None
    total_effect: float
    unit: str
    error_mode: str
    method: str
    own_pairs: bool | None = None
    warnings: tuple[Caution, ...] = ()

    @property
    def pairs(self) -> int:
        """How many pairs the nodes were knocked out in."""
        return self.per_pair.shape[1]

    @property
    def pearson(self) -> float | None:
        return pearson(self.predicted, self.measured)

    @property
    def spearman(self) -> float | None:
        return spearman(self.predicted, self.measured)

    @property
    def largest_difference(self) -> float:
        """The maximum of |predicted − measured| over nodes, in `unit`."""
        return float(np.abs(self.predicted - self.measured).max())

    @property
    def rounding(self) -> float | None:
        """The maximum of |measured − confirmed| over nodes, in `unit`: 1e-5 or so unless rounding decides a gate."""
        return None if self.confirmed is None else float(np.abs(self.measured - self.confirmed).max())

    @property
    def relative_difference(self) -> float | None:
        """The largest difference as a share of |total effect|; None if the total effect is 0."""
        return self.largest_difference / abs(self.total_effect) if self.total_effect else None


def causal_test(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    circuit: CircuitGraph,
    *,
    error_mode: ErrorMode | None = None,
    patch_value: PatchValue = counterfactual,
    predicted: Float[np.ndarray, "node pair"] | None = None,
    room: Room | None = None,
    progress: Progress = silent,
) -> CausalTest:
    """Knock out every node of a circuit by itself: one row of a forward for each node and pair.

    Args:
        spliced, pairs, metric: the model, the prompts and the metric. The prompts may be others than those of the
            circuit: a node is where its position's name is.
        circuit: a circuit whose effects are in units of the metric.
        error_mode: by default that of the circuit's effects (`frozen` for `path`).
        patch_value: what a node is knocked out to.
        predicted: the graph's effects in each of the pairs, of the nodes in the order of `circuit.strongest()`. By
            default their means over the pairs that found the circuit, which may be others.
        room: batch sizes that fit into memory; by default into half of what is free. A test that does not fit in
            float64 too is not confirmed.
        progress: told the share of work done.

    Raises:
        ValueError: the circuit has no nodes, or its numbers are not in units of this metric.
        LookupError: a node at a site without an SAE.

    Examples:
        >>> test = causal_test(spliced, pairs, logit_difference, found.circuit)
        >>> test.relative_difference < 1e-4
        True
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_other_than_circuit(circuit)
    if circuit.measurement.unit != circuit.measurement.metric_unit:
        raise ValueError(
            f"The circuit's numbers are in {circuit.measurement.unit}, not in units of the metric: they predict no "
            "effect. Find the circuit by exact patching, or by an attribution."
        )
    if metric.name != circuit.measurement.metric:
        raise ValueError(
            f"The circuit's effects are of {circuit.measurement.metric}: they predict nothing about {metric.name}."
        )
    names = circuit_names(circuit, spliced)
    if not names:
        raise ValueError("The circuit has no nodes but the metric: there is nothing to knock out.")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    mode = _mode(circuit) if error_mode is None else error_mode
    given = pairs, metric, names, mode, patch_value
    room = room or Room.of(spliced, pairs, mode)
    fine, rows_at_once = spliced.dtype == torch.float64, min(_MOST_ROWS, room.recorded_runs)
    again = not fine and room.holds_float64
    half = progress_between(progress, 0.0, 0.4) if again else progress
    per_pair, totals = _per_pair(spliced, *given, rows_at_once, half)
    confirmed = per_pair.mean(1) if fine else None
    if again:
        with spliced.in_float64(GateRule()) as wide:
            rest = progress_between(progress, 0.4, 1.0)
            confirmed = _per_pair(wide, *given, max(1, rows_at_once // 2), rest)[0].mean(1)
    return CausalTest(
        names=names,
        predicted=np.array([w.effect for w in circuit.strongest()]) if predicted is None else predicted.mean(1),
        measured=per_pair.mean(1),
        per_pair=per_pair,
        confirmed=confirmed,
        total_effect=float(np.mean(totals)),
        unit=metric.unit,
        error_mode=mode,
        method=circuit.measurement.method,
        warnings=(
            *cautions_of_test(pairs, None),
            *dictionary_cautions(spliced, pairs.batches(rows_at_once, spliced.model)),
        ),
        own_pairs=_are_own(circuit, pairs),
    )


def _are_own(circuit: CircuitGraph, pairs: PromptPairs) -> bool | None:
    """Whether these are the pairs that found the circuit; None where several were combined, or nothing says which."""
    if circuit.certificate is None or "combined" in circuit.measurement.inputs:
        return None
    return circuit.certificate.hashes["prompts"] == pairs.digest()


def _per_pair(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    names: Sequence[NodeName],
    mode: ErrorMode,
    patch_value: PatchValue,
    rows_at_once: int,
    progress: Progress,
) -> tuple[Float[np.ndarray, "node pair"], list[float]]:
    """The change of the metric by each knock-out, and the total effect of each pair."""
    labels, totals = position_names(pairs), list[float]()
    found = np.zeros((len(names), len(pairs)))
    with spliced.model.frozen():
        for example, batch in enumerate(pairs.batches(1, spliced.model, metric.positions)):
            situation = prepare(spliced, batch, metric, mode, patch_value)
            totals.append(float(situation.total_effect))
            for chosen in np.array_split(np.arange(len(names)), -(-len(names) // rows_at_once)):
                own = [names[n] for n in chosen]
                found[chosen, example] = _knocked_out(situation, own, labels[example], mode)
            progress((example + 1) / len(pairs))
    return found, totals


def _mode(circuit: CircuitGraph) -> ErrorMode:
    modes: dict[str, ErrorMode] = {"live": "live", "frozen": "frozen", "zero": "zero", "path": "frozen"}
    mode = circuit.measurement.error_mode
    if mode not in modes:
        raise ValueError(f"The circuit's effects are of error mode {mode!r}. Give one of live, frozen, zero.")
    return modes[mode]


def _knocked_out(
    situation: Situation, names: Sequence[NodeName], labels: Sequence[str], error_mode: ErrorMode
) -> np.ndarray:
    """For each node, the change of the metric in a run in which only that node is at its patch value."""
    spliced, batch, changes = situation.spliced, situation.batch, situation.changes
    rows = batch.rows(torch.zeros(len(names), dtype=torch.long, device=batch.last.device))
    entries: dict[str, list[tuple[int, int, int, int]]] = {}
    entry = situation.clean.entry.repeat(len(names), 1, 1)
    here = situation.clean.spliced[0].tolist()
    for n, name in enumerate(names):
        for pos in name.columns(labels):
            if not name.is_token:
                if pos != EVERYWHERE and not here[pos]:
                    continue
                entries.setdefault(name.site, []).append((n, n, pos, name.index))
            elif changes.entry is not None:
                entry[n, pos] = changes.entry[0, pos]
    device = spliced.model.device
    edits = [
        NodeEdit(site, SiteNodes.of(own, device), REMOVE, reference_of(situation, site))
        for site, own in entries.items()
    ]
    run = spliced.run(rows.clean_ids, edits, last=rows.last, error_mode=error_mode, entry=entry, read=rows.read)
    change = situation.metric(at_least_float32(run.logits), rows) - situation.clean_metric
    moved = (entry != situation.clean.entry).flatten(1).any(1)
    for touched in (t for own in run.touched.values() for t in own):
        moved[touched.nodes] = True
    return numpy_of(torch.where(moved, change, 0))
