"""The joint effect of a set of nodes: all take their patch values at once, and everything else computes freely.

    effect = m(do(u = p_u for all u in the set)) − m(clean)

A feature downstream can take the place of the metric: its effect is the change of its activation. Effects of single
nodes do not add up to the joint effect if nodes are on each other's paths or interact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import REMOVE
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import SparseFeatures
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.edits import Ablation, edits_of
from circuits.ablation.node_names import NodeName


@dataclass(frozen=True)
class JointPatch:
    """The metric of each pair without and with the set patched, and the target feature's activation if one is given.

    `target_before` and `target_after` are 0 in pairs that do not have the target's position.
    """

    before: np.ndarray
    after: np.ndarray
    target_before: np.ndarray | None
    target_after: np.ndarray | None

    @property
    def effect(self) -> np.ndarray:
        """Per pair, in the metric's units; positive: the metric rises when the set takes its patch values."""
        return self.after - self.before

    @property
    def target_effect(self) -> np.ndarray:
        """Per pair, in units of the target's activation."""
        if self.target_before is None or self.target_after is None:
            raise ValueError("No target feature was given to the joint patch.")
        return self.target_after - self.target_before


def joint_patch(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    names: Sequence[NodeName],
    *,
    target: NodeName | None = None,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    progress: Progress = silent,
) -> JointPatch:
    """Patch a set of nodes in one forward per batch.

    A set that changes nothing has effect 0. That is no error, unlike for an ablation.

    Args:
        names: of the nodes: `circuit_names`, `parse_nodes` or `node_name_of` make them.
        target: a feature at one position, whose activation is measured too.
        spliced, pairs, metric, error_mode, patch_value, batch_size, progress: as in `exact_patching`.

    Raises:
        ValueError: a target that is no feature at one position, or is one of the patched nodes.
    """
    refuse_other_types(pairs, metric, patch_value)
    if target is not None and (target.is_token or target.is_error or target.position is None or target in names):
        raise ValueError(f"The target {target} must be a feature at one position, and not one of the patched nodes.")
    ablation = Ablation(tuple(names), REMOVE, patch_value, error_mode)
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    labels = position_names(pairs)
    parts: list[tuple[np.ndarray, ...]] = []
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model, metric.positions):
            situation = prepare(spliced, batch, metric, error_mode, patch_value)
            parts.append(_patched(situation, [labels[int(e)] for e in batch.example], ablation, target))
            progress(sum(len(part[0]) for part in parts) / len(pairs))
    before, after, *activations = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return JointPatch(before, after, *(activations or (None, None)))


def _patched(
    situation: Situation, labels: Sequence[Sequence[str]], ablation: Ablation, target: NodeName | None
) -> tuple[np.ndarray, ...]:
    batch, made = situation.batch, edits_of(situation, labels, ablation)
    run = made.run(situation, ablation.error_mode)
    after = situation.metric(at_least_float32(run.logits), batch)
    metrics = numpy_of(situation.clean_metric), numpy_of(after)
    if target is None:
        return metrics
    clean, patched = situation.clean.sites[target.site].features, run.encoded[target.site]
    return (*metrics, _activation(clean, target, labels), _activation(patched, target, labels))


def _activation(features: SparseFeatures, target: NodeName, labels: Sequence[Sequence[str]]) -> np.ndarray:
    places = [(row, pos) for row, own in enumerate(labels) for pos in target.columns(own)]
    row, pos = torch.tensor(places, dtype=torch.long, device=features.row.device).reshape(-1, 2).unbind(1)
    values = np.zeros(len(labels))
    values[row.cpu().numpy()] = numpy_of(features.lookup(row, pos, torch.full_like(row, target.index)))
    return values
