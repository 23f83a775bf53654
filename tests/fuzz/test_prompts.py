"""Fuzz: files of prompt pairs, of templates, of text, and of a person's labels."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from attribution.models.language_model import LanguageModel
from attribution.prompts.pair_file import holds_lines, read_pairs
from attribution.prompts.pair_stream import count_pairs
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import corpus_from_file
from circuits.labels.own_labels import own_labels
from tests.fuzz.hostile_json import CORPUS, hostile_bytes, hostile_json
from tests.fuzz.trial import fuzz
from tests.worlds.tiny_models import JUMPRELU_SITES, saes_on

ROWS: list[dict[str, Any]] = [
    {"clean": "w1 w2", "patch": "w1 w3", "answer": "w4", "wrong": "w5", "roles": {"noun": "w2"}, "template": "t"},
    {"clean_ids": [0, 3, 4], "patch_ids": [0, 3, 5], "answer_id": 6, "wrong_id": 7, "roles": ["bos", "a", "b"]},
    {"clean": "w1 w2", "patch": "w1 w3", "answers": ["w4", 8], "wrongs": [9, [10]], "roles": {}},
    {"prompt": "w1 w2", "answer_ids": [4, 5], "roles": ["bos", "a", "b"]},
    {"prompt_ids": [0, 3], "roles": ["bos", "a"]},
]
TEMPLATES = [
    {
        "text": "w1 {subject} w2",
        "answer": "w5",
        "wrong": "w6",
        "clean": {"subject": ["w7", "w8"]},
        "patch": {"subject": ["w17", "w18"]},
        "name": "t",
    }
]


@st.composite
def hostile_lines(draw: st.DrawFn, rows: list[dict[str, Any]]) -> bytes:
    """JSONL in which one row or the line ends are wrong."""
    wrong = draw(st.integers(0, len(rows) - 1))
    lines = [json.dumps(row).encode() for row in rows]
    lines[wrong] = draw(st.one_of(hostile_json(rows[wrong]), st.sampled_from(CORPUS), st.just(lines[wrong])))
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b"\xe2\x80\xa8", b" "]))
    return draw(hostile_bytes(end.join(lines)))


@pytest.mark.parametrize("form", ["list", "object", "templates", "lines"])
def test_pairs_are_refused_in_a_sentence_or_can_be_batched(form: str, llama: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / ("pairs.jsonl" if form == "lines" else "pairs.json")
    right = {"list": ROWS, "object": {"pairs": ROWS}, "templates": {"templates": TEMPLATES}}

    def use(content: bytes) -> None:
        file.write_bytes(content)
        if holds_lines(file):
            count_pairs(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for batch in read_pairs(file, llama).batches(2, llama):
                assert batch.clean_ids.shape == batch.patch_ids.shape

    cases = hostile_lines(ROWS) if form == "lines" else hostile_json(right[form])
    fuzz(f"pairs ({form})", cases, use, CORPUS)


@pytest.mark.parametrize("name", ["text.txt", "text.jsonl"])
def test_text_is_refused_in_a_sentence_or_becomes_tokens(name: str, llama: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / name

    def use(content: bytes) -> None:
        file.write_bytes(content)
        corpus = corpus_from_file(file, llama)
        assert corpus.digest_and_count[1] == sum(1 for _ in corpus.pieces())

    texts = ["w1 w2 w3", "a\u2028b", "w4\x0cw5", "x" * 300]
    lines = hostile_lines([{"text": text} for text in texts])
    plain = hostile_bytes("\n".join(texts).encode())
    fuzz(f"text ({name})", lines if name == "text.jsonl" else st.one_of(plain, st.binary(max_size=40)), use, CORPUS)


@pytest.mark.parametrize("form", ["list", "object", "lines"])
def test_own_labels_are_refused_in_a_sentence_or_read(form: str, llama: LanguageModel, tmp_path: Path) -> None:
    spliced = SplicedModel(llama, saes_on(llama, JUMPRELU_SITES))
    site = spliced.sites[0]
    rows = [{"site": site, "index": n, "label": f"label {n}"} for n in range(2)]
    file = tmp_path / ("own.jsonl" if form == "lines" else "own.json")

    def use(content: bytes) -> None:
        file.write_bytes(content)
        own_labels(file, spliced)

    named = {f"{site}/{row['index']}": row["label"] for row in rows}
    cases = hostile_lines(rows) if form == "lines" else hostile_json(rows if form == "list" else named)
    fuzz(f"labels of one's own ({form})", cases, use, CORPUS)
