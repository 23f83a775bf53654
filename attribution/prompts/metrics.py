"""Metrics: what a node's effect is measured on, as callables on logits.

A metric takes the logits at each row's last position and the batch the rows belong to, and gives one number
a row. Effects are changes of this number: positive means that the metric rises when a node takes its patch value.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.prompts.prompt_pairs import PairBatch

OnLogits = Callable[[Float[Tensor, "row vocab"], PairBatch], Float[Tensor, " row"]]
"""logits at the last position, batch -> one number a row; differentiable in the logits."""


@dataclass(frozen=True)
class SomeLogits:
    """What a metric that reads few logits needs: which vocabulary columns of each row, and its value from them."""

    columns: Callable[[PairBatch], Int[Tensor, "row column"]]
    of: Callable[[Float[Tensor, "row column"]], Float[Tensor, " row"]]


@dataclass(frozen=True)
class Metric:
    """A named metric. `of_clean` builds it anew for each batch from the clean run's logits, where it needs them.

    `some` is given where a few logits are enough; without it all are computed. `flat_at_clean` says that its gradient
    is zero at the clean run; methods that look only there refuse it. `version` is any text that changes when the
    function does: a metric of your own needs one where chunks are kept (`execution.py`).
    """

    name: str
    unit: str
    of: OnLogits | None = None
    of_clean: Callable[[Float[Tensor, "row vocab"], PairBatch], OnLogits] | None = None
    flat_at_clean: bool = False
    some: SomeLogits | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if (self.of is None) == (self.of_clean is None):
            raise ValueError(f"Metric {self.name!r}: give exactly one of `of` and `of_clean`.")

    def bind(self, clean_logits: Float[Tensor, "row vocab"], batch: PairBatch) -> OnLogits:
        """The callable for one batch of examples, whose clean logits are given."""
        if self.of is not None:
            return self.of
        assert self.of_clean is not None
        return self.of_clean(clean_logits.detach(), batch)


def _logit_difference(logits: Tensor, batch: PairBatch) -> Tensor:
    return _column(logits, batch.answer_id) - _column(logits, batch.foil_id)


_ANSWER_AND_FOIL = SomeLogits(
    lambda b: torch.stack([b.answer_id, b.foil_id], 1), lambda logits: logits[:, 0] - logits[:, 1]
)


def _log_probability(logits: Tensor, batch: PairBatch) -> Tensor:
    return _column(torch.log_softmax(logits, dim=-1), batch.answer_id)


def _kl_from_clean(clean_logits: Tensor, batch: PairBatch) -> OnLogits:
    clean = torch.log_softmax(clean_logits, dim=-1)
    row_of = {int(e): row for row, e in enumerate(batch.example)}

    def kl(logits: Tensor, rows: PairBatch) -> Tensor:
        own = clean[[row_of[int(e)] for e in rows.example]]
        return (own.exp() * (own - torch.log_softmax(logits, dim=-1))).sum(-1)

    return kl


def _column(values: Tensor, ids: Tensor) -> Tensor:
    return values.gather(-1, ids[:, None])[:, 0]


logit_difference = Metric("logit_difference", "logits", of=_logit_difference, some=_ANSWER_AND_FOIL)
"""logit(answer) - logit(foil)."""

log_probability = Metric("log_probability", "nats", of=_log_probability)
"""log p(answer)."""

kl_divergence = Metric("kl_divergence", "nats", of_clean=_kl_from_clean, flat_at_clean=True)
"""KL(clean run || this run) over the vocabulary: 0 on the clean run, and its gradient there is 0 too."""

METRICS = {metric.name: metric for metric in (logit_difference, log_probability, kl_divergence)}
