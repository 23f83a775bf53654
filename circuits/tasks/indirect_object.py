"""Indirect objects: of the people named, the one who is not giving receives.

The key word is the giver's name, which repeats one of the names before it. Both orders of the names occur, and so do
three names and bystanders, so neither the position of a name nor the last name gives the answer away.
"""

from random import Random

from circuits.tasks.lexicon import (
    CONJUNCTIONS,
    GIVING,
    GOING,
    HELD_OUT_NAMES,
    PERSONAL_ADJECTIVES,
    TIMES,
    TRANSITIVE_PAST,
    Topic,
    article,
)
from circuits.tasks.text_pair import TextPair, make_pair

_TWO = "<first> and <second>"
_THREE = "<first> ,=comma_names <second> and <third>"
_BYSTANDER = "<bystander> was <adjective>"
_GOING = "<went> to=to_place the=the_place <place>"
_GIVING = "<gave> <article> <object> to"
_LATER = "in the=the_time <time>"

TRAIN: dict[str, str] = {
    "when": f"<opener> {_TWO} {_GOING} ,=comma <giver> {_GIVING}",
    "later": f"<opener> {_TWO} {_GOING} {_LATER} ,=comma <giver> {_GIVING}",
    "next_sentence": f"{_TWO} {_GOING} .=stop then <giver> {_GIVING}",
    "three_names": f"<opener> {_THREE} {_GOING} ,=comma <giver> and=and_giver <giver_2> {_GIVING}",
    "bystander": f"{_BYSTANDER} .=stop_bystander <opener> {_TWO} {_GOING} ,=comma <giver> {_GIVING}",
}
"""Templates by name. The first is the primary one."""

TRAIN_WEIGHTS = (4, 3, 3, 3, 2)
HELD_OUT_TEMPLATES = ("when", "three_names", "bystander")
"""Templates of the held-out split. In the training text, held-out names occur in the other ones only."""

OUT_OF_DISTRIBUTION: dict[str, str] = {
    "bystander_between": f"<opener> {_TWO} {_GOING} ,=comma {_BYSTANDER} and=and_giver <giver> {_GIVING}",
    "later_next_sentence": f"{_TWO} {_GOING} {_LATER} because {_BYSTANDER} .=stop <giver> {_GIVING}",
    "met_first": (f"<first> <past_verb> <second> .=stop_met <opener> they {_GOING} {_LATER} ,=comma <giver> {_GIVING}"),
}
"""Structures that never occur in the training text."""


def draw(rng: Random, topic: Topic, name: str, template: str, held_out: bool) -> TextPair:
    """A pair in which the giver is one of two names and the answer is the other."""
    *group, bystander = rng.sample([n for n in topic.names if (n in HELD_OUT_NAMES) == held_out], 4)
    size = 3 if "<third>" in template else 2
    group = group[:size]
    answer, giver, *others = rng.sample(group, size)
    gift = rng.choice(topic.things)[0]
    words = {
        **dict(zip(("first", "second", "third"), group, strict=False)),
        "giver": giver,
        "giver_2": others[0] if others else "",
        "bystander": bystander,
        "opener": rng.choice(CONJUNCTIONS),
        "went": rng.choice(GOING),
        "place": rng.choice(topic.places),
        "gave": rng.choice(GIVING),
        "object": gift,
        "article": article(gift),
        "time": rng.choice(TIMES),
        "past_verb": rng.choice(TRANSITIVE_PAST),
        "adjective": rng.choice(PERSONAL_ADJECTIVES),
    }
    return make_pair(name, template, words, {"giver": answer}, answer, giver)
