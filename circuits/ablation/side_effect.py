"""The side effect of an ablation: what it does to text that has nothing to do with the task.

    CE    mean of −log p(next token) over the text, before and after, in nats per token
    KL    mean of KL(before ‖ after) over the same positions, in nats per token

The nodes are changed at every position of the text, where the positions of a task have no meaning. Tokens stay as they
are. Text has no patch prompt, so 0 takes the place of counterfactual values. Both runs have the ablation's error mode.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import KeepOnly, NodeEdit
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.edits import Ablation, constant_edits

BYTES_OF_A_LOGIT: Final = 64
"""Bytes that a batch holds for each logit of a document: two runs, and both in float64 as log probabilities."""


@dataclass(frozen=True)
class SideEffect:
    """Cross-entropies and KL, in nats per token, over `tokens` predicted tokens of `documents` documents.

    `values_changed` counts the features and errors that the ablation changed itself. 0: its nodes are never active
    there.
    """

    cross_entropy_before: float
    cross_entropy_after: float
    kl: float
    tokens: int
    documents: int
    values_changed: int


def side_effect(
    situation: Situation,
    ablation: Ablation,
    documents: Sequence[Sequence[int]],
    *,
    batch_size: int = 16,
    progress: Progress = silent,
) -> SideEffect:
    """Measure an ablation on documents.

    Args:
        situation: of any prompts, prepared with the ablation's patch value: a mean is taken from it.
        ablation: its nodes are changed at every position of every document.
        documents: token ids, at least two each.
        batch_size: documents in one forward.
        progress: told the share of work done.

    Raises:
        ValueError: no documents, or one in which no token is predicted.

    >>> from attribution import counterfactual, prepare
    >>> situation = prepare(spliced, pairs.batch(), logit_difference, "live", counterfactual)
    >>> texts = list(embedded_corpus(model, documents=4).pieces())
    >>> side_effect(situation, Ablation.named([name], spliced, pairs), texts).kl < 0.5
    True
    """
    names = tuple(dict.fromkeys(name.everywhere() for name in ablation.names))
    edits = constant_edits(replace(ablation, names=names), situation, labels=())
    return effect_on_text(
        situation.spliced,
        edits,
        documents,
        error_mode=ablation.error_mode,
        batch_size=batch_size,
        progress=progress,
    )


def effect_on_text(
    spliced: SplicedModel,
    edits: Sequence[NodeEdit | KeepOnly],
    documents: Sequence[Sequence[int]],
    *,
    error_mode: ErrorMode = "live",
    batch_size: int = 16,
    progress: Progress = silent,
) -> SideEffect:
    """The same of edits, which must be those of any text: they name no position.

    Raises:
        ValueError: no documents, or one in which no token is predicted.
    """
    short = next((n for n, ids in enumerate(documents) if len(ids) < 2), None)
    if not documents or short is not None:
        what = "There are no documents" if short is None else f"Document {short} has fewer than 2 tokens"
        raise ValueError(f"{what}: nothing is predicted there. Give text of at least two tokens a line.")
    sums = torch.zeros(3, dtype=torch.float64)
    values = count = 0
    for ids, last in _batches(documents, batch_size, spliced.model.device):
        before = spliced.run(ids, last=last, error_mode=error_mode).logits
        run = spliced.run(ids, edits, last=last, error_mode=error_mode)
        predicted = torch.arange(1, ids.shape[1], device=ids.device) <= last[:, None]
        sums += _sums(before[:, :-1], run.logits[:, :-1], ids[:, 1:], predicted)
        values += sum(t.values for own in run.touched.values() for t in own)
        count += len(ids)
        progress(count / len(documents))
    tokens = sum(len(ids) - 1 for ids in documents)
    ce_before, ce_after, kl = (sums / tokens).tolist()
    return SideEffect(ce_before, ce_after, kl, tokens, len(documents), values)


def documents_of(texts: Iterable[str], spliced: SplicedModel) -> list[list[int]]:
    """Token ids of each text that is not empty, cut to the model's context."""
    context = spliced.model.n_context
    return [spliced.model.token_ids(text)[:context] for text in texts if text.strip()]


def _sums(
    before: Float[Tensor, "row pos vocab"],
    after: Float[Tensor, "row pos vocab"],
    next_ids: Int[Tensor, "row pos"],
    predicted: Tensor,
) -> Float[Tensor, "3"]:
    log_before, log_after = (logits.double().log_softmax(-1) for logits in (before, after))
    losses = [-log.gather(-1, next_ids[..., None])[..., 0] for log in (log_before, log_after)]
    kl = (log_before.exp() * (log_before - log_after)).sum(-1)
    return torch.stack([values[predicted].sum() for values in (*losses, kl)]).cpu()


def _batches(
    documents: Sequence[Sequence[int]], size: int, device: torch.device
) -> Iterator[tuple[Int[Tensor, "row pos"], Int[Tensor, " row"]]]:
    for start in range(0, len(documents), size):
        chosen = documents[start : start + size]
        width = max(map(len, chosen))
        ids = torch.tensor([[*d, *[0] * (width - len(d))] for d in chosen], device=device)
        yield ids, torch.tensor([len(d) - 1 for d in chosen], device=device)
