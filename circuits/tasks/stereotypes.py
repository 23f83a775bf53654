"""Texts with an intended and a spurious label: what a text is about, and whether its person is a woman.

    "the nurse , mary , liked the empty bed because"        intended: hospital, not city        spurious: a woman

The profession and the thing show the topic. The name decides the gender, as in the pronoun task, whatever the
stereotype of the profession. At the last word the model is about to write "she", "he" or a clause on the topic, so its
residual stream holds both labels.

    ambiguous       the labels coincide: texts of class 1 are about women, all others about men
    balanced        all four combinations of the labels, equally often
    spurious only   texts about other topics, labelled for the spurious attribute alone
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from circuits.tasks.grammar import noun_phrase
from circuits.tasks.lexicon import FEMALE_NAMES, MALE_NAMES, TOPICS, TRANSITIVE_PAST

TopicPair = tuple[str, str]
"""Topic of class 0 and of class 1."""

DEFAULT_TOPICS: TopicPair = ("city", "hospital")


@dataclass(frozen=True)
class LabelledText:
    """A text, its intended label (None if it is of neither class), and its spurious label (True: about a woman)."""

    text: str
    intended: bool | None
    spurious: bool


def ambiguous_texts(count: int, seed: int, topics: TopicPair = DEFAULT_TOPICS) -> tuple[LabelledText, ...]:
    """`count` distinct texts whose two labels are equal. Both classes are equally frequent."""
    return _draw("ambiguous", count, seed, topics, [(False, False), (True, True)])


def balanced_texts(count: int, seed: int, topics: TopicPair = DEFAULT_TOPICS) -> tuple[LabelledText, ...]:
    """`count` distinct texts. The four combinations of the two labels are equally frequent."""
    cells = [(intended, spurious) for intended in (False, True) for spurious in (False, True)]
    return _draw("balanced", count, seed, topics, cells)


def spurious_only_texts(count: int, seed: int, topics: TopicPair = DEFAULT_TOPICS) -> tuple[LabelledText, ...]:
    """`count` distinct texts about any topic but these two, half of them about women and half about men."""
    return _draw("spurious only", count, seed, topics, [(None, False), (None, True)])


def _draw(
    kind: str, count: int, seed: int, topics: TopicPair, cells: Sequence[tuple[bool | None, bool]]
) -> tuple[LabelledText, ...]:
    for topic in topics:
        if topic not in TOPICS:
            raise ValueError(f"No topic {topic!r}. Topics: {', '.join(TOPICS)}.")
    if topics[0] == topics[1]:
        raise ValueError(f"Two classes need two topics; got {topics[0]!r} twice.")
    rng = Random(f"{kind} {topics} {seed}")
    others = [topic for topic in TOPICS if topic not in topics]
    found: dict[str, LabelledText] = {}
    while len(found) < count:
        intended, spurious = cells[len(found) % len(cells)]
        text = _text(rng, rng.choice(others) if intended is None else topics[intended], spurious)
        found.setdefault(text, LabelledText(text, intended, spurious))
    return tuple(found.values())


def _text(rng: Random, topic_name: str, female: bool) -> str:
    topic = TOPICS[topic_name]
    profession = rng.choice(topic.people)[0]
    name = rng.choice(FEMALE_NAMES if female else MALE_NAMES)
    thing = noun_phrase(rng, topic, rng.choice(topic.things), rng.random() < 0.5)
    return f"the {profession} , {name} , {rng.choice(TRANSITIVE_PAST)} {thing} because"
