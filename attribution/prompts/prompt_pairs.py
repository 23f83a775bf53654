"""Contrast pairs: a clean prompt and a patch prompt of equal token length, with answer and foil.

The answer is right for the clean prompt, the foil (`wrong` in files) for the patch prompt.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attribution.models.language_model import LanguageModel


@dataclass(frozen=True)
class PromptPair:
    """One pair as token ids. `roles` names each position, BOS included, if a task knows its meaning."""

    clean_ids: tuple[int, ...]
    patch_ids: tuple[int, ...]
    answer_id: int
    foil_id: int
    roles: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.clean_ids)


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded on the right to one length. Rows may repeat an example.

    `last` is each row's last real position, where a metric reads the logits. `real` marks positions that are
    no padding. `example` is the row's index in its PromptPairs.
    """

    clean_ids: Int[Tensor, "row pos"]
    patch_ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    answer_id: Int[Tensor, " row"]
    foil_id: Int[Tensor, " row"]
    example: Int[Tensor, " row"]

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
    """A checked, ordered set of pairs."""

    pairs: tuple[PromptPair, ...]

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("No prompt pairs: there is nothing to measure.")
        for row, pair in enumerate(self.pairs):
            _check(row, pair)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[PromptPair]:
        return iter(self.pairs)

    def __getitem__(self, index: int) -> PromptPair:
        return self.pairs[index]

    def digest(self) -> str:
        """sha256 over all token ids, answers and foils."""
        ids = [(p.clean_ids, p.patch_ids, p.answer_id, p.foil_id) for p in self.pairs]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def head(self, count: int | None) -> "PromptPairs":
        """The first `count` pairs; all if `count` is None."""
        return self if count is None else PromptPairs(self.pairs[:count])

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[PairBatch]:
        """Consecutive batches of at most `size` pairs, padded on the right."""
        for examples in self.cut(size):
            yield self.batch(examples, device)

    def cut(self, size: int) -> Iterator[range]:
        """Ranges of consecutive pairs, at most `size` in each.

        Raises:
            ValueError: `size` below 1.
        """
        if size < 1:
            raise ValueError(f"batch_size must be at least 1; got {size}.")
        for start in range(0, len(self.pairs), size):
            yield range(start, min(start + size, len(self.pairs)))

    def batch(self, examples: Sequence[int] | None = None, device: torch.device | str = "cpu") -> PairBatch:
        """Some pairs, or all, as one batch padded on the right."""
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
        )

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
            ids = (*pair.clean_ids, *pair.patch_ids, pair.answer_id, pair.foil_id)
            outside = [i for i in ids if not 0 <= i < model.d_vocab]
            if outside:
                raise ValueError(
                    f"Pair {row}: token id {outside[0]} is outside the model's vocabulary of {model.d_vocab}. "
                    "Were the ids made with another tokenizer?"
                )
            if model.n_context is not None and len(pair) > model.n_context:
                raise ValueError(f"Pair {row}: {len(pair)} tokens; the model's context holds {model.n_context}.")

    @classmethod
    def from_json(cls, path: str | Path, model: LanguageModel) -> "PromptPairs":
        """Read {"pairs": [{"clean", "patch", "answer", "wrong", ...}]}; ids, where given, win over text.

        Optional keys: clean_ids, patch_ids (BOS included), answer_id, wrong_id, roles. Errors name the row.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not valid JSON ({error}).") from error
        if not isinstance(content, dict) or not isinstance(content.get("pairs"), list):
            raise ValueError(f'{path}: expected {{"pairs": [...]}} at the top level.')
        try:
            pairs = cls(tuple(pair_from(row, entry, model) for row, entry in enumerate(content["pairs"])))
            pairs.check_fits(model)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return pairs


def pair_from(row: int, entry: Any, model: LanguageModel) -> PromptPair:
    """One pair from a mapping with texts, ids or both; `row` names it in errors."""
    check_form(row, entry)

    def prompt(key: str) -> tuple[int, ...]:
        return tuple(entry[f"{key}_ids"] if f"{key}_ids" in entry else _tokens(row, key, entry[key], model))

    def word(key: str) -> int:
        if f"{key}_id" in entry:
            return entry[f"{key}_id"]
        ids = _tokens(row, key, entry[key], model)[model.bos_id is not None :]
        if len(ids) != 1:
            raise ValueError(f"Pair {row}: {key} {entry[key]!r} is {len(ids)} tokens; it must be exactly one.")
        return ids[0]

    roles = entry.get("roles")
    return PromptPair(
        prompt("clean"), prompt("patch"), word("answer"), word("wrong"), None if roles is None else tuple(roles)
    )


def check_form(row: int, entry: Any) -> None:
    """Check what can be checked without a model: keys, types, and lengths of ids.

    Raises:
        ValueError: the message names the row and what is wrong with it.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"Pair {row}: expected an object, found {type(entry).__name__}.")
    keys = {"clean": "clean_ids", "patch": "patch_ids", "answer": "answer_id", "wrong": "wrong_id"}
    for key, ids_key in keys.items():
        if ids_key in entry:
            _check_ids(row, ids_key, entry[ids_key] if key in ("clean", "patch") else [entry[ids_key]])
        elif key not in entry:
            raise ValueError(f"Pair {row}: has neither {key!r} nor {ids_key!r}.")
        elif not isinstance(entry[key], str):
            raise ValueError(f"Pair {row}: {key} must be text; found {entry[key]!r}.")
    roles = entry.get("roles")
    if roles is not None and not (isinstance(roles, list | tuple) and all(isinstance(r, str) for r in roles)):
        raise ValueError(f"Pair {row}: roles must be a list of names, one for each token.")
    if all(ids_key in entry for ids_key in keys.values()):
        prompts = tuple(entry["clean_ids"]), tuple(entry["patch_ids"])
        named = None if roles is None else tuple(roles)
        _check(row, PromptPair(*prompts, entry["answer_id"], entry["wrong_id"], named))


def _check_ids(row: int, key: str, values: Any) -> None:
    if not isinstance(values, list | tuple) or not all(type(v) is int for v in values):
        raise ValueError(f"Pair {row}: {key} must hold token ids, which are whole numbers; found {values!r}.")


def _tokens(row: int, key: str, text: str, model: LanguageModel) -> list[int]:
    ids = model.token_ids(text)
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is not None and unknown in ids and unknown != model.bos_id:
        raise ValueError(f"Pair {row}: {key} {text!r} has a word the tokenizer does not know.")
    return ids


def _check(row: int, pair: PromptPair) -> None:
    if not pair.clean_ids:
        raise ValueError(f"Pair {row}: the clean prompt is empty.")
    if len(pair.clean_ids) != len(pair.patch_ids):
        raise ValueError(
            f"Pair {row}: clean has {len(pair.clean_ids)} tokens and patch {len(pair.patch_ids)}; "
            "positions can only be compared between prompts of equal length."
        )
    if pair.answer_id == pair.foil_id:
        raise ValueError(f"Pair {row}: answer and wrong answer are the same token (id {pair.answer_id}).")
    if pair.roles is None:
        return
    if len(pair.roles) != len(pair.clean_ids):
        raise ValueError(f"Pair {row}: {len(pair.roles)} roles for {len(pair.clean_ids)} tokens.")
    twice = sorted({role for role in pair.roles if pair.roles.count(role) > 1})
    if twice:
        raise ValueError(f"Pair {row}: the role {twice[0]!r} occurs twice; each position needs a name of its own.")
