"""`jumpwire steer`, run as a user runs it, on the embedded model."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from attribution.splice.recording import INTERVENED
from circuits.commands.app import app
from circuits.commands.shared.options import INTERVENED as MODES_OFFERED
from circuits.commands.steer import WHEN, SteerOptions
from circuits.steering import steering as room

SITE = "blocks.2.hook_resid_post"
FAST = ("--generate", "3", "--samples", "2", "--sites", SITE)


def jumpwire(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["steer", *map(str, arguments)])


def steered(out: Path, *arguments: str | Path) -> tuple[str, dict[str, Any]]:
    """What is printed, on one line, and steering.json."""
    (out / "general.txt").write_text("the barn near the beach was big .\nthe doctor was busy .")
    result = jumpwire(*arguments, *FAST, "--text-file", out / "general.txt", "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "steering.json").read_text(encoding="utf-8"))
    assert content["schema"] == "jumpwire.steering"
    return " ".join(result.output.split()), content


def test_features_are_steered_by_number_and_everything_is_printed_and_written(tmp_path: Path) -> None:
    arguments = ("368@subject:add=0.5max", "99:set=2", "--examples", "2", "--strengths=-1,1", "--shown", "1")
    printed, content = steered(tmp_path, *arguments)
    assert content["changes"] == [f"{SITE}/368@subject:add=0.5max", f"{SITE}/99:set=2"]
    assert [found["strength"] for found in content["strengths"]] == [-1, 0, 1]
    for found in content["strengths"]:
        assert found["mean_metric"] == pytest.approx(np.mean(found["metric"]))
        assert f"{found['mean_kl']:.4f} {found['fluency']:.3f}" in printed
        assert f"{found['text_kl']:.4f} {found['text_cross_entropy']:.3f}" in printed
        assert [sample["prompt"] for sample in found["samples"]] == [0, 0, 1, 1]
        assert found["samples"][0]["text"] in printed
    (largest,) = content["maxima"].values()
    assert f"{SITE}/368@subject:add=0.5max, max {largest:.3g}" in printed
    page = (tmp_path / "steering.html").read_text(encoding="utf-8")
    assert "<title>agreement on embedded</title>" in page
    again, same = steered(tmp_path, *arguments)
    assert same == content
    assert "0 computed, 3 reused" in again
    others = (*arguments, *FAST, "--generate", "0", "--text-file", tmp_path / "general.txt", "--out", tmp_path)
    assert jumpwire(*others).exit_code == 0
    assert (tmp_path / "steering-2.json").is_file()
    assert (tmp_path / "steering-2.html").is_file()


def test_several_texts_are_steered_along_a_direction_of_ones_own(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.linspace(-1, 1, 128, dtype=np.float32))
    texts = ("--text", "the doctors near the cake", "--text", "the doctor")
    about = ("--direction", tmp_path / "mine.npy", "--when", "generating", "--strengths", "1:2:2", "--error", "frozen")
    printed, content = steered(tmp_path, f"{SITE}/direction:add=3", *texts, *about)
    assert content["prompts"] == ["the doctors near the cake", "the doctor"]
    assert [found["strength"] for found in content["strengths"]] == [0, 1, 2]
    assert (content["when"], content["error_mode"]) == ("generating", "frozen")
    assert content["strengths"][1]["mean_kl"] > 0
    assert "from the prompt's last position on" in printed


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "Say what to change"),
        (("368",), "says nothing to do"),
        (("368:add=1", "--strengths", "much"), "write numbers with commas between"),
        (("368:add=1", "--strengths", "1:2:1"), "FIRST:LAST:COUNT"),
        (("368:add=1", "--strengths", "nan"), "write numbers with commas between"),
        (("368:add=1", "--when", "never"), "No --when 'never'. Choose one of: always, prompt, generating"),
        (("368:add=1", "--error", "path"), "No error mode 'path'"),
        (("368:add=1", "--text", "a", "--task", "pronoun"), "--text is the only prompt"),
        (("368:add=1", "--temperature", "0"), "At temperature 0 all 4 samples are the same"),
        (("368:add=1", "--direction", "none.npy"), "Direction none.npy: no such file"),
        (("368:add=1", "--direction", __file__), "give a file that ends in .json, .npy, .safetensors"),
        (("368:add=1",), "names no site, and SAEs are at"),
        (("368:add=1max", "--model", ".", "--saes", "."), "max is taken over general text, and there is none"),
    ],
)
def test_wrong_arguments_are_answered_with_what_to_do(arguments: tuple[str, ...], match: str, tmp_path: Path) -> None:
    result = jumpwire(*arguments, "--out", tmp_path)
    assert result.exit_code != 0
    assert match in " ".join(result.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_strengths_are_a_list_or_a_range() -> None:
    def strengths(text: str) -> list[float]:
        return SteerOptions(changes=["1:add=1"], strengths=text).each_strength()

    assert strengths("-1, 0.5,2e0") == [-1, 0.5, 2]
    assert strengths("-2:2:5") == [-2, -1, 0, 1, 2]


def test_names_to_choose_are_those_of_the_rooms() -> None:
    assert get_args(room.When) == WHEN
    assert INTERVENED == MODES_OFFERED
