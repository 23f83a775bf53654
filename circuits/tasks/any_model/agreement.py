"""Subject-verb agreement: the verb takes the number of the subject, not of the noun in between.

    The keys near the cabinet -> are

The patch prompt has the subject in the other number; that of other nouns is drawn independently.
Source: Linzen et al. 2016.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Exchange, Keys, Task
from circuits.tasks.any_model.words import ADJECTIVES, NOUNS


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """A subject, another noun, and a verb."""
    subject, attractor = rng.sample(keys["nouns"], 2)
    verb, number = rng.choice(keys["verbs"]), rng.randrange(2)
    words = {"subject": subject[number], "attractor": rng.choice(attractor)}
    return Drawn(words, {"subject": subject[1 - number]}, [f" {verb[number]}"], [f" {verb[1 - number]}"])


def exchanges(keys: Mapping[str, Sequence[Entry]]) -> Iterator[Exchange]:
    """A noun, and the verb that follows it."""
    for noun, verb, number in product(keys["nouns"], keys["verbs"], (0, 1)):
        yield Exchange(noun[number], noun[1 - number], answer=verb[number], wrong=verb[1 - number])


TASK: Final = Task(
    train={
        "near": "The {subject} near the {attractor}",
        "behind": "The {subject} behind the {attractor}",
        "adjective": "The {adjective} {subject} near the {attractor}",
    },
    other_templates={
        "relative": "The {subject} that saw the {attractor}",
        "attractor_adjective": "The {subject} with the {adjective} {attractor}",
        "sentence": "Today we think that the {subject} near the {attractor}",
    },
    keys={
        "nouns": Keys(tuple((noun, f"{noun}s") for noun in NOUNS), needs=2),
        "verbs": Keys((("is", "are"), ("was", "were"), ("has", "have")), needs=1, parted=False),
    },
    fillers={"adjective": ADJECTIVES},
    draw=draw,
    exchanges=exchanges,
)
