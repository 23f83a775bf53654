"""Phrases of the embedded language, drawn at random around a topic.

Phrases are words joined by single spaces. Every function takes its randomness from the `Random` that it is given.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from circuits.tasks.lexicon import (
    ADVERBS,
    AUXILIARIES,
    FEMALE_NAMES,
    GENERAL_ADJECTIVES,
    GENERAL_VERBS,
    HELD_OUT_NAMES,
    HELD_OUT_NOUNS,
    MALE_NAMES,
    PREPOSITIONS,
    TOPICS,
    TRANSITIVE,
    Lemma,
    Topic,
    article,
)

Word = TypeVar("Word")
ON_TOPIC = 0.75
"""Probability that a noun comes from the topic of its document."""


def draw_topic(rng: Random) -> Topic:
    """A topic, all equally likely. Its cast is all names."""
    return rng.choice(tuple(TOPICS.values()))


def with_cast(rng: Random, topic: Topic) -> Topic:
    """The topic with a cast of six: two women, two men, and a woman and a man whose names are held out."""
    women, men = ([n for n in names if n not in HELD_OUT_NAMES] for names in (FEMALE_NAMES, MALE_NAMES))
    held_out = [[n for n in names if n in HELD_OUT_NAMES] for names in (FEMALE_NAMES, MALE_NAMES)]
    cast = (*rng.sample(women, 2), *rng.sample(men, 2), *(rng.choice(names) for names in held_out))
    return replace(topic, names=cast)


def draw_noun(rng: Random, topic: Topic, held_out: bool | None = None, avoid: Sequence[Lemma] = ()) -> Lemma:
    """A noun (person or thing) that is not in `avoid`.

    `held_out` restricts it to held-out nouns (True) or to the others (False); None allows both.
    """
    while True:
        source = topic if rng.random() < ON_TOPIC else draw_topic(rng)
        lemma = rng.choice(source.things if rng.random() < 0.7 else source.people)
        if lemma not in avoid and (held_out is None or (lemma[0] in HELD_OUT_NOUNS) == held_out):
            return lemma


def draw_adjective(rng: Random, topic: Topic) -> str:
    """An adjective of the topic, or a general one."""
    return rng.choice(topic.adjectives if rng.random() < 0.6 else GENERAL_ADJECTIVES)


def draw_agreeing(rng: Random, topic: Topic) -> Lemma:
    """(singular, plural) of a verb or auxiliary that agrees with its subject."""
    if rng.random() < 0.6:
        return rng.choice(AUXILIARIES)
    return rng.choice(topic.verbs if rng.random() < 0.6 else GENERAL_VERBS)


def optional_phrase(rng: Random, probability: float, phrase: str) -> tuple[str, ...]:
    """(phrase,) with this probability, otherwise ()."""
    return (phrase,) if rng.random() < probability else ()


def noun_phrase(rng: Random, topic: Topic, lemma: Lemma, plural: bool) -> str:
    """A determiner, sometimes an adjective, and the noun. Three in ten determiners show the noun's number."""
    words = (*optional_phrase(rng, 0.3, draw_adjective(rng, topic)), lemma[plural])
    if rng.random() < 0.7:
        determiner = "the"
    else:
        determiner = rng.choice(("some", "many", "these") if plural else (article(words[0]), "every", "this"))
    return " ".join((determiner, *words))


def any_noun_phrase(rng: Random, topic: Topic) -> str:
    """A noun phrase with any noun in either number."""
    return noun_phrase(rng, topic, draw_noun(rng, topic), rng.random() < 0.5)


def place_phrase(rng: Random, topic: Topic) -> str:
    """A place of the topic, with its preposition."""
    return f"{rng.choice(('in', 'at'))} the {rng.choice(topic.places)}"


def after_verb(rng: Random, topic: Topic, verb: Lemma) -> str:
    """What follows a verb: a predicate for is / was, an object for has, otherwise an adverb, a place or nothing."""
    if verb[0] in ("is", "was"):
        if rng.random() < 0.75:
            return " ".join((*optional_phrase(rng, 0.3, rng.choice(ADVERBS)), draw_adjective(rng, topic)))
        return place_phrase(rng, topic)
    if verb[0] == "has":
        return any_noun_phrase(rng, topic)
    return rng.choice((rng.choice(ADVERBS), place_phrase(rng, topic), ""))


def simple_clause(rng: Random, topic: Topic, held_out: bool | None = None) -> str:
    """A clause with no noun between subject and verb: "the old goat wanders slowly", "many boats need a captain"."""
    lemma, plural = draw_noun(rng, topic, held_out), rng.random() < 0.5
    subject = noun_phrase(rng, topic, lemma, plural)
    if rng.random() < 0.25:
        return f"{subject} {rng.choice(TRANSITIVE)[plural]} {any_noun_phrase(rng, topic)}"
    verb = draw_agreeing(rng, topic)
    return " ".join((subject, verb[plural], after_verb(rng, topic, verb))).strip()


def prepositional_phrase(rng: Random, topic: Topic) -> str:
    """A preposition and a noun phrase, or a place."""
    if rng.random() < 0.4:
        return place_phrase(rng, topic)
    return f"{rng.choice(PREPOSITIONS)} {any_noun_phrase(rng, topic)}"
