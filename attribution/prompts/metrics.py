"""Metrics: callables on logits whose changes are the effects of nodes.

A metric takes the logits at each row's last position and the batch of these rows, and gives one number for each row.
An effect is a change of this number: positive means that the metric rises when a node takes its patch value.

To add a metric: a `Metric`, and its name in the tuple of `METRICS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.prompts.prompt_pair import NO_FOIL
from attribution.prompts.prompt_pairs import PairBatch

OnLogits = Callable[[Float[Tensor, "row vocab"], PairBatch], Float[Tensor, " row"]]
"""Logits at the last position, batch -> one number for each row, differentiable in the logits."""


@dataclass(frozen=True)
class SomeLogits:
    """A metric that reads few logits: which tokens' logits of each row (`columns`), and the metric from them (`of`)."""

    columns: Callable[[PairBatch], Int[Tensor, "row column"]]
    of: Callable[[Float[Tensor, "row column"]], Float[Tensor, " row"]]


@dataclass(frozen=True)
class Metric:
    """A named metric in a unit, given as one of two callables.

    of: the metric of logits and batch.
    of_clean: builds that callable for each batch, from the clean run's logits (KL divergence needs them).
    some: set if a few logits are enough; otherwise all are computed.
    flat_at_clean: the gradient is zero at the clean run, so methods that look only there refuse the metric.
    version: any text that changes whenever the function does. A metric of your own needs one if chunks are kept
        (`runs/chunk_key.py`).

    Raises:
        ValueError: neither or both of `of` and `of_clean` are given.
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
        """The callable for one batch of examples, given the clean run's logits."""
        if self.of is not None:
            return self.of
        assert self.of_clean is not None
        return self.of_clean(clean_logits.detach(), batch)


def _logit_difference(logits: Tensor, batch: PairBatch) -> Tensor:
    return _column(logits, batch.answer_id) - _column(logits, _foils(batch))


def _foils(batch: PairBatch) -> Int[Tensor, " row"]:
    if (batch.foil_id == NO_FOIL).any():
        row = int(batch.example[batch.foil_id == NO_FOIL][0])
        raise ValueError(
            f"Pair {row} has no wrong answer, which logit_difference compares with. Give `wrong`, or another metric: "
            "log_probability or kl_divergence."
        )
    return batch.foil_id


_ANSWER_AND_FOIL = SomeLogits(
    lambda b: torch.stack([b.answer_id, _foils(b)], 1), lambda logits: logits[:, 0] - logits[:, 1]
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
"""logit(answer) − logit(foil), in logits."""

log_probability = Metric("log_probability", "nats", of=_log_probability)
"""log p(answer), in nats."""

kl_divergence = Metric("kl_divergence", "nats", of_clean=_kl_from_clean, flat_at_clean=True)
"""KL(clean run ‖ this run) over the vocabulary, in nats. On the clean run both it and its gradient are 0."""

METRICS = {metric.name: metric for metric in (logit_difference, log_probability, kl_divergence)}
