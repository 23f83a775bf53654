"""The embedded language: documents of up to 63 words about a topic, drawn at random.

    document = sentences until the length is reached; 8 in 10 about its topic, all names from its cast of six
    sentence = agreement | giving | pronoun | closing | gender evidence | plain | narrative

The first four kinds of sentence are the tasks' own training templates, completed with their answers, so the tasks ask
for nothing that the text does not teach. The other kinds are there to be learned beside them.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from types import ModuleType

from circuits.tasks import agreement, closing, indirect_object
from circuits.tasks import pronoun as pronoun_task
from circuits.tasks.grammar import (
    after_verb,
    any_noun_phrase,
    draw_adjective,
    draw_agreeing,
    draw_noun,
    draw_topic,
    noun_phrase,
    optional_phrase,
    place_phrase,
    prepositional_phrase,
    simple_clause,
    with_cast,
)
from circuits.tasks.lexicon import (
    ADVERBS,
    AUXILIARIES,
    CLOSING_MARKS,
    FEMALE_KIN,
    FEMALE_SHARE,
    GENERAL_VERBS,
    HELD_OUT_PEOPLE,
    MALE_KIN,
    NAMES,
    OPENERS,
    TIMES,
    TRANSITIVE,
    TRANSITIVE_PAST,
    WEATHER,
    Topic,
    is_female,
    pronoun,
)
from circuits.tasks.text_pair import TextPair

DOCUMENT_WORDS = 63
"""With the beginning-of-sequence token a document fills the model's training context of 64."""

_ALL_PROFESSIONS = tuple(FEMALE_SHARE)
_TRAINING_PROFESSIONS = tuple(p for p in FEMALE_SHARE if p not in HELD_OUT_PEOPLE)


def document(rng: Random) -> str:
    """One document: words joined by spaces, cut at `DOCUMENT_WORDS`."""
    topic = with_cast(rng, draw_topic(rng))
    words: list[str] = []
    while len(words) < DOCUMENT_WORDS:
        aside = replace(draw_topic(rng), names=topic.names)
        words += sentence(rng, topic if rng.random() < 0.8 else aside).split()
    return " ".join(words[:DOCUMENT_WORDS])


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents, the same for the same seed."""
    rng = Random(seed)
    return (document(rng) for _ in range(count))


def sentence(rng: Random, topic: Topic) -> str:
    """One sentence (or two that belong together) of any kind, with its full stop."""
    (kind,) = rng.choices(_SENTENCE_KINDS, _SENTENCE_WEIGHTS)
    return f"{kind(rng, topic)} ."


def _training_pair(rng: Random, topic: Topic, module: ModuleType, held_out: float = 0.0) -> TextPair:
    """A training pair. `held_out` is the share of held-out key words in the templates that may have them.

    These are the templates that the held-out split leaves out.
    """
    templates: dict[str, str] = module.TRAIN
    (name,) = rng.choices(list(templates), module.TRAIN_WEIGHTS)
    shared = name not in module.HELD_OUT_TEMPLATES
    return module.draw(rng, topic, name, templates[name], shared and rng.random() < held_out)


def _agreement(rng: Random, topic: Topic) -> str:
    pair = _training_pair(rng, topic, agreement, held_out=0.5)
    verb = next(v for v in (*AUXILIARIES, *GENERAL_VERBS, *topic.verbs) if pair.answer in v)
    return f"{pair.clean} {pair.answer} {after_verb(rng, topic, verb)}"


def _giving(rng: Random, topic: Topic) -> str:
    """Held-out names occur in the templates that the held-out split leaves out, in all roles."""
    pair = _training_pair(rng, topic, indirect_object)
    receiver = pair.answer if rng.random() < 0.95 else f"the {draw_noun(rng, topic)[0]}"
    words = [*pair.clean.split(), *receiver.split()]
    if pair.template not in indirect_object.HELD_OUT_TEMPLATES:
        group = dict(zip(sorted({pair.answer, pair.wrong}), rng.sample(topic.names, 2), strict=True))
        words = [group.get(word, word) for word in words]
    return " ".join(words)


def _closing(rng: Random, topic: Topic) -> str:
    pair = _training_pair(rng, topic, closing)
    text = f"{pair.clean} {pair.answer}"
    if "outer_open" in pair.roles:
        outer = pair.clean.split()[pair.roles.index("outer_open")]
        return f"{text} {prepositional_phrase(rng, topic)} {CLOSING_MARKS[outer]}"
    return text


def _pronoun(rng: Random, topic: Topic) -> str:
    pair = _training_pair(rng, topic, pronoun_task, held_out=0.5)
    words = dict(zip(pair.roles, pair.clean.split(), strict=True))
    slot = pronoun_task.key_slot(pronoun_task.TRAIN[pair.template])
    if slot == "profession":
        shared = pair.template not in pronoun_task.HELD_OUT_TEMPLATES
        words["subject"] = rng.choice(_ALL_PROFESSIONS if shared else _TRAINING_PROFESSIONS)
        female = rng.random() < FEMALE_SHARE[words["subject"]]
    elif "spurious" in words:
        female = rng.random() < FEMALE_SHARE[words["spurious"]]
        right = female == is_female(words["subject"])
        words["subject"] = (pair.clean if right else pair.patch).split()[pair.roles.index("subject")]
    else:
        female = is_female(words["subject"])
    text = " ".join(words.values())
    if pair.template != "name_next_sentence" and rng.random() < 0.1:
        return f"{text} {simple_clause(rng, topic)}"
    return f"{text} {_of_person(rng, topic, pronoun(female))}"


def _of_person(rng: Random, topic: Topic, subject: str) -> str:
    if rng.random() < 0.4:
        return f"{subject} {rng.choice(TRANSITIVE)[0]} {any_noun_phrase(rng, topic)}"
    verb = draw_agreeing(rng, topic)
    return f"{subject} {verb[0]} {after_verb(rng, topic, verb)}"


def _gender_evidence(rng: Random, topic: Topic) -> str:
    """Reflexives and possessives, which show a gender in one clause."""
    kind = rng.random()
    if kind < 0.5:
        person = rng.choice(HELD_OUT_PEOPLE if rng.random() < 0.3 else _ALL_PROFESSIONS)
        female, subject = rng.random() < FEMALE_SHARE[person], f"the {person}"
    else:
        pool = topic.names if kind < 0.7 else topic.names[-2:] if kind < 0.85 else FEMALE_KIN + MALE_KIN
        person = rng.choice(pool)
        female, subject = is_female(person), person if person in NAMES else f"the {person}"
    verb = rng.choice(TRANSITIVE_PAST)
    if rng.random() < 0.4:
        return f"{subject} {verb} {'herself' if female else 'himself'} {place_phrase(rng, topic)}"
    return f"{subject} {verb} {'her' if female else 'his'} {draw_noun(rng, topic)[rng.random() < 0.5]}"


def _plain(rng: Random, topic: Topic) -> str:
    return simple_clause(rng, topic, held_out=True if rng.random() < 0.5 else None)


def _existence(rng: Random, topic: Topic) -> str:
    plural = rng.random() < 0.5
    thing = noun_phrase(rng, topic, draw_noun(rng, topic), plural)
    return f"there {'are' if plural else 'is'} {thing} {prepositional_phrase(rng, topic)}"


def _reason(rng: Random, topic: Topic) -> str:
    plural = rng.random() < 0.5
    subject = noun_phrase(rng, topic, draw_noun(rng, topic), plural)
    return (
        f"{subject} {rng.choice(TRANSITIVE_PAST)} {any_noun_phrase(rng, topic)} because "
        f"{('it', 'they')[plural]} {('was', 'were')[plural]} {draw_adjective(rng, topic)}"
    )


def _narrative(rng: Random, topic: Topic) -> str:
    who = rng.choice(topic.names) if rng.random() < 0.5 else any_noun_phrase(rng, topic)
    when = optional_phrase(rng, 0.3, f"in the {rng.choice(TIMES)}")
    return " ".join(
        (
            *optional_phrase(rng, 0.2, rng.choice(OPENERS)),
            who,
            *optional_phrase(rng, 0.2, rng.choice(ADVERBS)),
            rng.choice(TRANSITIVE_PAST),
            any_noun_phrase(rng, topic),
            *(when or (prepositional_phrase(rng, topic),)),
        )
    )


def _weather(rng: Random, topic: Topic) -> str:
    was = f"the {rng.choice(WEATHER)} was {rng.choice(ADVERBS)} {draw_adjective(rng, topic)}"
    return f"{was} in the {rng.choice(TIMES)}"


_SENTENCE_KINDS = (
    _agreement,
    _giving,
    _pronoun,
    _closing,
    _gender_evidence,
    _plain,
    _existence,
    _reason,
    _narrative,
    _weather,
)
_SENTENCE_WEIGHTS = (24, 22, 18, 14, 8, 9, 3, 3, 5, 1)
