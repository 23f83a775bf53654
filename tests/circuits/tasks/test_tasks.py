"""Task pairs: minimal, aligned by role, and out of reach of shallow heuristics."""

from functools import cache

import pytest

from circuits.embedded.language import documents
from circuits.tasks import templates
from circuits.tasks.lexicon import (
    HELD_OUT_NAMES,
    HELD_OUT_NESTINGS,
    HELD_OUT_NOUNS,
    HELD_OUT_PEOPLE,
    TOPICS,
    vocabulary,
)
from circuits.tasks.templates import SPLITS, TASKS, text_pairs
from circuits.tasks.text_pair import TextPair, make_pair

KEY_ROLES = {"agreement": "subject", "pronoun": "subject", "indirect_object": "giver", "closing": "open"}
CELLS = [(task, split) for task in TASKS for split in SPLITS]


@cache
def sample(task: str, split: str) -> tuple[TextPair, ...]:
    return text_pairs(task, split, 300, seed=0)


def words_by_role(pair: TextPair) -> dict[str, str]:
    return dict(zip(pair.roles, pair.clean.split(), strict=True))


@pytest.mark.parametrize(("task", "split"), CELLS)
def test_pairs_are_distinct_and_made_of_known_words(task: str, split: str) -> None:
    pairs = sample(task, split)
    known = set(vocabulary())
    assert len({(p.clean, p.patch) for p in pairs}) == 300
    for pair in pairs:
        assert {*pair.clean.split(), *pair.patch.split(), pair.answer, pair.wrong} <= known
        assert len(pair.roles) <= 62


@pytest.mark.parametrize(("task", "split"), CELLS)
def test_clean_and_patch_differ_in_the_key_word_only_and_never_in_the_last_word(task: str, split: str) -> None:
    for pair in sample(task, split):
        differing = [
            role
            for role, clean, patch in zip(pair.roles, pair.clean.split(), pair.patch.split(), strict=True)
            if clean != patch
        ]
        assert differing == [KEY_ROLES[task]]
        assert pair.roles[-1] != KEY_ROLES[task]


@pytest.mark.parametrize(("task", "split"), CELLS)
def test_same_seed_gives_the_same_pairs_and_another_seed_others(task: str, split: str) -> None:
    assert text_pairs(task, split, 20, seed=3) == text_pairs(task, split, 20, seed=3)
    assert text_pairs(task, split, 20, seed=3) != text_pairs(task, split, 20, seed=4)


@pytest.mark.parametrize("task", TASKS)
def test_a_longer_sample_starts_with_the_shorter_one(task: str) -> None:
    assert text_pairs(task, "train", 30, seed=3)[:10] == text_pairs(task, "train", 10, seed=3)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_balanced(task: str) -> None:
    """Answering the same thing always is chance: no word is right much more often than wrong."""
    pairs = text_pairs(task, "train", 2000, seed=1)
    for word in {p.answer for p in pairs}:
        right, wrong = sum(p.answer == word for p in pairs), sum(p.wrong == word for p in pairs)
        assert right + wrong < 150 or 0.35 < right / (right + wrong) < 0.65


@pytest.mark.parametrize("task", TASKS)
def test_out_of_distribution_templates_are_not_training_templates(task: str) -> None:
    training = {p.template for p in (*sample(task, "train"), *sample(task, "held_out"))}
    assert not training & {p.template for p in sample(task, "out_of_distribution")}


def test_no_out_of_distribution_agreement_structure_is_in_the_training_text() -> None:
    corpus = " ".join(documents(2000, seed=1))
    nouns = {form for topic in TOPICS.values() for lemma in (*topic.people, *topic.things) for form in lemma}
    words = corpus.split()
    for i in range(len(words) - 3):
        noun_and_the_noun = words[i] in nouns and words[i + 1 : i + 3] == ["and", "the"] and words[i + 3] in nouns
        assert not noun_and_the_noun
        assert not (words[i] in nouns and words[i + 1] == "," and words[i + 2] in ("near", "behind", "beside"))


def test_held_out_pairs_have_held_out_keys_and_training_pairs_have_not() -> None:
    singular = {form: one for t in TOPICS.values() for one, many in (*t.people, *t.things) for form in (one, many)}
    for split, expected in (("train", False), ("held_out", True), ("out_of_distribution", False)):
        for pair in sample("agreement", split):
            assert (singular[words_by_role(pair)["subject"]] in HELD_OUT_NOUNS) == expected
        for pair in sample("pronoun", split):
            assert (words_by_role(pair)["subject"] in (*HELD_OUT_PEOPLE, *HELD_OUT_NAMES)) == expected
        for pair in sample("indirect_object", split):
            roles = words_by_role(pair)
            assert all((roles[role] in HELD_OUT_NAMES) == expected for role in ("first", "second", "giver"))
        for pair in sample("closing", split):
            roles = words_by_role(pair)
            outer, inner = roles.get("outer_open", roles["open"]), roles.get("inner_open", roles["open"])
            if outer != inner:
                assert ((outer, inner) in HELD_OUT_NESTINGS) == expected


def test_a_distractor_number_says_nothing_about_the_subject() -> None:
    plural = {many for t in TOPICS.values() for _, many in (*t.people, *t.things)}
    pairs = sample("agreement", "train")
    same = sum((roles["subject"] in plural) == (roles["distractor"] in plural) for roles in map(words_by_role, pairs))
    assert 0.4 < same / len(pairs) < 0.6


def test_first_pair_has_the_primary_template() -> None:
    first = text_pairs("agreement", "train", 1, seed=8)[0]
    assert first.roles == ("the_subject", "subject", "preposition", "the_distractor", "distractor")


def test_unknown_task_or_split_is_an_error_that_lists_what_exists() -> None:
    with pytest.raises(ValueError, match=r"No task 'agreemnt'. Tasks: agreement, pronoun, indirect_object, closing"):
        text_pairs("agreemnt", "train", 1, seed=0)
    with pytest.raises(ValueError, match=r"No split 'test'. Splits: train, held_out, out_of_distribution"):
        text_pairs("agreement", "test", 1, seed=0)
    with pytest.raises(ValueError, match="must not be negative"):
        text_pairs("agreement", "train", -1, seed=0)


def test_a_template_fills_slots_names_literals_and_numbers_longer_fillings() -> None:
    words = {"key": "dog", "clause": "it is old"}
    pair = make_pair("t", "the=the_key <key> and <clause>", words, {"key": "cat"}, "a", "b")
    assert (pair.clean, pair.patch) == ("the dog and it is old", "the cat and it is old")
    assert pair.roles == ("the_key", "key", "and", "clause_1", "clause_2", "clause_3")


def test_a_pair_that_compares_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must differ"):
        TextPair("a b", "a b", "x", "y", ("first", "second"), "t")
    with pytest.raises(ValueError, match="must differ"):
        TextPair("a b", "a c", "x", "x", ("first", "second"), "t")
    with pytest.raises(ValueError, match="differ in length"):
        TextPair("a b", "a", "x", "y", ("first", "second"), "t")
    with pytest.raises(ValueError, match="role occurs twice"):
        TextPair("a b", "a c", "x", "y", ("first", "first"), "t")


def test_more_pairs_than_there_are_is_an_error_and_no_endless_search(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"A task gives at most 100,000 pairs; got 100,001\."):
        text_pairs("closing", "train", 100_001, 0)
    one, other = text_pairs("closing", "train", 2, 0)
    monkeypatch.setattr(templates, "draw_pair", lambda *_, first: one if first else other)
    with pytest.raises(ValueError, match=r"'train' of the task 'closing' has about 2 different pairs; got 3\."):
        text_pairs("closing", "train", 3, 11)
