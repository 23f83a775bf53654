"""Pairs in text that no template made: the nearest of a task's words decides, and it alone is exchanged."""

from functools import cache

import pytest

from attribution.models.language_model import LanguageModel
from circuits.embedded.load import load_model
from circuits.tasks.any_model.in_text import pairs_in_text
from circuits.tasks.any_model.writing import TaskRefused


@cache
def model() -> LanguageModel:
    return load_model()


def shown(task: str, *texts: str) -> list[tuple[str, str, str, str]]:
    """Clean and patch prompt without BOS, answer and wrong answer."""
    found = pairs_in_text(task, texts, model())
    text = model().tokenizer.decode
    return [(text(p.clean_ids[1:]), text(p.patch_ids[1:]), text([p.answer_id]), text([p.foil_id])) for p in found]


def test_a_name_decides_the_pronoun_after_it_and_every_mention_of_it_is_exchanged() -> None:
    ((clean, patch, answer, wrong),) = shown(
        "gender", "then mary saw a cow and mary liked it because she sees the barn"
    )
    assert clean == "then mary saw a cow and mary liked it because"
    assert (answer, wrong) == ("she", "he")
    other = patch.split()[1]
    assert other != "mary"
    assert patch == clean.replace("mary", other)


def test_who_was_named_last_after_another_is_exchanged_once() -> None:
    ((clean, patch, answer, wrong),) = shown("ioi", "when mary and john came , john gave a cup to mary")
    assert (clean, patch) == (
        "when mary and john came , john gave a cup to",
        "when mary and john came , mary gave a cup to",
    )
    assert (answer, wrong) == ("mary", "john")


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("gender", "mary saw john and then she"),
        ("ioi", "mary saw the cow and then john gave a cup to mary"),
        ("ioi", "then the cow saw the barn"),
    ],
)
def test_a_place_where_another_of_the_words_is_nearer_or_one_is_missing_is_none(task: str, text: str) -> None:
    with pytest.raises(TaskRefused, match=r"In 1 documents no place was found where words of task"):
        shown(task, text)


def test_one_pair_of_a_document_up_to_the_number_asked_for_and_none_twice() -> None:
    texts = ["then mary saw a cow because she", "then mary saw a cow because she", "then john fell because he"] * 3
    assert len(pairs_in_text("gender", texts, model())) == 2
    assert len(pairs_in_text("gender", texts, model(), examples=1)) == 1
    assert len(pairs_in_text("gender", ["mary " + "cow " * 80 + "she", texts[0]], model(), longest=9)) == 1


def test_the_key_and_the_end_have_roles() -> None:
    (pair,) = pairs_in_text("gender", ["then mary saw a cow because she"], model())
    assert pair.roles == ("bos", "then", "key", "saw", "a", "cow", "end")


def test_a_task_without_such_words_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(TaskRefused, match="Task 'induction' has no words that decide an answer in other text"):
        pairs_in_text("induction", ["a"], model())
    with pytest.raises(ValueError, match="No task 'pronoun' for any model"):
        pairs_in_text("pronoun", ["a"], model())
