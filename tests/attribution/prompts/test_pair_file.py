"""A file of pairs holds the same pairs in every form, whatever its name."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from attribution.models.language_model import LanguageModel
from attribution.prompts.pair_file import holds_lines, read_pairs
from attribution.prompts.pair_stream import count_pairs
from attribution.prompts.prompt_templates import MOST_ROWS, fillings
from circuits.tasks.prompts import prompt_pairs

ROWS: list[dict[str, Any]] = [
    {"clean": "w1 w2", "patch": "w1 w3", "answer": "w4", "wrong": "w5", "template": "a\u2028b\x85c"},
    {"clean_ids": [0, 3, 4], "patch_ids": [0, 3, 5], "answer_id": 6, "wrong_id": 7},
]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
FORMS = {
    "list": json.dumps(ROWS),
    "list over lines": json.dumps(ROWS, indent=1, ensure_ascii=False),
    "object": json.dumps({"pairs": ROWS}),
    "object over lines": json.dumps({"pairs": ROWS}, indent=1),
    "lines": "\n".join(LINES),
    "lines of another system": "\r\n".join(LINES) + "\r\n",
    "lines with empty ones": "\n\n".join(["", *LINES, " "]),
    "lines with a mark": "\ufeff" + "\n".join(LINES),
}


@pytest.mark.parametrize("name", ["pairs.json", "pairs.jsonl", "pairs.txt"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_under_every_name_holds_the_same_pairs(
    form: str, name: str, llama: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "first.json").write_text(FORMS["list"], encoding="utf-8")
    (tmp_path / name).write_bytes(FORMS[form].encode())
    found = read_pairs(tmp_path / name, llama)
    assert found.pairs == read_pairs(tmp_path / "first.json", llama).pairs
    assert found[0].template == ROWS[0]["template"]
    assert holds_lines(tmp_path / name) == form.startswith("lines")


def test_a_line_that_is_no_pair_is_named_by_its_number(llama: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text("\n".join([LINES[0], "", '{"clean": 5, "patch": "w1", "answer": "w2", "wrong": "w3"}']))
    for read in (lambda: read_pairs(path, llama), lambda: count_pairs(path)):
        with pytest.raises(ValueError, match=r"pairs\.json, line 3: clean is 5; expected text\."):
            read()


def test_a_line_that_is_no_json_is_named_by_one_number_alone(llama: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join([*LINES, "", '{"clean": "w1", ']))
    for read in (lambda: read_pairs(path, llama), lambda: count_pairs(path)):
        with pytest.raises(ValueError, match=r"pairs\.jsonl, line 4: not valid JSON \(Expecting[^,]* column 17\)"):
            read()


@pytest.mark.parametrize("form", ["list", "object", "lines"])
def test_keys_that_are_not_read_are_said_once_for_a_file(form: str, llama: LanguageModel, tmp_path: Path) -> None:
    rows = [ROWS[0] | {"gold": "w9"}, ROWS[1] | {"gold": "w9", "remark": 1}]
    whole = {"list": json.dumps(rows), "object": json.dumps({"by": "me", "pairs": rows})}
    path = tmp_path / "pairs.json"
    path.write_text(whole.get(form, "\n".join(map(json.dumps, rows))))
    with pytest.warns(UserWarning, match=rf"^{path}: keys not read: .*\. Of a pair are read: clean, ") as said:
        assert read_pairs(path, llama).pairs == tuple(prompt_pairs(ROWS, llama))
    keys = [str(one.message).split("not read: ")[1].split(".")[0] for one in said]
    assert keys == {"list": ["gold, remark"], "object": ["by, gold, remark"], "lines": ["gold", "remark"]}[form]


def test_keys_of_rows_that_are_not_read_are_said_and_those_that_are_read_are_not(llama: LanguageModel) -> None:
    with pytest.warns(UserWarning, match="The pairs: keys not read: gold"):
        prompt_pairs([ROWS[0] | {"gold": "w9"}], llama)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt_pairs(ROWS, llama)


@pytest.mark.parametrize(("key", "meant"), [("template", "templates"), ("pair", "pairs")])
def test_a_misspelt_part_of_a_file_is_refused(key: str, meant: str, llama: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({key: [], "pairs" if key == "template" else "templates": []}, indent=1))
    with pytest.raises(ValueError, match=rf"pairs\.json: unknown key '{key}'\. Did you mean '{meant}'\?"):
        read_pairs(path, llama)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt_ids": [0, 99]}, "token id 99 is outside the model's vocabulary"),
        ({"prompt_ids": [0, 10**30]}, "token id 1000000000000000000000000000000 is outside"),
        ({"prompt_ids": []}, "the clean prompt is empty"),
        ({"prompt_ids": [3] * 500}, "500 tokens; the model's context holds"),
    ],
)
def test_a_prompt_that_the_model_cannot_read_is_refused_before_the_model_reads_it(
    row: dict[str, Any], fault: str, llama: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=f"Pair 0: {fault}"):
        read_pairs(tmp_path / "pairs.json", llama)


def test_a_template_of_too_many_pairs_is_refused_at_once() -> None:
    words = {f"s{n}": ["a", "b"] for n in range(30)}
    template = {"text": "x", "answer": "y", "wrong": "z", "clean": words, "patch": {}}
    with pytest.raises(ValueError, match=rf"1,073,741,824 pairs; expected at most {MOST_ROWS:,}"):
        next(fillings(0, template))


def test_half_a_character_is_refused_where_text_becomes_tokens(llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"'w1 \\ud800' has half of a surrogate pair"):
        llama.token_ids("w1 \ud800")
