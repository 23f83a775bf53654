"""One contrast pair: a clean prompt and a patch prompt of equal token length, with answer and foil.

The answer is right for the clean prompt, the foil (`wrong` in files) for the patch prompt. There may be several
answers, answers of several tokens (`answers.py`), or none: then the model's own two likeliest tokens are taken.
`pair_entry.py` reads a pair from a file's entry.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from attribution.prompts.answers import Tokens, first_difference
from graphs.nodes import EVERYWHERE
from graphs.short_repr import short_repr

NO_FOIL: Final = -1
"""The foil of a prompt without a wrong answer; metrics that compare two answers refuse it."""


@dataclass(frozen=True)
class PromptPair:
    """One pair as token ids.

    A prompt without a counterfactual has itself as patch prompt, and `NO_FOIL` if no wrong answer is given.

    Attributes:
        answer_id, foil_id: the first answer and foil; of several tokens, those in which the two first differ.
        roles: the name of each position, BOS included, if a task knows its meaning.
        template: that which made the pair.
        answers, foils: the tokens of every right and wrong answer; empty where `answer_id` and `foil_id` are all.
        forced: how many tokens at the end of both prompts are the answer's own (`answers.py`).
        predicted: the answers are the model's own two likeliest tokens after the clean prompt.
    """

    __repr__ = short_repr

    clean_ids: tuple[int, ...]
    patch_ids: tuple[int, ...]
    answer_id: int
    foil_id: int
    roles: tuple[str, ...] | None = None
    template: str | None = None
    answers: tuple[Tokens, ...] = ()
    foils: tuple[Tokens, ...] = ()
    forced: int = 0
    predicted: bool = False

    def __len__(self) -> int:
        return len(self.clean_ids)

    @property
    def has_counterfactual(self) -> bool:
        """Whether the patch prompt is another one."""
        return self.clean_ids != self.patch_ids

    @classmethod
    def of(
        cls, clean: Tokens, patch: Tokens, answers: tuple[Tokens, ...], foils: tuple[Tokens, ...], **about: Any
    ) -> "PromptPair":
        """A pair of prompts without their answers; all tokens but the last of an answer of several are appended."""
        first, foil = answers[0], foils[0] if foils else (NO_FOIL,)
        if len(answers) == len(first) == len(foil) == 1 and len(foils) <= 1:
            return cls(clean, patch, first[0], foil[0], **about)
        own = first[:-1] if len(answers) == 1 else ()
        place = (first_difference(first, foil) or 0) if foils else 0
        roles = about.pop("roles", None)
        if roles is not None:
            roles = (*roles, *(f"answer_{n + 1}" for n in range(len(own))))
        named = {"roles": roles, "answers": answers, "foils": foils, "forced": len(own), **about}
        return cls((*clean, *own), (*patch, *own), first[place], foil[place], **named)

    @property
    def unordered(self) -> frozenset[Tokens]:
        """Its two prompts, whichever is the clean one: the same for the pair and for the pair `turned`."""
        return frozenset([self.clean_ids, self.patch_ids])

    @property
    def end(self) -> int:
        """The last position of the prompt itself, where the answer begins."""
        return len(self) - 1 - self.forced

    @property
    def asked(self) -> int:
        """The position after which `answer_id` stands in the answer."""
        foils = self.every_foil
        return self.end + ((first_difference(self.every_answer[0], foils[0]) or 0) if foils else 0)

    @property
    def every_answer(self) -> tuple[Tokens, ...]:
        """The tokens of every right answer."""
        return self.answers or ((self.answer_id,),)

    @property
    def every_foil(self) -> tuple[Tokens, ...]:
        """The tokens of every wrong answer; none if there is no foil."""
        return self.foils if self.answers or self.foil_id == NO_FOIL else ((self.foil_id,),)

    def turned(self) -> "PromptPair":
        """The pair with clean and patch exchanged, and answer and foil; without a counterfactual it stays as it is."""
        if not self.has_counterfactual:
            return self
        if not self.answers:
            return replace(
                self, clean_ids=self.patch_ids, patch_ids=self.clean_ids, answer_id=self.foil_id, foil_id=self.answer_id
            )
        clean, patch = self.clean_ids[: self.end + 1], self.patch_ids[: self.end + 1]
        about = {"roles": None if self.roles is None else self.roles[: self.end + 1], "template": self.template}
        return PromptPair.of(patch, clean, self.foils, self.answers, predicted=self.predicted, **about)


def check_pair(row: int, pair: PromptPair) -> None:
    """Check one pair; `row` names it in errors.

    Raises:
        ValueError: an empty prompt, prompts of unequal length, equal answers, or roles that do not name each position.
    """
    refuse_empty(row, pair.clean_ids)
    if len(pair.clean_ids) != len(pair.patch_ids):
        raise ValueError(unequal(row, pair.clean_ids, pair.patch_ids))
    _check_different(row, pair)
    if pair.roles is None:
        return
    if len(pair.roles) != len(pair.clean_ids):
        raise ValueError(
            f"Pair {row}: {len(pair.roles)} roles for {len(pair.clean_ids)} tokens. Give one for each, BOS included."
        )
    twice = sorted({role for role in pair.roles if pair.roles.count(role) > 1})
    if twice:
        raise ValueError(f"Pair {row}: the role {twice[0]!r} occurs twice; each position needs a name of its own.")
    for role in pair.roles:
        if role == EVERYWHERE or re.fullmatch(r"-\d+", role):
            raise ValueError(
                f"Pair {row}: the role {role!r} means something else: {EVERYWHERE!r} all positions, and -1, -2, ... "
                "distances from the end. Choose another name."
            )


def refuse_empty(row: int, clean: Sequence[int]) -> None:
    """Raise a ValueError for a clean prompt without tokens."""
    if not clean:
        raise ValueError(f"Pair {row}: the clean prompt is empty.")


def unequal(row: int, clean: Sequence[int], patch: Sequence[int]) -> str:
    return (
        f"Pair {row}: clean has {len(clean)} tokens and patch {len(patch)}; "
        "positions can only be compared between prompts of equal length."
    )


def _check_different(row: int, pair: PromptPair) -> None:
    """No right answer is a wrong one, or begins with one."""
    for answer in pair.every_answer:
        for wrong in pair.every_foil:
            if answer == wrong:
                tokens = (
                    f"token (id {answer[0]})" if len(answer) == 1 else f"tokens (ids {', '.join(map(str, answer))})"
                )
                raise ValueError(f"Pair {row}: answer and wrong answer are the same {tokens}.")
            if first_difference(answer, wrong) is None:
                raise ValueError(
                    f"Pair {row}: one of answer (ids {answer}) and wrong answer (ids {wrong}) begins with the other, "
                    "so no token tells them apart. Make both longer, or choose others."
                )
