"""Prompt pairs from a task, a file and rows are the same pairs; what cannot be one says why."""

import json
from functools import cache
from pathlib import Path

import pytest

from attribution.models.language_model import LanguageModel
from circuits.embedded.load import load_model, load_saes, splice
from circuits.tasks.agreement import TRAIN
from circuits.tasks.prompts import prompt_pairs, speaks_embedded, task_pairs
from tests.worlds import tokenizers

ROWS = [
    {"clean": "the doctor", "patch": "the doctors", "answer": "is", "wrong": "are"},
    {"clean": "the boats", "patch": "the boat", "answer": "are", "wrong": "is"},
]


@cache
def model() -> LanguageModel:
    return load_model()


def test_a_task_gives_its_pairs() -> None:
    assert prompt_pairs("agreement", model()) == task_pairs("agreement", "train", 8, 0, model())
    chosen = prompt_pairs("closing", model(), split="held_out", examples=3, seed=2)
    assert chosen == task_pairs("closing", "held_out", 3, 2, model())


def test_a_name_that_two_tasks_have_is_the_embedded_languages_own_for_its_vocabulary_and_else_the_other() -> None:
    assert speaks_embedded(model())
    assert prompt_pairs("agreement", model())[0].template in TRAIN
    other = LanguageModel(model().module, tokenizers.words(texts=["The cat cats dog dogs is are near behind the"]))
    assert not speaks_embedded(other)
    assert {pair.template for pair in prompt_pairs("agreement", other)} == {"near", "behind"}
    with pytest.raises(ValueError, match=r"No split 'held_out' of task 'agreement'\. Splits: train, other_words"):
        prompt_pairs("agreement", other, split="held_out")
    with pytest.raises(ValueError, match=r"Tasks of the embedded model are agreement, pronoun|does not know"):
        prompt_pairs("pronoun", other)


def test_the_embedded_model_has_tasks_for_any_model_in_its_own_words() -> None:
    found = prompt_pairs("ioi", model(), split="adversarial", examples=12)
    assert {pair.template for pair in found} <= {"giver_again", "receiver_again", "third_person", "swapped", "showed"}
    with pytest.raises(ValueError, match=r"'capital' cannot be written .* 0 of 25 countries with their capitals"):
        prompt_pairs("capital", model())
    with pytest.raises(ValueError, match=r"No split 'adversarial' of task 'gender'"):
        prompt_pairs("gender", model(), split="adversarial")


def test_files_and_rows_give_the_same_pairs(tmp_path: Path) -> None:
    expected = prompt_pairs(ROWS, model())
    (tmp_path / "p.json").write_text(json.dumps({"pairs": ROWS}))
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "list.json").write_text(json.dumps(ROWS))
    assert prompt_pairs(tmp_path / "p.json", model()) == expected
    assert prompt_pairs(tmp_path / "list.json", model()) == expected
    assert prompt_pairs(str(tmp_path / "p.jsonl"), model()) == expected
    assert prompt_pairs(expected, model()) == expected
    assert prompt_pairs(iter(ROWS), model(), examples=1) == expected.head(1)


def test_what_gives_no_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No task and no file 'agrement'\. Tasks: agreement, "):
        prompt_pairs("agrement", model())
    with pytest.raises(ValueError, match="Only a task has splits"):
        prompt_pairs(ROWS, model(), split="train")
    with pytest.raises(ValueError, match=r"Pair 0: unknown key 'anwser'\. Did you mean 'answer'\?"):
        prompt_pairs([{"clean": "the doctor", "patch": "the doctors", "anwser": "is"}], model())
    with pytest.raises(ValueError, match="No split 'dev'"):
        prompt_pairs("agreement", model(), split="dev")


def test_saes_come_from_an_embedded_set_or_a_folder(tmp_path: Path) -> None:
    relu = load_saes("relu")
    assert splice(model(), relu).sites == tuple(relu)
    with pytest.raises(FileNotFoundError, match=r"SAEs relu6: no such folder\. Embedded sets: gated, jumprelu"):
        load_saes("relu6")
