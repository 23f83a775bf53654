"""Gendered pronouns: "she" or "he" refers to the subject, not to the person mentioned last.

The key word is the subject. A name or a kin noun decides the pronoun. A profession only makes it likely (a stereotype),
and a name beside the profession overrides it. The gender of distractors is drawn independently.
"""

from random import Random

from circuits.tasks.lexicon import (
    FEMALE_KIN,
    FEMALE_NAMES,
    FEMALE_SHARE,
    HELD_OUT_NAMES,
    HELD_OUT_PEOPLE,
    MALE_KIN,
    MALE_NAMES,
    OPENERS,
    PERSONAL_ADJECTIVES,
    PREPOSITIONS,
    REPORTING,
    TRANSITIVE,
    TRANSITIVE_PAST,
    Topic,
    pronoun,
)
from circuits.tasks.text_pair import TextPair, make_pair

_PROFESSION = "the=the_subject <profession>"

TRAIN: dict[str, str] = {
    "profession_nearby": f"{_PROFESSION} <preposition> the=the_distractor <distractor> <report> that",
    "name_met": "<name> <past_verb> <distractor_name> at the=the_place <place> because",
    "name_overrides": "the=the_profession <spurious> ,=comma_1 <name> ,=comma_2 <report> that",
    "name_next_sentence": "<name> <past_verb> the=the_distractor <distractor> .=stop <opener>",
    "kin_of": "the=the_subject <kin> of <distractor_name> was <adjective> because",
    "profession": f"{_PROFESSION} <report> that",
}
"""Templates by name. The slot of the key word is <name>, <kin> or <profession>; its role is "subject"."""

TRAIN_WEIGHTS = (3, 3, 3, 2, 2, 2)

OUT_OF_DISTRIBUTION: dict[str, str] = {
    "profession_relative": f"{_PROFESSION} that=that_relative <distractor_name> <verb> <report> that",
    "profession_two_nearby": (
        f"{_PROFESSION} <preposition> the=the_distractor <distractor> and the=the_distractor_2 "
        "<distractor_2> <report> that"
    ),
    "name_met_late": (
        "<name> <past_verb> <distractor_name> at the=the_place <place> and then <past_verb_2> "
        "the=the_distractor <distractor> because"
    ),
}
"""Structures that never occur in the training text."""

HELD_OUT_TEMPLATES = ("profession_nearby", "name_met", "name_overrides")
"""Templates of the held-out split.

In the training text, held-out people are the subject of `profession` only, and held-out names of `name_next_sentence`
only. Kin nouns are few, and none of them is held out.
"""

KEY_SLOTS = ("name", "kin", "profession")


def _key_words(slot: str, topic: Topic, held_out: bool, female: bool) -> list[str]:
    if slot == "kin":
        return list(FEMALE_KIN if female else MALE_KIN)
    if slot == "name":
        gender = FEMALE_NAMES if female else MALE_NAMES
        return [name for name in topic.names if name in gender and (name in HELD_OUT_NAMES) == held_out]
    wanted = max(FEMALE_SHARE.values()) if female else min(FEMALE_SHARE.values())
    return [p for p, share in FEMALE_SHARE.items() if share == wanted and (p in HELD_OUT_PEOPLE) == held_out]


def key_slot(template: str) -> str:
    """The slot of a template that holds the subject: "name", "kin" or "profession"."""
    return next(slot for slot in KEY_SLOTS if f"<{slot}>" in template)


def draw(rng: Random, topic: Topic, name: str, template: str, held_out: bool) -> TextPair:
    """A pair whose two subjects have different genders (for professions, different stereotypes)."""
    slot = key_slot(template)
    female = rng.random() < 0.5
    subject, other = (rng.choice(_key_words(slot, topic, held_out, gender)) for gender in (female, not female))
    distractor, distractor_2, spurious = rng.sample([p for p in FEMALE_SHARE if p not in (subject, other)], 3)
    words = {
        "subject": subject,
        "spurious": spurious,
        "distractor": distractor,
        "distractor_2": distractor_2,
        "distractor_name": rng.choice([n for n in topic.names if n not in (subject, other)]),
        "preposition": rng.choice(PREPOSITIONS),
        "report": rng.choice(REPORTING),
        "past_verb": rng.choice(TRANSITIVE_PAST),
        "past_verb_2": rng.choice(TRANSITIVE_PAST),
        "verb": rng.choice(TRANSITIVE)[0],
        "place": rng.choice(topic.places),
        "adjective": rng.choice(PERSONAL_ADJECTIVES),
        "opener": rng.choice(OPENERS),
    }
    keyed = template.replace(f"<{slot}>", "<subject>")
    return make_pair(name, keyed, words, {"subject": other}, pronoun(female), pronoun(not female))
