"""Prompt pairs: from a user's file, checked row by row; batches padded on the right."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from attribution.models.language_model import LanguageModel
from attribution.prompts.pair_file import read_pairs
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from tests.worlds.tiny_models import BOS, PAIRS

GOOD: dict[str, Any] = {"clean": "w1 w2", "patch": "w1 w3", "answer": "w4", "wrong": "w5"}


def read(tmp_path: Path, model: LanguageModel, *rows: Any) -> PromptPairs:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"pairs": list(rows)}))
    return read_pairs(path, model)


def test_texts_become_ids_with_bos(tmp_path: Path, llama: LanguageModel) -> None:
    pairs = read(tmp_path, llama, GOOD, {**GOOD, "clean": "w9", "patch": "w8", "roles": ["bos", "noun"]})
    assert pairs[0] == PromptPair((BOS, 3, 4), (BOS, 3, 5), 6, 7)
    assert pairs[1].roles == ("bos", "noun")
    assert len(pairs) == 2


def test_ids_win_over_text(tmp_path: Path, llama: LanguageModel) -> None:
    ids = {"clean_ids": [7, 8, 9], "patch_ids": [7, 8, 2], "answer_id": 11, "wrong_id": 12}
    assert read(tmp_path, llama, {**GOOD, **ids})[0] == PromptPair((7, 8, 9), (7, 8, 2), 11, 12)
    assert read(tmp_path, llama, ids)[0] == PromptPair((7, 8, 9), (7, 8, 2), 11, 12)
    assert read(tmp_path, llama, {**GOOD, "answer": "no such word", "answer_id": 11})[0].answer_id == 11


BAD = {
    "unequal lengths": ({**GOOD, "patch": "w1 w2 w3"}, "Pair 1: clean has 3 tokens and patch 4"),
    "unknown word in a prompt": ({**GOOD, "clean": "w1 zebra"}, "Pair 1: clean 'w1 zebra' has a word the tokenizer"),
    "unknown answer": ({**GOOD, "answer": "zebra"}, "Pair 1: answer 'zebra' has a word the tokenizer"),
    "answer of no tokens": ({**GOOD, "wrong": ""}, "Pair 1: wrong '' is 0 tokens"),
    "answer equals foil": ({**GOOD, "wrong": "w4"}, r"Pair 1: answer and wrong answer are the same token \(id 6\)"),
    "id outside the vocabulary": ({**GOOD, "answer_id": 24}, "Pair 1: token id 24 is outside"),
    "negative id": ({**GOOD, "clean_ids": [0, -1, 2]}, "Pair 1: token id -1 is outside"),
    "missing prompt": ({"clean": "w1", "answer": "w2", "wrong": "w3"}, "Pair 1: has neither 'patch' nor 'patch_ids'"),
    "missing answer": ({"clean": "w1", "patch": "w2", "wrong": "w3"}, "Pair 1: has neither 'answer' nor 'answer_id'"),
    "no object": (["w1", "w2"], "Pair 1: expected an object, found list"),
    "roles of another length": ({**GOOD, "roles": ["noun"]}, "Pair 1: 1 roles for 3 tokens"),
    "empty prompt": ({**GOOD, "clean_ids": [], "patch_ids": []}, "Pair 1: the clean prompt is empty"),
}


@pytest.mark.parametrize(("row", "match"), BAD.values(), ids=BAD)
def test_a_bad_row_is_an_error_that_names_it(tmp_path: Path, llama: LanguageModel, row: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path, llama, GOOD, row)
    assert "pairs.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not valid JSON"),
        ("[]", "No prompt pairs: there is nothing to measure"),
        ("3", "expected a list of pairs"),
        ('{"pairs": 3}', r'expected a list of pairs, \{"pairs": \[...\]\}'),
        ('{"pairs": []}', "No prompt pairs: there is nothing to measure"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_is_an_error(
    tmp_path: Path, llama: LanguageModel, text: str, match: str
) -> None:
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_pairs(tmp_path / "pairs.json", llama)


def test_ids_that_are_no_numbers_are_an_error_that_names_the_row(tmp_path: Path, llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="Pair 1"):
        read(tmp_path, llama, GOOD, {**GOOD, "clean_ids": ["w1", "w2", "w3"]})
    with pytest.raises(ValueError, match="Pair 1"):
        read(tmp_path, llama, GOOD, {**GOOD, "clean": 3})


def test_batches_are_padded_on_the_right_and_know_what_is_real() -> None:
    batch, rest = PAIRS.batches(2)
    assert batch.clean_ids.tolist() == [[BOS, 5, 9, 3, 0, 0], [BOS, 7, 8, 2, 11, 4]]
    assert batch.patch_ids.tolist() == [[BOS, 5, 12, 3, 0, 0], [BOS, 7, 8, 20, 15, 4]]
    assert batch.last.tolist() == [3, 5]
    assert batch.real.sum(1).tolist() == [4, 6]
    assert (batch.answer_id.tolist(), batch.foil_id.tolist()) == ([4, 9], [7, 2])
    assert (rest.example.tolist(), rest.clean_ids.shape) == ([2], (1, 3))


def test_rows_of_a_batch_may_repeat() -> None:
    batch = next(PAIRS.batches(3)).rows(torch.tensor([2, 2, 0]))
    assert batch.example.tolist() == [2, 2, 0]
    assert batch.last.tolist() == [2, 2, 3]


def test_the_head_of_pairs() -> None:
    assert PAIRS.head(2).pairs == PAIRS.pairs[:2]
    assert PAIRS.head(None) is PAIRS
    with pytest.raises(ValueError, match="No prompt pairs"):
        PAIRS.head(0)


def test_bos_in_one_prompt_only_is_an_error_where_bos_is_not_spliced(llama: LanguageModel) -> None:
    pairs = PromptPairs((PAIRS[0], PromptPair((BOS, 5, 6), (9, 5, 6), 4, 7)))
    pairs.check_fits(llama, splice_bos=True)
    with pytest.raises(ValueError, match="Pair 1: one prompt opens with BOS and the other does not"):
        pairs.check_fits(llama, splice_bos=False)
