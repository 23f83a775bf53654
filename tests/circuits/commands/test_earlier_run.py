"""A run.json that says something else than a run says: one sentence with file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from circuits.commands.shared.earlier_run import EarlierRun
from circuits.commands.shared.inputs import Inputs

HASHES = {"model": "a", "saes": {"blocks.0.hook_mlp_out": "b"}, "prompts": "c"}


def read(folder: Path, content: Any) -> EarlierRun:
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return EarlierRun.read(folder)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], r"the content is \[\]; expected an object"),
        ({}, "arguments is missing"),
        ({"arguments": [], "hashes": HASHES}, r"arguments is \[\]; expected an object"),
        ({"arguments": {}, "hashes": {}}, "hashes.model is missing"),
        ({"arguments": {}, "hashes": {**HASHES, "saes": {"s": 5}}}, "hashes.saes.s is 5; expected text"),
        ({"arguments": {"seed": "x"}, "hashes": HASHES}, "seed is 'x'; expected a whole number"),
        ({"arguments": {"per_pair": 5}, "hashes": HASHES}, "per_pair is 5; expected true or false"),
        ({"arguments": {"metric": ["m"]}, "hashes": HASHES}, r"metric is \['m'\]; expected text"),
        ({"arguments": {"validation": 1.5}, "hashes": HASHES}, "validation is 1.5; expected a share from 0 to less"),
        ({"arguments": {"examples": 0}, "hashes": HASHES}, "examples is 0; expected at least 1"),
        ({"arguments": {"seed": -1}, "hashes": HASHES}, "seed is -1; expected at least 0"),
        ({"arguments": {"from_layer": -1}, "hashes": HASHES}, "from_layer is -1; expected at least 0"),
        ({"arguments": {"layers": "0-99999999999"}, "hashes": HASHES}, "--layers 0-99999999999: write a layer"),
    ],
)
def test_another_content_is_one_sentence(content: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"run\.json: {sentence}"):
        read(tmp_path, content)


def test_an_older_run_has_the_defaults_of_its_time(tmp_path: Path) -> None:
    found = read(tmp_path, {"arguments": {"task": "agreement"}, "hashes": HASHES})
    assert found.inputs == Inputs(task="agreement")
    assert (found.choices.validation, found.choices.per_pair, found.metric.name) == (None, False, "logit_difference")
    assert found.hashes == HASHES


def test_a_folder_without_a_run_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no run\.json"):
        EarlierRun.read(tmp_path)
