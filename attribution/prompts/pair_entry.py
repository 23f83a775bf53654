"""A pair as an entry of a file: a mapping with texts, which the model's tokenizer turns into ids, with ids, or both.

An answer's tokens are those that follow the prompt: of prompt and answer together, less those of the prompt
(`models/tokenising.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import torch

from attribution.models.hooks import logits_at
from attribution.models.language_model import LanguageModel
from attribution.prompts.answers import FORMS, Tokens, has_answers, read_answers
from attribution.prompts.keys_not_read import refuse_misspelt
from attribution.prompts.pair_schema import PairRow
from attribution.prompts.prompt_pair import PromptPair, check_pair, refuse_empty, unequal
from attribution.prompts.role_spans import roles_of_spans
from graphs.files.typed_content import typed
from graphs.plain_data import as_plain_data


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
    refuse_empty(row, clean)
    for ids in (clean, patch):
        check_ids(row, ids, model)
    if len(clean) != len(patch):
        raise ValueError(f"{unequal(row, clean, patch)}\n{aligned(clean, patch, model)}")
    right, wrong = answers("answer"), answers("wrong")
    about = {"template": entry.get("template"), "predicted": not right}
    if not right:
        right, wrong = likeliest_two(clean, model)
    return PromptPair.of(clean, patch, right, wrong, roles=_roles(row, entry, clean, model), **about)


def pairs_from(entries: Iterable[Any], model: LanguageModel) -> list[PromptPair]:
    """One pair from each entry; entries that are pairs stay as they are.

    Raises:
        ValueError: what is wrong with the first bad entry, and the rows of the others.
    """
    found, faults = list[PromptPair](), dict[int, ValueError]()
    count = 0
    for row, entry in enumerate(entries):
        count += 1
        try:
            found.append(entry if isinstance(entry, PromptPair) else pair_from(row, entry, model))
        except ValueError as error:
            faults[row] = error
    if faults:
        (_, first), *others = faults.items()
        also = ", ".join(str(row) for row, _ in others[:10]) + (", ..." if len(others) > 10 else "")
        more = f"\n{len(others)} more of {count} pairs cannot be used either: {also}." if others else ""
        raise ValueError(f"{first}{more}") from first
    return found


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
    refuse_misspelt(f"Pair {row}", entry)
    keys = {"prompt": "prompt_ids"} if alone else {"clean": "clean_ids", "patch": "patch_ids"}
    try:
        typed(PairRow, as_plain_data(entry))
    except ValueError as error:
        raise ValueError(f"Pair {row}: {error}.") from None
    for key, ids_key in keys.items():
        if key not in entry and ids_key not in entry:
            raise ValueError(f"Pair {row}: has neither {key!r} nor {ids_key!r}.")
    answered = has_answers("answer", entry), has_answers("wrong", entry)
    for key, has in zip(("answer", "wrong"), answered, strict=True):
        if any(answered) and not has and not (alone and key == "wrong"):
            raise ValueError(f"Pair {row}: has neither {key!r} nor {key + '_id'!r}. Give {FORMS.format(key)}.")
    if not alone and all(key in entry for key in (*keys.values(), "answer_id", "wrong_id")):
        prompts, roles = (tuple(entry["clean_ids"]), tuple(entry["patch_ids"])), entry.get("roles")
        named = None if roles is None or isinstance(roles, Mapping) else tuple(roles)
        check_pair(row, PromptPair(*prompts, entry["answer_id"], entry["wrong_id"], named))


def check_ids(row: int, ids: Tokens, model: LanguageModel) -> None:
    """Check that the model can read these ids.

    Raises:
        ValueError: an id outside the vocabulary, or more tokens than the context holds.
    """
    outside = [token for token in ids if not 0 <= token < model.d_vocab]
    if outside:
        raise ValueError(
            f"Pair {row}: token id {outside[0]} is outside the model's vocabulary of {model.d_vocab}. "
            "Were the ids made with another tokenizer?"
        )
    if model.n_context is not None and len(ids) > model.n_context:
        raise ValueError(f"Pair {row}: {len(ids)} tokens; the model's context holds {model.n_context}.")


def likeliest_two(ids: Tokens, model: LanguageModel) -> tuple[tuple[Tokens, ...], tuple[Tokens, ...]]:
    """The model's likeliest next token as the answer, and its second as the foil."""
    row = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        logits = logits_at(model, row, torch.tensor([len(ids) - 1], device=model.device), {})
    first, second = logits[0].topk(2).indices.tolist()
    return ((first,),), ((second,),)


def aligned(clean: Sequence[int], patch: Sequence[int], model: LanguageModel) -> str:
    """Both prompts token by token in two lines, equal tokens under each other."""
    both = [list(model.shown_tokens(ids)) for ids in (clean, patch)]
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
        texts, shown = model.token_texts(clean), model.shown_tokens(clean)
        return roles_of_spans(roles, texts, opened=clean[0] == model.bos_id, shown=shown)
    except ValueError as error:
        raise ValueError(f"Pair {row}: {error}") from None


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
