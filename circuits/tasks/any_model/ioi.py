"""Indirect object identification: of two people, the one who is not giving receives.

    When Mary and John went to the store, John gave a book to -> Mary

The patch prompt has Mary give, so that John receives. The adversarial templates mislead a circuit that goes by how
often or where a name occurs: a name once more at the start, a third person, the other order, another verb.
Source: Wang et al. 2023.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from random import Random
from typing import Final

from circuits.tasks.any_model.task import Drawn, Entry, Exchange, Keys, Task
from circuits.tasks.any_model.words import NAMES, OBJECTS, PLACES


def draw(rng: Random, keys: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Three different names: who receives (`io`), who gives (`s1`, `s2`), and a third person."""
    (io,), (giver,), (third,) = rng.sample(keys["names"], 3)
    words = {"io": io, "s1": giver, "s2": giver, "io_again": io, "s_again": giver, "third": third}
    return Drawn(words, {"s2": io}, [f" {io}"], [f" {giver}"])


def exchanges(keys: Mapping[str, Sequence[Entry]]) -> Iterator[Exchange]:
    """The person named last, after another one who comes next."""
    for (giver,), (io,) in permutations(keys["names"], 2):
        yield Exchange(giver, io, answer=io, wrong=giver, both=True)


TASK: Final = Task(
    train={
        "went": "When {io} and {s1} went to the {place}, {s2} gave a {object} to",
        "were": "After {io} and {s1} were at the {place}, {s2} gave a {object} to",
        "sentence": "Then {io} and {s1} went to the {place}. {s2} gave a {object} to",
    },
    other_templates={
        "found": "While {io} and {s1} walked to the {place}, {s2} found a {object} and gave it to",
        "saw": "Today {io} saw {s1} at the {place}. Then {s2} gave a {object} to",
        "came": "Later {io} and {s1} came to the {place} and {s2} gave a {object} to",
    },
    adversarial={
        "giver_again": "Today {s_again} was happy. When {io} and {s1} went to the {place}, {s2} gave a {object} to",
        "receiver_again": "Today {io_again} was happy. When {io} and {s1} went to the {place}, {s2} gave a {object} to",
        "third_person": "When {io} and {s1} went to the {place}, {third} was happy and {s2} gave a {object} to",
        "swapped": "When {s1} and {io} went to the {place}, {s2} gave a {object} to",
        "showed": "When {io} and {s1} went to the {place}, {s2} showed a {object} to",
        "said": "When {io} and {s1} went to the {place}, {s2} said something to",
    },
    keys={"names": Keys(tuple((name,) for name in NAMES), needs=3)},
    fillers={"place": PLACES, "object": OBJECTS},
    draw=draw,
    exchanges=exchanges,
)
