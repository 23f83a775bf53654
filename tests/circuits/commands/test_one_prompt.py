"""One prompt from the command line, and prompts without a counterfactual, as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from circuits.commands.app import app
from circuits.commands.shared.earlier_run import CircuitFile
from circuits.commands.shared.inputs import Inputs

FEW = ("--saes", "topk", "--method", "atp", "--nodes", "12", "--no-labels")
PAIR = ("--prompt", "the doctors near the cake", "--counterfactual", "the doctor near the cake")
ANSWERS = ("--answer", " are", "--wrong", " is")


def jumpwire(*arguments: str | Path, fails: bool = False) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == (2 if fails else 0), result.output
    return " ".join(result.output.split())


def test_one_prompt_and_what_comes_after_it(tmp_path: Path) -> None:
    printed = jumpwire("find", *FEW, *PAIR, *ANSWERS, "--out", tmp_path)
    assert printed.startswith("prompt: [<s>]|the| doctors| near| the| cake → ' are', not ' is' [ ]: BOS, not spliced")
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (run["arguments"]["prompt"], run["arguments"]["bos"]) == (PAIR[1], None)
    assert run["opening"] == {"token": "<s>", "id": 1, "reason": "as the SAEs were trained", "spliced": False}
    inputs = CircuitFile.read(str(tmp_path)).completed(Inputs())
    assert (inputs.prompt, inputs.counterfactual, inputs.answer, inputs.wrong) == (*PAIR[1::2], *ANSWERS[1::2])
    assert "prompt: [<s>]|the| doctors" in jumpwire("check", tmp_path, "--explained", "0", "--verify", "20")
    assert "Written: " in jumpwire("ablate", "--circuit", tmp_path)


def test_a_prompt_alone_is_measured_against_zero(tmp_path: Path) -> None:
    alone = (*FEW, *PAIR[:2], "--answer", "are", "--out", tmp_path)
    assert "--patch zero or --patch mean" in jumpwire("find", *alone, "--metric", "log_probability", fails=True)
    assert "has no wrong answer" in jumpwire("find", *alone, "--patch", "zero", fails=True)
    jumpwire("find", *alone, "--patch", "zero", "--metric", "log_probability")
    assert (tmp_path / "circuit.html").is_file()


@pytest.mark.parametrize("bos", ["always", "never", "tokenizer"])
def test_what_opens_the_prompt_is_the_users_to_choose(tmp_path: Path, bos: str) -> None:
    printed = jumpwire("find", *FEW, *PAIR, *ANSWERS, "--bos", bos, "--out", tmp_path)
    assert ("No BOS opens it" in printed) == (bos == "never")
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert run["arguments"]["bos"] == bos
    assert (run["opening"]["id"] is None) == (bos == "never")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--answer", "are"), "--answer belongs to --prompt"),
        ((*PAIR, "--wrong", "is"), "--wrong needs --answer"),
        ((*PAIR, "--answer", "are"), "--counterfactual needs --wrong"),
        ((*PAIR, *ANSWERS, "--task", "agreement"), "Give --task, --pairs or --prompt: one of them"),
        ((*PAIR, *ANSWERS, "--split", "train"), "have no splits"),
        (("--bos", "yes"), "No choice of BOS 'yes'"),
        ((*PAIR[:3], "the doctor near", *ANSWERS), r"clean <s>|the| doctors| near| the| cake"),
    ],
)
def test_a_wrong_choice_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], match: str) -> None:
    assert match in jumpwire("find", *arguments, "--out", tmp_path, fails=True)
