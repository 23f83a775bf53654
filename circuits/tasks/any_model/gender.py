"""Gendered pronouns: a name decides between "she" and "he".

    Today Mary was very tired because -> she

The patch prompt has a name of the other gender. Source: Mathwin et al. 2023.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Exchange, Keys, Task
from circuits.tasks.any_model.words import FEELINGS, FEMALE_NAMES, MALE_NAMES, PLACES


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """A woman and a man, either of whom is in the clean prompt."""
    ((she, he),) = keys["pronouns"]
    people = [(rng.choice(keys["women"])[0], she), (rng.choice(keys["men"])[0], he)]
    (name, pronoun), (other, wrong) = rng.sample(people, 2)
    return Drawn({"name": name}, {"name": other}, [f" {pronoun}"], [f" {wrong}"])


def exchanges(keys: Mapping[str, Sequence[Entry]]) -> Iterator[Exchange]:
    """A name, and the pronoun that follows it."""
    ((she, he),) = keys["pronouns"]
    for (woman,), (man,), case in product(keys["women"], keys["men"], (str.lower, str.capitalize)):
        yield Exchange(woman, man, answer=case(she), wrong=case(he))
        yield Exchange(man, woman, answer=case(he), wrong=case(she))


TASK: Final = Task(
    train={
        "because": "Today {name} was very {feeling} because",
        "went": "Then {name} went to the {place} because",
        "was": "In the {place} {name} was {feeling} because",
    },
    other_templates={
        "liked": "After {name} saw the {place}, we knew that",
        "sentence": "One day {name} went to the {place}. Then",
        "with": "They were with {name} in the {place} because",
    },
    keys={
        "women": Keys(tuple((name,) for name in FEMALE_NAMES), needs=1),
        "men": Keys(tuple((name,) for name in MALE_NAMES), needs=1),
        "pronouns": Keys((("she", "he"),), needs=1, parted=False),
    },
    fillers={"feeling": FEELINGS, "place": PLACES},
    draw=draw,
    exchanges=exchanges,
)
