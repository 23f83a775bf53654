"""Causal ablation and steering: change nodes in a forward pass, and see what else changes.

    effect = m(with the nodes changed) − m(as it was), per pair, in the metric's units

Reported beside it: the likeliest next tokens, and the features downstream that the encoders then read, both before and
after. All of it in one forward over the prompts, after a clean one (two in frozen mode), in batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import KEEP_ONLY
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import SplicedModel, SplicedRun
from circuits.ablation.edits import Ablation, edits_of
from circuits.ablation.feature_shifts import FeatureShift, FeatureShifts
from circuits.ablation.node_names import NodeName


@dataclass(frozen=True)
class TokenChange:
    """A next token and its probability before and after, a mean over prompts."""

    token_id: int
    text: str
    before: float
    after: float


@dataclass(frozen=True)
class Outcome:
    """What an ablation did to prompts.

    Attributes:
        metric, unit, before, after: the metric per pair. `before` is in the same error mode, without the ablation.
        likeliest_before, likeliest_after: each prompt's likeliest next token, as text.
        tokens: the likeliest next tokens before and after, probabilities as means over prompts.
        features: the features whose encoders read most differently, as they arrive at their sites.
        idle: nodes that the ablation leaves at their clean values in every prompt: inactive, absent, or of a kind
            that the operation cannot act on.
        values_changed: features and errors that it gives other than their clean values, at all prompts and positions.
    """

    ablation: Ablation
    metric: str
    unit: str
    before: np.ndarray
    after: np.ndarray
    likeliest_before: tuple[str, ...]
    likeliest_after: tuple[str, ...]
    tokens: tuple[TokenChange, ...]
    features: tuple[FeatureShift, ...]
    idle: tuple[NodeName, ...]
    values_changed: int


def ablate(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    ablation: Ablation,
    *,
    batch_size: int = 16,
    top: int = 5,
    shifts: int = 10,
    progress: Progress = silent,
) -> Outcome:
    """Run an ablation on the clean prompts of pairs.

    Args:
        top: likeliest tokens reported, before and after.
        shifts: features downstream reported.

    Raises:
        ValueError: the ablation changes nothing in any prompt; the features that are active there are listed.
            `KEEP_ONLY` may change nothing: of everything, it is the model as it is.

    Examples:
        >>> outcome = ablate(spliced, pairs, logit_difference, Ablation.named([name], spliced, pairs))
        >>> outcome.unit, (outcome.after - outcome.before).shape
        ('logits', (2,))
    """
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    labels = position_names(pairs)
    parts: list[_Part] = []
    collected = FeatureShifts(spliced.sites)
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model.device):
            situation = prepare(spliced, batch, metric, ablation.error_mode, ablation.patch_value)
            own = [labels[int(e)] for e in batch.example]
            part, run = _ablate_batch(situation, own, ablation)
            parts.append(part)
            collected.add(situation.clean, run, own)
            progress(sum(len(p.before) for p in parts) / len(pairs))
    touched = set(torch.cat([p.touched for p in parts]).tolist())
    values = sum(p.values for p in parts)
    if values == 0 and ablation.operation is not KEEP_ONLY:
        raise ValueError(_nothing(spliced, pairs, ablation))
    before, after = (torch.cat([getattr(p, name) for p in parts]) for name in ("likely_before", "likely_after"))
    text = spliced.model.token_text
    return Outcome(
        ablation=ablation,
        metric=metric.name,
        unit=metric.unit,
        before=np.concatenate([p.before for p in parts]),
        after=np.concatenate([p.after for p in parts]),
        likeliest_before=tuple(text(int(t)) for t in before.argmax(-1)),
        likeliest_after=tuple(text(int(t)) for t in after.argmax(-1)),
        tokens=_top_tokens(spliced, before.mean(0), after.mean(0), top),
        features=collected.largest(shifts),
        idle=tuple(
            name for n, name in enumerate(ablation.names) if n not in touched and ablation.operation is not KEEP_ONLY
        ),
        values_changed=values,
    )


@dataclass(frozen=True)
class _Part:
    """One batch: the metric and next-token probabilities before and after, and what the edits touched."""

    before: np.ndarray
    after: np.ndarray
    likely_before: Float[Tensor, "row vocab"]
    likely_after: Float[Tensor, "row vocab"]
    touched: Tensor
    values: int


def _ablate_batch(
    situation: Situation, labels: Sequence[Sequence[str]], ablation: Ablation
) -> tuple[_Part, SplicedRun]:
    batch = situation.batch
    made = edits_of(situation, labels, ablation)
    run = situation.spliced.run(
        batch.clean_ids, made.edits, last=batch.last, error_mode=ablation.error_mode, entry=made.entry, only_last=True
    )
    logits = at_least_float32(run.logits[:, 0])
    touched, values = made.touched(situation)
    part = _Part(
        numpy_of(situation.clean_metric),
        numpy_of(situation.metric(logits, batch)),
        situation.clean.logits.softmax(-1),
        logits.softmax(-1),
        touched,
        values,
    )
    return part, run


def _top_tokens(spliced: SplicedModel, before: Tensor, after: Tensor, top: int) -> tuple[TokenChange, ...]:
    chosen = dict.fromkeys([*before.topk(top).indices.tolist(), *after.topk(top).indices.tolist()])
    found = [TokenChange(t, spliced.model.token_text(t), float(before[t]), float(after[t])) for t in chosen]
    return tuple(sorted(found, key=lambda t: -max(t.before, t.after)))


def _nothing(spliced: SplicedModel, pairs: PromptPairs, ablation: Ablation) -> str:
    """Why nothing changed, and what is there instead: the strongest features at the first node's site."""
    name = ablation.names[0]
    more = "" if len(ablation.names) == 1 else f" and {len(ablation.names) - 1} more"
    start = (
        f"Cannot {ablation.operation.label} {name}{more}: it would change nothing in any of the {len(pairs)} prompts."
    )
    if name.is_token:
        return f"{start} The token is the same in the patch prompts."
    labels, batch = position_names(pairs), pairs.batch(device=spliced.model.device)
    found = spliced.record(batch.clean_ids, batch.last).sites[name.site].features
    here = torch.zeros(found.shape[:2], dtype=torch.bool)
    for row, own in enumerate(labels):
        here[row, list(name.columns(own)) if name.position is not None else slice(None)] = True
    active = here[found.row.cpu(), found.pos.cpu()]
    strength = torch.zeros(found.shape[2]).index_add_(0, found.index.cpu()[active], found.value.cpu().float()[active])
    strongest = [int(n) for n in strength.topk(min(8, len(strength))).indices if strength[n] > 0]
    where = "" if name.position is None else f" at {name.position}"
    listed = ", ".join(map(str, strongest)) or "none"
    return f"{start} Active features of {name.site}{where}, strongest first: {listed}."
