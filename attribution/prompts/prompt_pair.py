"""One contrast pair: a clean prompt and a patch prompt of equal token length, with answer and foil.

The answer is right for the clean prompt, the foil (`wrong` in files) for the patch prompt. In a file, a pair is given
as texts, which the model's tokenizer turns into ids (`models/tokenising.py`), as ids, or as both. An answer's tokens
are those that follow the prompt: of prompt and answer together, less those of the prompt. There may be several answers,
answers of several tokens (`answers.py`), or none: then the model's own two likeliest tokens are taken.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Final

import torch

from attribution.models.hooks import logits_at
from attribution.models.language_model import LanguageModel
from attribution.prompts.answers import Tokens, check_answers, first_difference, read_answers
from attribution.prompts.role_spans import roles_of_spans
from graphs.nodes import EVERYWHERE

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
    if not pair.clean_ids:
        raise ValueError(f"Pair {row}: the clean prompt is empty.")
    if len(pair.clean_ids) != len(pair.patch_ids):
        raise ValueError(_unequal(row, pair.clean_ids, pair.patch_ids))
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


def pair_from(row: int, entry: Any, model: LanguageModel) -> PromptPair:
    """One pair from a mapping with texts, ids or both; ids win. `row` names the pair in errors.

    Keys: clean, patch, answer, wrong; or clean_ids, patch_ids (BOS included), answer_id, wrong_id. In place of clean
    and patch, prompt (or prompt_ids): it has no counterfactual, and wrong may be left out. Several answers: answers,
    wrongs; one of several tokens as ids: answer_ids, wrong_ids. Without any, the answer is the model's likeliest token
    after the clean prompt, and its second the wrong one. Optional: template, and roles, as names of all tokens or as
    spans of the clean text (`role_spans.py`).

    Raises:
        ValueError: a missing key, a wrong type, a word unknown to the tokenizer, or a pair that fails `check_pair`.
    """
    check_entry(row, entry)
    entry = _with_both_prompts(entry)

    def prompt(key: str) -> tuple[int, ...]:
        return tuple(entry[f"{key}_ids"] if f"{key}_ids" in entry else _tokens(row, key, entry[key], model))

    def answers(key: str) -> tuple[Tokens, ...]:
        both = {"clean": clean, "patch": patch}
        return read_answers(row, key, entry, lambda text: _following(row, key, text, entry, both, model))

    clean, patch = prompt("clean"), prompt("patch")
    if len(clean) != len(patch):
        raise ValueError(f"{_unequal(row, clean, patch)}\n{aligned(clean, patch, model)}")
    right, wrong = answers("answer"), answers("wrong")
    about = {"template": entry.get("template"), "predicted": not right}
    if not right:
        right, wrong = likeliest_two(clean, model)
    return PromptPair.of(clean, patch, right, wrong, roles=_roles(row, entry, clean, model), **about)


def likeliest_two(ids: Tokens, model: LanguageModel) -> tuple[tuple[Tokens, ...], tuple[Tokens, ...]]:
    """The model's likeliest next token as the answer, and its second as the foil."""
    row = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        logits = logits_at(model, row, torch.tensor([len(ids) - 1], device=model.device), {})
    first, second = logits[0].topk(2).indices.tolist()
    return ((first,),), ((second,),)


def aligned(clean: Sequence[int], patch: Sequence[int], model: LanguageModel) -> str:
    """Both prompts token by token in two lines, equal tokens under each other."""
    both = [[token.replace("\n", "\\n") for token in model.token_texts(ids)] for ids in (clean, patch)]
    cells: list[tuple[str, str]] = []
    for _, a, b, c, d in SequenceMatcher(a=list(clean), b=list(patch), autojunk=False).get_opcodes():
        own, other = both[0][a:b], both[1][c:d]
        more = max(len(own), len(other))
        cells += zip(own + [""] * (more - len(own)), other + [""] * (more - len(other)), strict=True)
    lines = (("clean", 0), ("patch", 1))
    return "\n".join(
        f"  {name}  " + "|".join(cell[side].ljust(max(map(len, cell))) for cell in cells) for name, side in lines
    )


def _with_both_prompts(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A prompt without a counterfactual as a pair with itself."""
    own = {key: entry[key] for key in ("prompt", "prompt_ids") if key in entry}
    return {**entry, **{key.replace("prompt", side): v for key, v in own.items() for side in ("clean", "patch")}}


def _roles(row: int, entry: Mapping[str, Any], clean: tuple[int, ...], model: LanguageModel) -> tuple[str, ...] | None:
    roles = entry.get("roles")
    if not isinstance(roles, Mapping):
        return None if roles is None else tuple(roles)
    try:
        return roles_of_spans(roles, model.token_texts(clean), opened=clean[0] == model.bos_id)
    except ValueError as error:
        raise ValueError(f"Pair {row}: {error}") from None


def _unequal(row: int, clean: Sequence[int], patch: Sequence[int]) -> str:
    return (
        f"Pair {row}: clean has {len(clean)} tokens and patch {len(patch)}; "
        "positions can only be compared between prompts of equal length."
    )


def check_entry(row: int, entry: Any) -> None:
    """Check what can be checked without a model: keys, types, and lengths of ids.

    Raises:
        ValueError: the message names the row and what is wrong with it.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"Pair {row}: expected an object, found {type(entry).__name__}.")
    if (alone := "prompt" in entry or "prompt_ids" in entry) and {"clean", "patch", "clean_ids", "patch_ids"} & set(
        entry
    ):
        raise ValueError(
            f"Pair {row}: has a prompt without a counterfactual, and clean or patch too. Give one of them."
        )
    keys = {"prompt": "prompt_ids"} if alone else {"clean": "clean_ids", "patch": "patch_ids"}
    for key, ids_key in keys.items():
        if ids_key in entry:
            _check_ids(row, ids_key, entry[ids_key])
        elif key not in entry:
            raise ValueError(f"Pair {row}: has neither {key!r} nor {ids_key!r}.")
        elif not isinstance(entry[key], str):
            raise ValueError(f"Pair {row}: {key} must be text; found {entry[key]!r}.")
    unanswered = not any(key.startswith(("answer", "wrong")) for key in entry)
    for key in ("answer", "wrong"):
        check_answers(row, key, entry, optional=unanswered or (alone and key == "wrong"))
    roles = entry.get("roles")
    is_list = isinstance(roles, list | tuple) and all(isinstance(r, str) for r in roles)
    if roles is not None and not (is_list or isinstance(roles, Mapping)):
        raise ValueError(
            f"Pair {row}: roles must be a list of names, one for each token, or map names to spans of the text."
        )
    template = entry.get("template")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"Pair {row}: template must be the name of a template; found {template!r}.")
    if not alone and all(key in entry for key in (*keys.values(), "answer_id", "wrong_id")):
        prompts = tuple(entry["clean_ids"]), tuple(entry["patch_ids"])
        named = tuple(roles) if roles is not None and is_list else None
        check_pair(row, PromptPair(*prompts, entry["answer_id"], entry["wrong_id"], named))


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


def _check_ids(row: int, key: str, values: Any) -> None:
    if not isinstance(values, list | tuple) or not all(type(v) is int for v in values):
        raise ValueError(f"Pair {row}: {key} must hold token ids, which are whole numbers; found {values!r}.")


def _tokens(row: int, key: str, text: str, model: LanguageModel) -> list[int]:
    ids = model.token_ids(text)
    _refuse_unknown(row, key, text, ids, model)
    return ids


def _refuse_unknown(row: int, key: str, text: str, ids: Sequence[int], model: LanguageModel) -> None:
    if model.unknown_id is not None and model.unknown_id in ids:
        raise ValueError(
            f"Pair {row}: {key} {text!r} has a word the tokenizer does not know. Choose another, or give ids."
        )


def _following(
    row: int, key: str, answer: str, entry: Mapping[str, Any], prompts: Mapping[str, Tokens], model: LanguageModel
) -> list[int]:
    """The ids of an answer after both prompts, where they must be the same: one metric reads both runs."""
    found = dict[str, list[int]]()
    for name, prompt in prompts.items():
        try:
            found[name] = model.answer_ids(prompt, answer, entry.get(name))
        except ValueError as error:
            raise ValueError(f"Pair {row}: {key}, {name} prompt: {error}") from error
    first, other = found.values()
    if first != other:
        raise ValueError(
            f"Pair {row}: {key} {answer!r} has other tokens after the clean prompt (ids {first}) than after the "
            f"patch prompt (ids {other}). Choose another word, or give {key}_id."
        )
    _refuse_unknown(row, key, answer, first, model)
    return first
