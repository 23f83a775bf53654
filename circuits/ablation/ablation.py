"""Causal ablation and steering: change nodes in a forward pass, and see what else changes.

    effect = m(with the nodes changed) − m(without), per pair, in units of the metric

Also reported, before and after: the likeliest next tokens, and the features that the encoders read. Costs one forward
over the prompts beside the clean one (two in frozen mode), in batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.checking.dictionary_cautions import dictionary_cautions
from attribution.checking.pair_cautions import cautions_of_test
from attribution.effects.measurement import Situation, numpy_of, prepare
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import KEEP_ONLY
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import SplicedModel, SplicedRun
from circuits.ablation.edits import Ablation, edits_of
from circuits.ablation.feature_shifts import FeatureShift, FeatureShifts
from circuits.ablation.named_twice import named_twice
from circuits.ablation.node_names import NodeName
from circuits.faithfulness.bootstrap import is_undefined
from graphs import Caution
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class TokenChange:
    """A next token and its probability before and after, each a mean over prompts."""

    token_id: int
    text: str
    before: float
    after: float


@dataclass(frozen=True)
class Outcome:
    """What an ablation did to prompts.

    Attributes:
        ablation: what was done to which nodes.
        metric, unit: the name of the metric, and its unit.
        before, after: the metric of each pair without and with the ablation, both in the ablation's error mode.
        nothing: the metric of each pair with every node at its patch value.
        from_layer: the layer below which everything is kept as it is; None where nothing is.
        likeliest_before, likeliest_after: the likeliest next token of each prompt, as text.
        tokens: the likeliest next tokens before and after; probabilities are means over prompts.
        features: the features whose activations change most, as their encoders read what arrives at their sites.
        idle: nodes that keep their clean values in every prompt: they are inactive or absent there, or of a kind that
            the operation cannot act on.
        values_changed: how many features and errors the ablation moves off their clean values, over all prompts and
            positions.
        warnings: what is no error, but makes less sense than it looks.
    """

    __repr__ = short_repr

    ablation: Ablation
    metric: str
    unit: str
    before: np.ndarray
    after: np.ndarray
    nothing: np.ndarray
    likeliest_before: tuple[str, ...]
    likeliest_after: tuple[str, ...]
    tokens: tuple[TokenChange, ...]
    features: tuple[FeatureShift, ...]
    idle: tuple[NodeName, ...]
    values_changed: int
    from_layer: int | None = None
    warnings: tuple[Caution, ...] = ()

    @property
    def faithfulness(self) -> float | None:
        """F of the nodes that were kept: (after − nothing) / (before − nothing), of means over pairs.

        None for other operations than `KEEP_ONLY`, and where the denominator is 0.
        """
        before, after, nothing = (float(values.mean()) for values in (self.before, self.after, self.nothing))
        if self.ablation.operation is not KEEP_ONLY or is_undefined(before, nothing):
            return None
        return (after - nothing) / (before - nothing)


def ablate(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    ablation: Ablation,
    *,
    found_on: PromptPairs | None = None,
    batch_size: int = 16,
    top: int = 5,
    shifts: int = 10,
    progress: Progress = silent,
) -> Outcome:
    """Run an ablation on the clean prompts of `pairs`.

    Args:
        spliced: the model with its SAEs.
        pairs: the clean prompts are run; patch prompts serve the patch value.
        metric: what `before` and `after` are.
        ablation: an operation on nodes; `Ablation.named` makes one from names.
        found_on: the pairs that found the nodes, where `pairs` should be others; a warning counts those in both.
        batch_size: prompts in one forward.
        top: how many of the likeliest tokens to report, before and after.
        shifts: how many features to report.
        progress: told the share of work done.

    Raises:
        ValueError: the ablation changes nothing in any prompt; the message lists the features that are active there.
            `KEEP_ONLY` may change nothing, for example when it keeps everything.

    Examples:
        >>> outcome = ablate(spliced, pairs, logit_difference, Ablation.named([name], spliced, pairs))
        >>> outcome.unit, (outcome.after - outcome.before).shape
        ('logits', (2,))
    """
    refuse_other_types(pairs, metric)
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    labels = position_names(pairs)
    _refuse_unspliced(spliced, pairs, labels, ablation)
    parts: list[_Part] = []
    collected = FeatureShifts(spliced.sites)
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model, metric.positions):
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
        nothing=np.concatenate([p.nothing for p in parts]),
        likeliest_before=tuple(text(int(t)) for t in before.argmax(-1)),
        likeliest_after=tuple(text(int(t)) for t in after.argmax(-1)),
        tokens=_top_tokens(spliced, before.mean(0), after.mean(0), top),
        features=collected.largest(shifts),
        idle=tuple(
            name for n, name in enumerate(ablation.names) if n not in touched and ablation.operation is not KEEP_ONLY
        ),
        values_changed=values,
        from_layer=spliced.boundary,
        warnings=(
            *named_twice(ablation.names, labels),
            *cautions_of_test(pairs, found_on),
            *dictionary_cautions(spliced, pairs.batches(batch_size, spliced.model)),
        ),
    )


def _refuse_unspliced(
    spliced: SplicedModel, pairs: PromptPairs, labels: Sequence[Sequence[str]], ablation: Ablation
) -> None:
    """A ValueError if the nodes stand only where no SAE is spliced in."""
    places = [
        (name, position, pair.clean_ids[0] == spliced.unspliced_bos)
        for name in ablation.names
        for pair, own in zip(pairs, labels, strict=True)
        for position in name.columns(own)
    ]
    if places and all(bos and position == 0 and not name.is_token for name, position, bos in places):
        raise ValueError(
            f"Cannot {ablation.operation.label} {places[0][0]}: position 0 is not spliced (BOS is spliced only with "
            "splice_bos=True)."
        )


@dataclass(frozen=True)
class _Part:
    """One batch: the metric and next-token probabilities before and after, and what the edits changed."""

    before: np.ndarray
    after: np.ndarray
    nothing: np.ndarray
    likely_before: Float[Tensor, "row vocab"]
    likely_after: Float[Tensor, "row vocab"]
    touched: Tensor
    values: int


def _ablate_batch(
    situation: Situation, labels: Sequence[Sequence[str]], ablation: Ablation
) -> tuple[_Part, SplicedRun]:
    batch = situation.batch
    made = edits_of(situation, labels, ablation)
    run = made.run(situation, ablation.error_mode)
    logits = at_least_float32(run.logits)
    touched, values = made.touched(situation)
    part = _Part(
        numpy_of(situation.clean_metric),
        numpy_of(situation.metric(logits, batch)),
        numpy_of(situation.changes.metric),
        _next_token(situation.clean.logits),
        _next_token(logits),
        touched,
        values,
    )
    return part, run


def _next_token(logits: Float[Tensor, "row *read vocab"]) -> Float[Tensor, "row vocab"]:
    """Probabilities at the first position that the metric reads."""
    return (logits if logits.ndim == 2 else logits[:, 0]).softmax(-1)


def _top_tokens(spliced: SplicedModel, before: Tensor, after: Tensor, top: int) -> tuple[TokenChange, ...]:
    chosen = dict.fromkeys([*before.topk(top).indices.tolist(), *after.topk(top).indices.tolist()])
    found = [TokenChange(t, spliced.model.token_text(t), float(before[t]), float(after[t])) for t in chosen]
    return tuple(sorted(found, key=lambda t: -max(t.before, t.after)))


def _nothing(spliced: SplicedModel, pairs: PromptPairs, ablation: Ablation) -> str:
    """The message that nothing changed, with the strongest active features at the first node's site."""
    name = ablation.names[0]
    more = "" if len(ablation.names) == 1 else f" and {len(ablation.names) - 1} more"
    start = (
        f"Cannot {ablation.operation.label} {name}{more}: it would change nothing in any of the {len(pairs)} prompts."
    )
    if name.is_token:
        return f"{start} The token is the same in the patch prompts."
    return f"{start} {active_there(spliced, pairs, name)}"


def active_there(spliced: SplicedModel, pairs: PromptPairs, name: NodeName) -> str:
    """A sentence that lists the strongest features of a node's site at its positions, over the clean prompts."""
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
    return f"Active features of {name.site}{where}, strongest first: {listed}."
