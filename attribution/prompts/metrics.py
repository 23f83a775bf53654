"""Metrics: callables on logits whose changes are the effects of nodes.

A metric takes the logits at the positions that it reads and the batch of these rows, and gives one number for each row.
An effect is a change of this number: positive means that the metric rises when a node takes its patch value.

    right, wrong     the answers and foils of a pair, each logsumexp'ed where there are several
    logit_difference          log Σ exp logit(right) − log Σ exp logit(wrong)
    mean_logit_difference     mean logit(right) − mean logit(wrong)
    log_probability           log Σ p(right); of an answer of several tokens, Σ log p(token | those before it)
    probability_difference    Σ p(right) − Σ p(wrong)
    kl_divergence             KL(clean run ‖ this run), summed over the positions read

They read where the answer begins, and differences where answer and foil first differ; `reading_at` moves them. To add a
metric: a `Metric`, and its name in the tuple of `METRICS`. `metric_names.py` finds metrics by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.prompts.answers import first_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PairBatch, Reads
from graphs.short_repr import short_repr

OnLogits = Callable[[Float[Tensor, "row *read vocab"], PairBatch], Float[Tensor, " row"]]
"""Logits at the positions read, batch -> one number for each row, differentiable in the logits."""

BUILT_IN: Final = "built in"


@dataclass(frozen=True)
class SomeLogits:
    """A metric that reads few logits of one position: which tokens' (`columns`; −1: none), and the metric from them."""

    __repr__ = short_repr

    columns: Callable[[PairBatch], Int[Tensor, "row column"]]
    of: Callable[[Float[Tensor, "row column"], PairBatch], Float[Tensor, " row"]]


_A_METRIC: Final = "A metric is a function of logits [row, vocabulary] and batch that returns a tensor [row]."


@dataclass(frozen=True)
class Metric:
    """A named metric in a unit, given as one of two callables.

    A callable gets the logits [row, vocab] where the metric reads one position of each prompt, and [row, read, vocab]
    where it reads several.

    Attributes:
        of: the metric of logits and batch.
        of_clean: builds that callable for each batch, from the clean run's logits (KL divergence needs them).
        some: set if a few logits are enough; otherwise all are computed.
        flat_at_clean: the gradient is zero at the clean run, so methods that look only there refuse the metric.
        version: any text that changes whenever the function does. A metric of your own needs one if chunks are kept
            (`runs/chunk_key.py`).
        at: the positions that are read: roles, or distances from the end (−1: the last position). By default one,
            where the answer begins.
        reads: gives the positions of a pair instead.
        many: the callable gets logits [row, read, vocab] even where it reads one position.

    Raises:
        ValueError: neither or both of `of` and `of_clean` are given, or no position in `at`.
    """

    __repr__ = short_repr

    name: str
    unit: str
    of: OnLogits | None = None
    of_clean: Callable[[Float[Tensor, "row *read vocab"], PairBatch], OnLogits] | None = None
    flat_at_clean: bool = False
    some: SomeLogits | None = None
    version: str | None = None
    at: tuple[str | int, ...] | None = None
    reads: Reads | None = None
    many: bool = False

    def __post_init__(self) -> None:
        if (self.of is None) == (self.of_clean is None):
            raise ValueError(f"Metric {self.name!r}: give exactly one of `of` and `of_clean`.")
        if self.at is not None and not self.at:
            raise ValueError(f"Metric {self.name!r}: `at` names no position. Give roles, or distances from the end.")

    def bind(self, clean_logits: Float[Tensor, "row *read vocab"], batch: PairBatch) -> OnLogits:
        """The callable for one batch of examples, given the clean run's logits.

        It raises a ValueError, which says what a metric is, where the metric fails or does not return one number for
        each row.
        """
        on = self.of
        if on is None:
            assert self.of_clean is not None
            on = self.of_clean(self._seen(clean_logits.detach()), batch)
        return partial(self._values, on)

    def _values(self, on: OnLogits, logits: Float[Tensor, "row *read vocab"], rows: PairBatch) -> Float[Tensor, " row"]:
        seen = self._seen(logits)
        try:
            values = on(seen, rows)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, AttributeError, LookupError, RuntimeError) as error:
            raise ValueError(
                f"Metric {self.name!r} fails on logits of shape {tuple(seen.shape)}: {type(error).__name__}: {error}. "
                f"{_A_METRIC}"
            ) from error
        if not isinstance(values, Tensor) or values.shape != seen.shape[:1]:
            shape = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"Metric {self.name!r} returned {shape}. It must return one number for each row of logits. {_A_METRIC}"
            )
        return values

    def positions(self, pair: PromptPair) -> tuple[int, ...]:
        """The positions at which the metric reads the logits of a pair, in the order in which it gets them.

        Raises:
            ValueError: the pair has no such position, or answers that the metric cannot read.
        """
        if self.at is not None:
            return tuple(_place(name, pair) for name in self.at)
        return (pair.end,) if self.reads is None else self.reads(pair)

    def reading_at(self, *at: str | int) -> "Metric":
        """The same metric, read at other positions: roles, or distances from the end.

        Raises:
            ValueError: no position, or several for a metric of one.
        """
        if len(at) > 1 and (self.reads is not None or not self.many):
            raise ValueError(f"{self.name} is read at one position; got {', '.join(map(str, at))}.")
        return replace(self, name=f"{self.name} at {', '.join(map(str, at))}", at=at, reads=None)

    def _seen(self, logits: Float[Tensor, "row *read vocab"]) -> Float[Tensor, "row *seen vocab"]:
        many = self.many or (self.at is not None and len(self.at) > 1)
        if logits.ndim == 2:
            return logits[:, None] if many else logits
        if many:
            return logits
        assert logits.shape[1] == 1, "a batch whose positions another metric reads"
        return logits[:, 0]


def _place(name: str | int, pair: PromptPair) -> int:
    roles = pair.roles or ()
    if name in roles:
        return roles.index(str(name))
    try:
        place = len(pair) + int(name)
    except ValueError:
        known = f"Its roles: {', '.join(roles)}." if roles else "It names no roles."
        raise ValueError(f"no position {name!r} to read the metric at. {known}") from None
    if not 0 <= place < len(pair):
        raise ValueError(f"no position {name} to read the metric at: it has {len(pair)} tokens, −1 is the last.")
    return place


def _where_they_differ(pair: PromptPair) -> tuple[int, ...]:
    """Where answer and foil first differ, what they share before that being given."""
    if not pair.every_foil:
        raise ValueError(
            "has no wrong answer to compare with. Give `wrong`, or another metric: log_probability or kl_divergence."
        )
    answer, foil = pair.every_answer[0], pair.every_foil[0]
    place = first_difference(answer, foil)
    assert place is not None
    if place == 0 and max(len(answer), len(foil)) > 1:
        raise ValueError(
            f"answer (ids {answer}) and wrong answer (ids {foil}) are of several tokens and share no beginning: a "
            "difference at one position does not compare them. Use log_probability."
        )
    return (pair.end + place,)


def _where_each_token_is_predicted(pair: PromptPair) -> tuple[int, ...]:
    return tuple(range(pair.end, len(pair)))


def _options(batch: PairBatch) -> tuple[Int[Tensor, "row answer"], Int[Tensor, "row foil"]]:
    """The tokens of right and wrong answers, −1 for none: several of one token, or those of the first difference."""
    several = (batch.answers.shape[1] > 1) | (batch.foils.shape[1] > 1)
    if not several:
        return batch.answer_id[:, None], batch.foil_id[:, None]
    return _first_is(batch.answers, batch.answer_id), _first_is(batch.foils, batch.foil_id)


def _first_is(options: Tensor, first: Tensor) -> Tensor:
    return torch.cat([first[:, None], options[:, 1:]], 1)


Summed = Callable[[Float[Tensor, "row option"], Tensor], Float[Tensor, " row"]]
"""Values of some options of each row, and which of them there are -> one number for each row."""


def _two_sums(logits: Float[Tensor, "row column"], batch: PairBatch, summed: Summed) -> Float[Tensor, " row"]:
    answers, foils = _options(batch)
    right, wrong = logits.split([answers.shape[1], foils.shape[1]], dim=1)
    return summed(right, answers >= 0) - summed(wrong, foils >= 0)


def _log_sum_exp(logits: Float[Tensor, "row option"], there: Tensor) -> Float[Tensor, " row"]:
    return logits[:, 0] if logits.shape[1] == 1 else logits.masked_fill(~there, -torch.inf).logsumexp(-1)


def _mean(logits: Float[Tensor, "row option"], there: Tensor) -> Float[Tensor, " row"]:
    return logits.masked_fill(~there, 0).sum(-1) / there.sum(-1)


def _sum(values: Float[Tensor, "row option"], there: Tensor) -> Float[Tensor, " row"]:
    return values.masked_fill(~there, 0).sum(-1)


def _columns(batch: PairBatch) -> Int[Tensor, "row column"]:
    return torch.cat(_options(batch), 1)


def _difference(summed: Summed) -> SomeLogits:
    return SomeLogits(_columns, lambda logits, batch: _two_sums(logits, batch, summed))


def _from_all(some: SomeLogits) -> OnLogits:
    return lambda logits, batch: some.of(chosen(logits, some.columns(batch)), batch)


def chosen(values: Float[Tensor, "row *read vocab"], tokens: Int[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """The values of some tokens of each row; of no token (−1) those of the first."""
    return values.gather(-1, tokens.clamp(min=0))


def _log_probability(logits: Float[Tensor, "row read vocab"], batch: PairBatch) -> Tensor:
    each, tokens = torch.log_softmax(logits, dim=-1), batch.answer_tokens
    if tokens.shape[1] != logits.shape[1]:
        raise ValueError("An answer of several tokens is read where it begins; its metric cannot be read elsewhere.")
    found = each.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
    whole = found.masked_fill(tokens < 0, 0).sum(-1)
    there = batch.answers >= 0
    if there.shape[1] == 1:
        return whole
    return torch.where(there.sum(1) > 1, _log_sum_exp(chosen(each[:, 0], batch.answers), there), whole)


def _probability_difference(logits: Tensor, batch: PairBatch) -> Tensor:
    return _two_sums(chosen(torch.softmax(logits, dim=-1), _columns(batch)), batch, _sum)


def _kl_from_clean(clean_logits: Tensor, batch: PairBatch) -> OnLogits:
    clean = torch.log_softmax(clean_logits, dim=-1)
    row_of = {int(e): row for row, e in enumerate(batch.example)}

    def kl(logits: Tensor, rows: PairBatch) -> Tensor:
        own = clean[[row_of[int(e)] for e in rows.example]]
        each = (own.exp() * (own - torch.log_softmax(logits, dim=-1))).sum(-1)
        return each.sum(-1)

    return kl


_LOG_SUMS, _MEANS = _difference(_log_sum_exp), _difference(_mean)

logit_difference = Metric(
    "logit_difference", "logits", of=_from_all(_LOG_SUMS), some=_LOG_SUMS, version=BUILT_IN, reads=_where_they_differ
)
"""logit(answer) − logit(foil), in logits; of several answers the logarithm of the sum of their exponentials."""

mean_logit_difference = Metric(
    "mean_logit_difference", "logits", of=_from_all(_MEANS), some=_MEANS, version=BUILT_IN, reads=_where_they_differ
)
"""Mean logit of the answers − mean logit of the foils, in logits."""

log_probability = Metric(
    "log_probability",
    "nats",
    of=_log_probability,
    version=BUILT_IN,
    reads=_where_each_token_is_predicted,
    many=True,
)
"""log p(answer), in nats: of several answers that of any of them, of an answer of several tokens that of all."""

probability_difference = Metric(
    "probability_difference", "probability", of=_probability_difference, version=BUILT_IN, reads=_where_they_differ
)
"""p(answer) − p(foil); of several answers their sum."""

kl_divergence = Metric(
    "kl_divergence", "nats", of_clean=_kl_from_clean, flat_at_clean=True, version=BUILT_IN, many=True
)
"""KL(clean run ‖ this run) over the vocabulary, in nats, summed over the positions that are read.

On the clean run both it and its gradient are 0.
"""

METRICS = {
    metric.name: metric
    for metric in (logit_difference, mean_logit_difference, log_probability, probability_difference, kl_divergence)
}
