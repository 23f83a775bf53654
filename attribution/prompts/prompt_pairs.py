"""An ordered set of prompt pairs, and batches of them padded on the right."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attribution.models.language_model import LanguageModel
from attribution.models.prompt_lengths import ANY_LENGTHS, PromptLengths
from attribution.prompts.pair_entry import check_ids
from attribution.prompts.prompt_pair import PromptPair, check_pair
from graphs.short_repr import short_repr

Reads = Callable[[PromptPair], tuple[int, ...]]
"""The positions of a pair at which a metric reads the logits."""


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded on the right to one length. An example may fill several rows.

    `last` is each row's last real position. `read` are the positions at which the metric reads the logits: `last`
    itself, or several of each row, filled up with the last of them. `real` marks positions that are no padding.
    `example` is the row's index in its PromptPairs. `answers` and `foils` are the first tokens of all answers,
    `answer_tokens` all tokens of the first answer; filled up with −1.
    """

    __repr__ = short_repr

    clean_ids: Int[Tensor, "row pos"]
    patch_ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    answer_id: Int[Tensor, " row"]
    foil_id: Int[Tensor, " row"]
    example: Int[Tensor, " row"]
    read: Int[Tensor, "row *read"]
    answers: Int[Tensor, "row answer"]
    foils: Int[Tensor, "row foil"]
    answer_tokens: Int[Tensor, "row token"]

    @property
    def real(self) -> Bool[Tensor, "row pos"]:
        positions = torch.arange(self.clean_ids.shape[1], device=self.last.device)
        return positions <= self.last[:, None]

    @property
    def reached(self) -> Bool[Tensor, "row pos"]:
        """Positions that a difference between the prompts can reach: real ones from the first differing token on."""
        return ((self.clean_ids != self.patch_ids) & self.real).cumsum(1).bool() & self.real

    def rows(self, index: Int[Tensor, " chosen"]) -> "PairBatch":
        """The batch of the chosen rows, in that order; a row may be chosen often."""
        return PairBatch(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class PromptPairs:
    """An ordered set of pairs, each of which has passed `check_pair`."""

    pairs: tuple[PromptPair, ...]

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("No prompt pairs: there is nothing to measure.")
        for row, pair in enumerate(self.pairs):
            check_pair(row, pair)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        shortest, longest = min(map(len, self.pairs)), max(map(len, self.pairs))
        tokens = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        return f"PromptPairs({len(self):,} pairs of {tokens} tokens)"

    def __iter__(self) -> Iterator[PromptPair]:
        return iter(self.pairs)

    def __getitem__(self, index: int) -> PromptPair:
        return self.pairs[index]

    def digest(self) -> str:
        """sha256 over all token ids, answers and foils."""
        ids = [plain_pair(pair) for pair in self.pairs]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def head(self, count: int | None) -> "PromptPairs":
        """The first `count` pairs; all if `count` is None."""
        return self if count is None else PromptPairs(self.pairs[:count])

    def by_template(self) -> dict[str, "PromptPairs"]:
        """The pairs of each template, by its name; those of no named template are left out."""
        names = dict.fromkeys(pair.template for pair in self.pairs if pair.template is not None)
        return {name: PromptPairs(tuple(p for p in self.pairs if p.template == name)) for name in names}

    def batches(self, size: int, model: LanguageModel | None = None, reads: Reads | None = None) -> Iterator[PairBatch]:
        """Consecutive batches of at most `size` pairs, padded on the right, whose lengths compute alike in `model`.

        `reads` as in `batch`.
        """
        for examples in self.cut(size, ANY_LENGTHS if model is None else model.lengths):
            yield self.batch(examples, "cpu" if model is None else model.device, reads)

    def cut(self, size: int, lengths: PromptLengths = ANY_LENGTHS, within: range | None = None) -> Iterator[range]:
        """Ranges of consecutive pairs, at most `size` in each, whose lengths compute alike; all pairs, or `within`.

        Raises:
            ValueError: `size` below 1.
        """
        if size < 1:
            raise ValueError(f"batch_size must be at least 1; got {size}.")
        within = range(len(self.pairs)) if within is None else within
        for part in lengths.cut([len(self.pairs[e]) for e in within], size):
            yield range(within.start + part.start, within.start + part.stop)

    def batch(
        self,
        examples: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
        reads: Reads | None = None,
    ) -> PairBatch:
        """The chosen pairs, by default all, as one batch padded on the right.

        Args:
            reads: the positions at which a metric reads the logits of a pair (`Metric.positions`); by default the last.

        Raises:
            ValueError: a pair without a position that is read; the message names it.
        """
        examples = range(len(self.pairs)) if examples is None else examples
        chosen = [self.pairs[e] for e in examples]
        width = max(map(len, chosen))

        def padded(rows: Sequence[tuple[int, ...]]) -> Tensor:
            return torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device)

        def column(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, device=device)

        return PairBatch(
            clean_ids=padded([p.clean_ids for p in chosen]),
            patch_ids=padded([p.patch_ids for p in chosen]),
            last=column([len(p) - 1 for p in chosen]),
            answer_id=column([p.answer_id for p in chosen]),
            foil_id=column([p.foil_id for p in chosen]),
            example=column(list(examples)),
            read=self._read(examples, reads, device),
            answers=filled([[a[0] for a in p.every_answer] for p in chosen], device),
            foils=filled([[f[0] for f in p.every_foil] for p in chosen], device),
            answer_tokens=filled([p.every_answer[0] for p in chosen], device),
        )

    def _read(
        self, examples: Sequence[int], reads: Reads | None, device: torch.device | str
    ) -> Int[Tensor, "row *read"]:
        last = [len(self.pairs[e]) - 1 for e in examples]
        found = [(place,) for place in last] if reads is None else [self._places(e, reads) for e in examples]
        if found == [(place,) for place in last]:
            return torch.tensor(last, device=device)
        width = max(map(len, found))
        return torch.tensor([[*own, *own[-1:] * (width - len(own))] for own in found], device=device)

    def _places(self, example: int, reads: Reads) -> tuple[int, ...]:
        try:
            return reads(self.pairs[example])
        except ValueError as error:
            raise ValueError(f"Pair {example}: {error}") from error

    def check_fits(self, model: LanguageModel, *, splice_bos: bool = True) -> None:
        """Check that the pairs fit a model.

        If BOS is not spliced, both prompts of a pair must open with it, or neither. Otherwise an SAE would take part in
        one of the two runs only.

        Raises:
            ValueError: an id outside the vocabulary, a prompt longer than the context, or BOS in one prompt only.
        """
        for row, pair in enumerate(self.pairs):
            if not splice_bos and (pair.clean_ids[0] == model.bos_id) != (pair.patch_ids[0] == model.bos_id):
                raise ValueError(
                    f"Pair {row}: one prompt opens with BOS and the other does not. Give it to both, or splice it too "
                    "(splice_bos=True)."
                )
            for ids in (pair.clean_ids, pair.patch_ids, *pair.every_answer, *pair.every_foil):
                check_ids(row, ids, model)


def plain_pair(pair: PromptPair) -> list[object]:
    """All that decides what is measured on a pair, as plain data."""
    found: list[object] = [list(pair.clean_ids), list(pair.patch_ids), pair.answer_id, pair.foil_id]
    if pair.answers:
        found += [[list(a) for a in pair.answers], [list(f) for f in pair.foils], pair.forced]
    return found


def filled(rows: Sequence[Sequence[int]], device: torch.device | str) -> Int[Tensor, "row column"]:
    """Rows of unequal length, filled up with −1."""
    width = max(1, *map(len, rows))
    return torch.tensor([[*own, *[-1] * (width - len(own))] for own in rows], device=device)
