"""What can be refused without a model is refused before one is loaded, by every command, and leaves no folder."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from circuits.commands.app import app
from circuits.commands.shared.inputs import ModelInputs

NODE = "blocks.2.hook_resid_post/368"
GOOD = {"clean": "a", "patch": "b", "answer": " is", "wrong": " are"}
TEMPLATE = {"text": "{x}", "clean": {"x": ["a"]}, "patch": {"x": ["b", "c"]}, "answer": " is", "wrong": " are"}
MISSPELT = {"clean": "a", "patch": "b", "anwser": " is", "wrong": " are"}
ROWS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "not valid JSON"),
    "no list": ({"pairs": 3}, "expected a list of pairs"),
    "a number": ([GOOD, 5], "Pair 1: expected an object, found int"),
    "a missing key": ([{"clean": "a"}], "Pair 0: has neither 'patch' nor 'patch_ids'"),
    "a misspelt key": ([GOOD, MISSPELT], "Pair 1: unknown key 'anwser'. Did you mean 'answer'?"),
    "no text": ([{**GOOD, "clean": 5}], "Pair 0: clean is 5; expected text"),
    "ids of unequal length": (
        [{"clean_ids": [1, 2], "patch_ids": [1], "answer_id": 3, "wrong_id": 4}],
        "Pair 0:",
    ),
    "roles": ([{**GOOD, "roles": 3}], "Pair 0: roles is 3; expected a list of names"),
    "a template": ({"templates": [TEMPLATE]}, "Template 0: 'x' has 1 words in clean and 2 in patch"),
    "nothing": ([], "No prompt pairs"),
}
PAIRS = {
    "find": ("find",),
    "check": ("check",),
    "rank": ("rank",),
    "ablate": ("ablate", NODE),
}


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing may be loaded, and nothing may be left in the working folder that was not there."""
    monkeypatch.setattr(ModelInputs, "load_spliced", lambda *_: pytest.fail("loaded"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def refused(*arguments: str | Path) -> str:
    before = sorted(Path().rglob("*"))
    result = CliRunner(env={"COLUMNS": "500"}).invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    assert sorted(Path().rglob("*")) == before
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", PAIRS)
@pytest.mark.parametrize("fault", ROWS)
def test_a_row_that_no_tokenizer_can_help_is_refused(command: str, fault: str, tmp_path: Path) -> None:
    rows, words = ROWS[fault]
    file = tmp_path / "pairs.json"
    file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    said = refused(*PAIRS[command], "--pairs", file)
    assert words in said
    assert "pairs.json" in said


def test_a_row_of_the_pairs_that_judge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps([GOOD]))
    (tmp_path / "others.json").write_text(json.dumps([GOOD, {}]))
    said = refused("find", "--pairs", tmp_path / "pairs.json", "--held-out", tmp_path / "others.json")
    assert "others.json: Pair 1: has neither" in said
    (tmp_path / "own.json").write_text(json.dumps([GOOD]))
    said = refused("find", "--pairs", tmp_path / "pairs.json", "--held-out", tmp_path / "own.json")
    assert "there is already a split called 'own'" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(((*command, "--task", "agrement"), "No task 'agrement'") for command in PAIRS.values()),
        *(((*command, "--split", "test"), "No split 'test'") for command in PAIRS.values()),
        *(((*command, "--backend", "jax"), "No backend 'jax'") for command in PAIRS.values()),
        *(
            ((*command, "--saes", "relux"), "--saes relux: no such folder. Embedded sets: gated")
            for command in PAIRS.values()
        ),
        *(((*command, "--bos", "often"), "No choice of BOS 'often'") for command in PAIRS.values()),
        *(((*command, "--metric", "loss"), "No metric 'loss'") for command in PAIRS.values()),
        *(((*command, "--patch", "none"), "No patch 'none'") for command in PAIRS.values()),
        *(((*command, "--pairs", "."), "--pairs . is a folder: give a file.") for command in PAIRS.values()),
        *(((*command, "--pairs", "none"), "--pairs none: no such file.") for command in PAIRS.values()),
        (("labels", NODE, "--saes", "relux"), "--saes relux: no such folder"),
        (("labels", NODE, "--corpus", "none"), "--corpus none: no such file"),
        (("labels", "blocks.2"), "'blocks.2' names no feature"),
        (("labels", NODE, "--mine", "bad.json"), "bad.json, row 1: expected"),
        (("labels", NODE, "--corpus", "empty.txt"), "empty.txt is empty"),
        (("labels", NODE, "--corpus", "bad.jsonl"), "bad.jsonl, row 1"),
        (("labels", "--circuit", "none"), "--circuit none: no such file"),
        (("ablate", "blocks.2"), "'blocks.2' is no node"),
        (("ablate", "token"), "'token' needs a position"),
        (("ablate", NODE, "--op", "drop"), "No operation 'drop'"),
        (("ablate", NODE, "--error", "path"), "No error 'path'"),
        (("ablate", NODE, "--text-file", "latin.txt"), "latin.txt: not UTF-8 text"),
        (("ablate", "--circuit", "none"), "--circuit none: no such file"),
        (("find", "--text", "latin.txt"), "latin.txt: not UTF-8 text"),
        (("find", "--text", "empty.txt"), "empty.txt is empty"),
        (("find", "--text", "."), "--text . is a folder: give a file."),
        (("check", "none"), "none has no run.json"),
        (("compare", "a", "b"), "a: no such folder"),
        (("export", "a", "--html", "x.html"), "a: no such file"),
        (("model", "none/at/all"), "none/at/all is not a folder"),
        (("model", "embedded", "--backend", "jax"), "No backend 'jax'"),
    ],
)
def test_bad_choices_and_bad_files_are_refused(arguments: tuple[str, ...], words: str) -> None:
    Path("bad.json").write_text('[{"site": "x"}]')
    Path("bad.jsonl").write_text('{"no": "text"}')
    Path("empty.txt").write_text("\n\n")
    Path("latin.txt").write_bytes("café".encode("latin-1"))
    assert words in refused(*arguments)


@pytest.mark.parametrize("command", [*PAIRS.values(), ("labels", NODE)])
def test_saes_without_a_model_ask_whether_it_was_forgotten(command: tuple[str, ...]) -> None:
    Path("saes").mkdir()
    said = refused(*command, "--saes", "saes")
    assert "--saes saes without --model: was --model forgotten?" in said
    assert "If these SAEs are the embedded model's, give --model embedded." in said


@pytest.mark.parametrize("command", [*PAIRS.values(), ("labels", NODE, "--corpus", "text.txt")])
def test_a_folder_without_saes_and_a_damaged_description_are_refused(command: tuple[str, ...]) -> None:
    Path("text.txt").write_text("the dogs sit")
    Path("saes").mkdir()
    given = (*command, "--model", "embedded", "--saes", "saes")
    assert "saes: no SAE found; expected folders that hold cfg.json" in refused(*given)
    Path("saes/one").mkdir()
    Path("saes/one/cfg.json").write_text("{")
    assert "cfg.json" in refused(*given)


@pytest.mark.parametrize("command", [*PAIRS.values(), ("labels", NODE, "--corpus", "text.txt"), ("model",)])
def test_a_name_that_cannot_be_looked_up_is_answered_within_a_second(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    Path("text.txt").write_text("the dogs sit")
    Path("saes").mkdir()
    start = time.monotonic()
    given = ("tiny/none",) if command == ("model",) else ("--model", "tiny/none", "--saes", "saes")
    said = refused(*command, *given)
    assert "tiny/none is neither a folder here nor a model in the local cache" in said
    assert time.monotonic() - start < 2
