"""`jumpwire feature`, run as a user runs it."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from circuits.features.feature_output import print_report, print_search
from graphs import FeatureSearch, FoundFeature
from tests.graphs.page.test_feature_page import report_saying

NAME = "blocks.3.hook_attn_out/490"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["feature", *map(str, arguments)])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    lines = ("the dogs near the farmer like ( the cats ) .", "the boats beside the bridge are big .", "a cat is red .")
    path.write_text("\n".join(lines * 3))
    return path


def test_a_feature_is_printed_and_written_as_page_and_json(text: Path, tmp_path: Path) -> None:
    result = run(
        NAME, "--corpus", text, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--sites", "attn_out"
    )
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    for said in ("The causal test holds.", "no logit changes at all", "head 3.2", "What writes it", "promotes they"):
        assert said in words
    content = json.loads((tmp_path / "out" / "blocks.3.hook_attn_out-490.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["label"]["index"]) == ("jumpwire.feature", 490)
    assert content["test"]["largest"] == 0
    page = (tmp_path / "out" / "blocks.3.hook_attn_out-490.html").read_text(encoding="utf-8")
    assert "The causal test holds." in page


def test_features_are_found_and_written(text: Path, tmp_path: Path) -> None:
    result = run(
        *("--fires", "brackets", "--written-from", "(", "--promotes", ")", "--least", "2"),
        *("--corpus", text, "--out", tmp_path, "--cache", tmp_path / "cache", "--rows", "3", "--sites", "attn_out"),
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))
    assert (content["schema"], len(content["features"])) == ("jumpwire.features", 3)
    first = content["features"][0]
    assert f"{first['site']}/{first['index']}" in "".join(result.output.split())
    assert None not in first.values()
    assert all(one in " ".join(result.output.split()) for one in ("precision", "head", "logit"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give one feature"),
        ((NAME, "--fires", "quotes"), "Give one feature"),
        (("blocks.3.hook_attn_out",), "names no feature"),
        (("blocks.3.hook_attn_out/9999",), "has no feature 9999"),
        (("--fires", "("), "neither a regular expression"),
        (("--promotes", "nonsense"), "no token 'nonsense'"),
        ((NAME, "--corpus", "nowhere.txt"), "no such file"),
        ((NAME, "--model", "m", "--saes", "s"), "give --corpus"),
        (("--promotes", "they", "--sites", "nowhere"), "nowhere"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_code_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("width", [80, 120])
def test_hostile_text_stays_data(width: int) -> None:
    hostile = "[bold red]x[/] \x1b[2J \u202eevil"
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_report(console, report_saying(hostile), written=("a.json",))
    found = FoundFeature("blocks.0.hook_attn_out", 1, 2.0, 3, 0.5, 0.25, 0.125, 12)
    search = FeatureSearch("m", hostile, hostile, hostile, hostile, 400, 0.25, 9, (found,))
    print_search(console, search, written="search.json")
    shown = out.getvalue()
    assert not any(c in shown for c in "\x1b\u202e")
    assert "[bold red]x[/]" in shown
    assert max(map(len, shown.splitlines())) <= width
    assert "25.0%" in shown
