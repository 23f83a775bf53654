"""The generated language: reproducible, rich, and silent about what is held out."""

from itertools import pairwise
from random import Random

import pytest

from circuits.embedded.language import DOCUMENT_WORDS, documents
from circuits.tasks.grammar import draw_noun, draw_topic, noun_phrase
from circuits.tasks.lexicon import (
    AUXILIARIES,
    CLOSING_MARKS,
    CONJUNCTIONS,
    FEMALE_NAMES,
    FEMALE_SHARE,
    GENERAL_ADJECTIVES,
    GENERAL_VERBS,
    HELD_OUT_NAMES,
    HELD_OUT_NESTINGS,
    HELD_OUT_NOUNS,
    HELD_OUT_PEOPLE,
    PREPOSITIONS,
    REPORTING,
    TOPICS,
    article,
    vocabulary,
)

CORPUS = tuple(documents(6000, seed=1))
WORDS = [text.split() for text in CORPUS]
SENTENCES = [s.split() for text in CORPUS for s in text.split(" . ")[:-1]]
REPORTING_WORDS = set(REPORTING)
AGREEING = {
    form for verb in (*AUXILIARIES, *GENERAL_VERBS, *(v for t in TOPICS.values() for v in t.verbs)) for form in verb
}
NOUNS = {form: one for topic in TOPICS.values() for one, many in (*topic.people, *topic.things) for form in (one, many)}


def test_same_seed_gives_the_same_documents_and_another_seed_others() -> None:
    assert tuple(documents(20, seed=5)) == tuple(documents(20, seed=5))
    assert tuple(documents(20, seed=5)) != tuple(documents(20, seed=6))


def test_every_document_fills_the_context() -> None:
    assert {len(words) for words in WORDS} == {DOCUMENT_WORDS}


def test_more_than_500_words_are_in_use_and_none_is_outside_the_vocabulary() -> None:
    used = {word for words in WORDS for word in words}
    assert len(used) > 500
    assert used <= set(vocabulary())
    assert len(set(vocabulary())) == len(vocabulary())


def test_singular_and_plural_are_different_words_and_no_noun_has_two_meanings() -> None:
    lemmas = [lemma for topic in TOPICS.values() for lemma in (*topic.people, *topic.things)]
    assert all(one != many for one, many in lemmas)
    assert len(NOUNS) == 2 * len(lemmas)


def test_held_out_words_are_words_of_the_language_with_a_known_number_or_gender() -> None:
    assert set(HELD_OUT_NOUNS) <= set(NOUNS.values())
    assert set(HELD_OUT_PEOPLE) <= {person for person, share in FEMALE_SHARE.items() if share != 0.5}
    assert 0 < sum(name in FEMALE_NAMES for name in HELD_OUT_NAMES) < len(HELD_OUT_NAMES)


def agrees_over_a_distractor(sentence: list[str], subject: int) -> bool:
    """True where an agreeing verb follows that has another noun between itself and the subject's place."""
    later = sentence[subject + 1 :]
    verb = next((n for n, word in enumerate(later) if word in AGREEING), len(later))
    return verb < len(later) and any(word in NOUNS for word in later[:verb])


def test_held_out_nouns_are_subjects_over_a_distractor_in_one_template_only() -> None:
    adjectives = {*GENERAL_ADJECTIVES, *(word for topic in TOPICS.values() for word in topic.adjectives)}
    plain, with_adjectives = 0, 0
    for sentence in SENTENCES:
        if sentence[0] != "the" or REPORTING_WORDS & set(sentence):
            continue
        if NOUNS.get(sentence[1]) in HELD_OUT_NOUNS and sentence[2] in {*PREPOSITIONS, "that"}:
            plain += agrees_over_a_distractor(sentence, 1)
        if sentence[1] in adjectives and NOUNS.get(sentence[2]) in HELD_OUT_NOUNS and sentence[3] in PREPOSITIONS:
            with_adjectives += agrees_over_a_distractor(sentence, 2)
    assert plain == 0
    assert with_adjectives > 200


def test_held_out_names_give_in_two_templates_only() -> None:
    seen = 0
    for sentence in SENTENCES:
        if sentence[0] in CONJUNCTIONS and set(HELD_OUT_NAMES) & set(sentence):
            assert " ".join(sentence).count(" in the ") == 1, "only the template `later` says when"
            seen += 1
    assert seen > 100


def test_training_pronouns_refer_to_held_out_people_in_one_template_only() -> None:
    seen = 0
    for words in SENTENCES:
        if REPORTING_WORDS & set(words):
            report = next(n for n, word in enumerate(words) if word in REPORTING_WORDS)
            subject = words[words.index(",") + 1] if "," in words else words[1]
            assert subject not in HELD_OUT_NAMES
            if subject in HELD_OUT_PEOPLE:
                assert report == 2, "the <profession> <report> that"
                seen += 1
    assert seen > 50


def test_held_out_nestings_never_occur_and_all_others_do() -> None:
    seen: set[tuple[str, str]] = set()
    for words in WORDS:
        still_open: list[str] = []
        for word in words:
            if still_open and word == CLOSING_MARKS[still_open[-1]]:
                still_open.pop()
            elif word in CLOSING_MARKS:
                seen |= {(still_open[-1], word)} if still_open else set()
                still_open.append(word)
            assert len(still_open) <= 2
    assert not seen & set(HELD_OUT_NESTINGS)
    assert len(seen) == len(CLOSING_MARKS) * (len(CLOSING_MARKS) - 1) - len(HELD_OUT_NESTINGS)


def test_pronouns_follow_the_stereotype_in_its_share() -> None:
    counts = {"she": 0, "he": 0}
    for words in SENTENCES:
        if words[0] == "the" and len(words) > 4 and REPORTING_WORDS & {words[2]} and words[4] in counts:
            counts[words[4]] += FEMALE_SHARE[words[1]] > 0.5
    share = counts["she"] / sum(counts.values())
    assert share == pytest.approx(0.85, abs=0.08)


def test_articles_fit_the_next_word() -> None:
    assert (article("apple"), article("pig")) == ("an", "a")
    for words in WORDS[:500]:
        for first, second in pairwise(words):
            if first in ("a", "an"):
                assert first == article(second)


def test_noun_phrases_show_the_number_they_were_asked_for() -> None:
    rng = Random(0)
    for plural in (False, True):
        for _ in range(50):
            topic = draw_topic(rng)
            lemma = draw_noun(rng, topic)
            assert noun_phrase(rng, topic, lemma, plural).split()[-1] == lemma[plural]
