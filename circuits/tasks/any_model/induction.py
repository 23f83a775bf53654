"""Induction: a word that occurred before is followed by what followed it then.

    the water king river door water -> king

The words are drawn at random and mean nothing together. The patch prompt exchanges what follows the two words.
Source: Olsson et al. 2022.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Keys, Task
from circuits.tasks.any_model.words import NAMES, ORDINARY

_BETWEEN = 4


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Two words with what follows them, and others between them; no word occurs twice but the one asked about."""
    first, follows, other, other_follows, *between = (word for (word,) in rng.sample(keys["words"], 4 + _BETWEEN))
    words = {"first": first, "first_next": follows, "other": other, "other_next": other_follows, "end": first}
    words |= {f"between_{n}": word for n, word in enumerate(between, start=1)}
    changed = {"first_next": other_follows, "other_next": follows}
    return Drawn(words, changed, [f" {follows}"], [f" {other_follows}"])


TASK: Final = Task(
    train={
        "near": "the {first} {first_next} {other} {other_next} {end}",
        "apart": "the {first} {first_next} {between_1} {other} {other_next} {end}",
        "turned": "the {other} {other_next} {between_1} {first} {first_next} {between_2} {end}",
    },
    other_templates={
        "far": "the {first} {first_next} {between_1} {between_2} {other} {other_next} {between_3} {between_4} {end}",
        "phrases": "the {first} {first_next} and the {other} {other_next} and the {end}",
        "marks": "the {first} {first_next}, {between_1}, {other} {other_next}, {between_2}, {end}",
    },
    keys={"words": Keys(tuple((word,) for word in dict.fromkeys((*ORDINARY, *NAMES))), needs=4 + _BETWEEN)},
    draw=draw,
)
