"""The answers of a pair: several right and wrong ones of one token each, or one of each of any number of tokens.

An answer of several tokens is teacher-forced: its tokens but the last are appended to both prompts, where they are
positions like others, with the roles `answer_1`, `answer_2`, ... A metric reads where each of its tokens is predicted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Tokens = tuple[int, ...]

FORMS: Final = "{0} (text), {0}_id, {0}_ids (the tokens of one answer) or {0}s (a list of texts, ids or lists of ids)"


def read_answers(
    row: int, key: str, entry: Mapping[str, Any], ids_of: Callable[[str], Sequence[int]]
) -> tuple[Tokens, ...]:
    """The tokens of each answer (`key` is `answer` or `wrong`) of an entry that `check_entry` has passed.

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


def has_answers(key: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry has answers in some form (`key` is `answer` or `wrong`)."""
    return any(name in entry for name in (key, f"{key}_id", f"{key}_ids", f"{key}s"))


def first_difference(answer: Tokens, wrong: Tokens) -> int | None:
    """The place of the first token in which the two differ; None if one begins with the other."""
    return next((n for n, (a, b) in enumerate(zip(answer, wrong, strict=False)) if a != b), None)


def _tokens(answer: Any, ids_of: Callable[[str], Sequence[int]]) -> Tokens:
    if isinstance(answer, str):
        return tuple(ids_of(answer))
    return tuple(answer) if isinstance(answer, list | tuple) else (answer,)
