"""Subject-verb agreement: the verb takes the number of the subject, not of the nouns in between.

The key word is the subject, in the singular or the plural. Every template puts at least one distractor between subject
and verb; its number is drawn independently.
"""

from random import Random

from circuits.tasks.grammar import draw_adjective, draw_agreeing, draw_noun
from circuits.tasks.lexicon import PREPOSITIONS, TRANSITIVE, TRANSITIVE_PAST, Topic
from circuits.tasks.text_pair import TextPair, make_pair

_SUBJECT = "the=the_subject <subject>"
_NEAR = "<preposition> the=the_distractor <distractor>"
_NEAR_2 = "<preposition_2> the=the_distractor_2 <distractor_2>"
_THAT_3 = "that the=the_distractor_3 <distractor_3> <verb_3>"

TRAIN: dict[str, str] = {
    "prepositional": f"{_SUBJECT} {_NEAR}",
    "adjectives": ("the=the_subject <adjective> <subject> <preposition> the=the_distractor <adjective_2> <distractor>"),
    "object_relative": f"{_SUBJECT} that the=the_distractor <distractor> <distractor_verb>",
    "subject_relative": f"{_SUBJECT} that <past_verb> the=the_distractor <distractor>",
    "two_prepositional": f"{_SUBJECT} {_NEAR} {_NEAR_2}",
    "prepositional_relative": f"{_SUBJECT} {_NEAR} that <past_verb> the=the_distractor_2 <distractor_2>",
    "relative_prepositional": f"{_SUBJECT} that the=the_distractor <distractor> {_NEAR_2} <distractor_verb>",
}
"""Templates by name. The first is the primary one."""

TRAIN_WEIGHTS = (6, 3, 2, 2, 2, 2, 1)
HELD_OUT_TEMPLATES = tuple(name for name in TRAIN if name != "adjectives")
"""Templates of the held-out split. In the training text, held-out nouns are the subject of the other one only."""

OUT_OF_DISTRIBUTION: dict[str, str] = {
    "two_prepositional_relative": f"{_SUBJECT} {_NEAR} {_NEAR_2} {_THAT_3}",
    "relative_then_prepositional": f"{_SUBJECT} that <past_verb> the=the_distractor <distractor> {_NEAR_2}",
    "adjective_relative": (
        "the=the_subject <adjective> <subject> that the=the_distractor <adjective_2> <distractor> <distractor_verb>"
    ),
    "coordinated": f"{_SUBJECT} {_NEAR} and the=the_distractor_2 <distractor_2>",
    "between_commas": f"{_SUBJECT} ,=comma_1 {_NEAR} ,=comma_2",
}
"""Structures that never occur in the training text."""


def draw(rng: Random, topic: Topic, name: str, template: str, held_out: bool) -> TextPair:
    """A pair that differs in the number of the subject."""
    subject = draw_noun(rng, topic, held_out)
    nouns = [subject]
    for _ in range(3):
        nouns.append(draw_noun(rng, topic, avoid=nouns))
    plural, *number = (rng.random() < 0.5 for _ in range(4))
    adjective = draw_adjective(rng, topic)
    words = {
        "subject": subject[plural],
        "distractor": nouns[1][number[0]],
        "distractor_2": nouns[2][number[1]],
        "distractor_3": nouns[3][number[2]],
        "preposition": rng.choice(PREPOSITIONS),
        "preposition_2": rng.choice(PREPOSITIONS),
        "distractor_verb": rng.choice(TRANSITIVE)[number[0]],
        "verb_3": rng.choice(TRANSITIVE)[number[2]],
        "past_verb": rng.choice(TRANSITIVE_PAST),
        "adjective": adjective,
        "adjective_2": draw_adjective(rng, topic),
    }
    verb = draw_agreeing(rng, topic)
    return make_pair(name, template, words, {"subject": subject[not plural]}, verb[plural], verb[not plural])
