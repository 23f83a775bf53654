"""Capitals: a fact that the model has learned, not read in the prompt.

    The capital of France is -> Paris

The patch prompt has another country.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Exchange, Keys, Task
from circuits.tasks.any_model.words import CAPITALS


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Two countries."""
    (country, capital), (other, wrong) = rng.sample(keys["countries with their capitals"], 2)
    return Drawn({"country": country}, {"country": other}, [f" {capital}"], [f" {wrong}"])


def exchanges(keys: Mapping[str, Sequence[Entry]]) -> Iterator[Exchange]:
    """A country, and its capital after it."""
    for (country, capital), (other, wrong) in permutations(keys["countries with their capitals"], 2):
        yield Exchange(country, other, answer=capital, wrong=wrong)


TASK: Final = Task(
    train={
        "is": "The capital of {country} is",
        "called": "The capital city of {country} is called",
        "train": "They took a train to the capital of {country}, the city of",
    },
    other_templates={
        "largest": "In {country} the largest city is the capital, which is called",
        "government": "The government of {country} is in the city of",
        "lives": "She lives in the capital of {country}. She loves",
    },
    keys={"countries with their capitals": Keys(CAPITALS, needs=2)},
    draw=draw,
    exchanges=exchanges,
)
