"""Pairs from templates: a text with slots, and lists of words that fill them in the clean and in the patch prompt.

    {"text": "The {subject} near the {attractor}", "answer": " are", "wrong": " is",
     "clean": {"subject": ["keys", "dogs"], "attractor": ["cabinet", "trees"]},
     "patch": {"subject": ["key", "dog"]}}

The n-th word of a slot's list in `patch` takes the place of the n-th in `clean`; a slot that `patch` leaves out stays
as it is. Every choice of one word for each slot is a row, the last slot changing fastest. Answers may have slots too,
filled as in the clean prompt. The slots are the roles (`role_spans.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from string import Formatter
from typing import Any, Final

MOST_ROWS: Final = 100_000
"""Pairs that one template may make."""
_KEYS = {"text", "clean", "patch", "answer", "wrong", "name"}


@dataclass(frozen=True)
class Filling:
    """One row that a template makes, and its patch prompt's spans; the clean prompt's are the row's `roles`."""

    row: dict[str, Any]
    patch_roles: dict[str, tuple[int, int]]


def fillings(number: int, template: Any) -> Iterator[Filling]:
    """Every row of a template. `number` names the template in errors.

    Raises:
        ValueError: a missing or unknown key, a slot without words, lists of unequal length, or too many pairs.
    """
    text, clean, patch = _checked(number, template)
    slots = list(clean)
    if (count := prod(map(len, clean.values()))) > MOST_ROWS:
        raise ValueError(f"Template {number}: its words make {count:,} pairs; expected at most {MOST_ROWS:,}.")
    for chosen in product(*(range(len(clean[slot])) for slot in slots)):
        words = {slot: clean[slot][n] for slot, n in zip(slots, chosen, strict=True)}
        changed = {slot: patch.get(slot, clean[slot])[n] for slot, n in zip(slots, chosen, strict=True)}
        clean_text, roles = _fill(text, words)
        patch_text, patch_roles = _fill(text, changed)
        row: dict[str, Any] = {"clean": clean_text, "patch": patch_text, "roles": roles}
        row["answer"], row["wrong"] = (_fill(template[key], words)[0] for key in ("answer", "wrong"))
        row["template"] = template.get("name", text)
        yield Filling(row, patch_roles)


def _checked(number: int, template: Any) -> tuple[str, dict[str, list[str]], dict[str, list[str]]]:
    where = f"Template {number}"
    if not isinstance(template, Mapping) or not _KEYS - {"name"} <= template.keys() <= _KEYS:
        raise ValueError(f"{where}: expected an object with {', '.join(sorted(_KEYS - {'name'}))} (and name).")
    if not all(isinstance(template[key], str) for key in ("text", "answer", "wrong")):
        raise ValueError(f"{where}: text, answer and wrong must be text.")
    clean, patch = template["clean"], template["patch"]
    for side, lists in (("clean", clean), ("patch", patch)):
        if not isinstance(lists, Mapping) or not all(_is_words(words) for words in lists.values()):
            raise ValueError(f'{where}: {side} must map slots to lists of words, as {{"subject": ["keys", "dogs"]}}.')
    for key in ("text", "answer", "wrong"):
        if missing := [slot for slot in _slots(template[key], where) if slot not in clean]:
            raise ValueError(f"{where}: the slot {{{missing[0]}}} in {key} has no words in clean.")
    for slot, words in patch.items():
        if len(clean.get(slot, ())) != len(words):
            raise ValueError(
                f"{where}: {slot!r} has {len(clean.get(slot, ()))} words in clean and {len(words)} in patch; the n-th "
                "of one takes the place of the n-th of the other."
            )
    return template["text"], {k: list(v) for k, v in clean.items()}, {k: list(v) for k, v in patch.items()}


def _is_words(words: Any) -> bool:
    return isinstance(words, list | tuple) and len(words) > 0 and all(isinstance(word, str) for word in words)


def _slots(text: str, where: str) -> list[str]:
    try:
        return [slot for _, slot, _, _ in Formatter().parse(text) if slot is not None]
    except ValueError as error:
        raise ValueError(f"{where}: {text!r} is no template ({error}).") from None


def _fill(text: str, words: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """The text with its slots filled, and where each slot that is not empty stands in it."""
    filled, spans = "", dict[str, tuple[int, int]]()
    for plain, slot, _, _ in Formatter().parse(text):
        filled += plain
        if slot is not None:
            if words[slot]:
                spans[slot] = (len(filled), len(filled) + len(words[slot]))
            filled += words[slot]
    return filled, spans
