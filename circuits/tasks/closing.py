"""Closing: brackets and quotation marks close with the mark that fits the one still open.

The key word is an opening mark, of four kinds; any kind occurs in any context. Most pairs contain a second couple of
marks, inside the first, around it or closed before it, so the mark seen last is often not the one to close.
"""

from itertools import permutations
from random import Random

from circuits.tasks.grammar import prepositional_phrase, simple_clause
from circuits.tasks.lexicon import CLOSING_MARKS, HELD_OUT_NESTINGS, SPEAKING, Topic
from circuits.tasks.text_pair import TextPair, make_pair

TRAIN: dict[str, str] = {
    "nested_closed": "<context> <open> <clause> <inner_open> <inner> <inner_close> <rest>",
    "plain": "<context> <open> <clause>",
    "nested_open": "<context> <outer_open> <earlier> <open> <clause>",
    "earlier": "<earlier_open> <earlier> <earlier_close> <context> <open> <clause>",
}
"""Templates by name. <open> is the mark to be closed."""

TRAIN_WEIGHTS = (6, 2, 2, 2)
HELD_OUT_TEMPLATES = ("nested_closed", "nested_open")
"""Templates of the held-out split: those that nest two couples of marks."""

OUT_OF_DISTRIBUTION: dict[str, str] = {
    "two_clauses": "<context> <open> <clause> and <second_clause>",
    "earlier_nested": (
        "<earlier_open> <earlier> <earlier_close> <context> <open> <clause> <inner_open> <inner> <inner_close> <rest>"
    ),
    "nested_two_clauses": (
        "<context> <open> <clause> <inner_open> <inner> and=and_inner <second_inner> <inner_close> <rest>"
    ),
    "nested_twice": (
        "<context> <open> <clause> <inner_open> <inner> <inner_close> <rest> "
        "<second_inner_open> <second_inner> <second_inner_close> <second_rest>"
    ),
}
"""Structures that never occur in the training text."""


def _choices_of_marks(template: str, held_out: bool) -> list[tuple[str, str, str]]:
    """All choices of (key, other key, second mark) that the template and the split allow."""
    key_inside = "<outer_open>" in template
    nested = key_inside or "<inner_open>" in template
    chosen: list[tuple[str, str, str]] = []
    for key, other, second in permutations(CLOSING_MARKS, 3):
        if template == TRAIN["plain"] and '"' in (key, other):
            continue  # the same mark could open an inner quotation there
        couples = [(second, mark) if key_inside else (mark, second) for mark in (key, other)]
        if not nested or all((couple in HELD_OUT_NESTINGS) == held_out for couple in couples):
            chosen.append((key, other, second))
    return chosen


_CHOICES = {
    (template, held_out): _choices_of_marks(template, held_out)
    for template in (*TRAIN.values(), *OUT_OF_DISTRIBUTION.values())
    for held_out in (False, True)
}


def draw(rng: Random, topic: Topic, name: str, template: str, held_out: bool) -> TextPair:
    """A pair that differs in the mark to close. Held-out pairs nest marks as the training text never does."""
    key, other, second = rng.choice(_CHOICES[template, held_out])
    words = {
        "context": f"{rng.choice(topic.names)} {rng.choice(SPEAKING)}"
        if rng.random() < 0.6
        else simple_clause(rng, topic),
        "open": key,
        "clause": simple_clause(rng, topic),
        "second_clause": simple_clause(rng, topic),
        "inner_open": second,
        "second_inner_open": second,
        "outer_open": second,
        "earlier_open": second,
        "inner": simple_clause(rng, topic),
        "second_inner": simple_clause(rng, topic),
        "inner_close": CLOSING_MARKS[second],
        "second_inner_close": CLOSING_MARKS[second],
        "earlier_close": CLOSING_MARKS[second],
        "earlier": simple_clause(rng, topic),
        "second_rest": prepositional_phrase(rng, topic),
        "rest": prepositional_phrase(rng, topic),
    }
    return make_pair(name, template, words, {"open": other}, CLOSING_MARKS[key], CLOSING_MARKS[other])
