"""The answers of a pair: several right and wrong ones of one token each, or one of each of any number of tokens.

An answer of several tokens is teacher-forced: its tokens but the last are appended to both prompts, where they are
positions like others, with the roles `answer_1`, `answer_2`, ... A metric reads where each of its tokens is predicted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from graphs.short_repr import in_brief

Tokens = tuple[int, ...]

FORMS: Final = "{0} (text), {0}_id, {0}_ids (the tokens of one answer) or {0}s (a list of texts, ids or lists of ids)"


def read_answers(
    row: int, key: str, entry: Mapping[str, Any], ids_of: Callable[[str], Sequence[int]]
) -> tuple[Tokens, ...]:
    """The tokens of each answer (`key` is `answer` or `wrong`) of an entry that `check_answers` has passed.

    Empty where the entry has none. `ids_of` gives the tokens of a text.

    Raises:
        ValueError: an answer without tokens, or several of which one is not a single token.
    """
    if f"{key}_id" in entry:
        return ((entry[f"{key}_id"],),)
    if f"{key}_ids" in entry:
        return (tuple(entry[f"{key}_ids"]),)
    given = entry.get(f"{key}s", [entry[key]] if key in entry else [])
    found = [_tokens(answer, ids_of) for answer in given]
    for answer, tokens in zip(given, found, strict=True):
        if not tokens:
            raise ValueError(f"Pair {row}: {key} {answer!r} is 0 tokens. Give an answer of at least one.")
        if len(found) > 1 and len(tokens) != 1:
            raise ValueError(
                f"Pair {row}: {key}s: {answer!r} is {len(tokens)} tokens. Where there are several answers, each must "
                "be exactly one; give one answer alone to have its tokens read one after the other."
            )
    return tuple(found)


def check_answers(row: int, key: str, entry: Mapping[str, Any], *, optional: bool) -> None:
    """Check the form of an entry's answers, without a tokenizer.

    Raises:
        ValueError: none where one is needed, two forms at once, or a value of another type; the message says which.
    """
    if optional and not any(name in entry for name in (key, f"{key}_id", f"{key}_ids", f"{key}s")):
        return
    if f"{key}_id" in entry:
        _check_tokens(row, f"{key}_id", [entry[f"{key}_id"]])
    elif f"{key}_ids" in entry:
        _check_tokens(row, f"{key}_ids", entry[f"{key}_ids"])
    elif f"{key}s" in entry:
        given = entry[f"{key}s"]
        if not isinstance(given, list | tuple) or not given:
            raise ValueError(f"Pair {row}: {key}s must be a list of answers; found {in_brief(given)}.")
        for answer in given:
            if not isinstance(answer, str):
                _check_tokens(row, f"{key}s", answer if isinstance(answer, list | tuple) else [answer])
    elif key not in entry:
        raise ValueError(f"Pair {row}: has neither {key!r} nor {key + '_id'!r}. Give {FORMS.format(key)}.")
    elif not isinstance(entry[key], str):
        raise ValueError(f"Pair {row}: {key} must be text; found {entry[key]!r}. Several answers are {key}s.")


def first_difference(answer: Tokens, wrong: Tokens) -> int | None:
    """The place of the first token in which the two differ; None if one begins with the other."""
    return next((n for n, (a, b) in enumerate(zip(answer, wrong, strict=False)) if a != b), None)


def _tokens(answer: Any, ids_of: Callable[[str], Sequence[int]]) -> Tokens:
    if isinstance(answer, str):
        return tuple(ids_of(answer))
    return tuple(answer) if isinstance(answer, list | tuple) else (answer,)


def _check_tokens(row: int, key: str, values: Any) -> None:
    if not isinstance(values, list | tuple) or not values or not all(type(v) is int for v in values):
        raise ValueError(f"Pair {row}: {key} must hold token ids, which are whole numbers; found {values!r}.")
