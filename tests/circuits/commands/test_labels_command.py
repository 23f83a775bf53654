"""`jumpwire labels`, run as a user runs it; what others wrote stays data in the terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from circuits.commands.app import app
from circuits.labels.labels_output import context_line, print_labels
from circuits.terminal.printable import printable
from graphs import Context, FeatureLabel, FeatureNode, Labels, Writer, load_circuit, load_labels

HOSTILE = {
    "markup": "[bold red]deleted[/] [link=file:///etc]x[/link] :bomb:",
    "control": "a\x1b[2Jb\x07c\x9bd\re\nf\x00",
    "direction": "abc\u202edef\u2066ghi\u200b",
    "half a pair": "x\ud800y",
    "very long": "z" * 100_000,
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["labels", *map(str, arguments)])


def shown(labels: Labels, width: int, *, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None)
    print_labels(console, labels, places={}, rows=99, contexts=3, written="labels.json")
    return out.getvalue()


def labelled(text: str, token: str = " dogs") -> Labels:
    context = Context(("the", token, " of", token), 1, 2.0, (Writer(1, 1, token, 0.5),))
    tokens = ((token, 1.0),)
    label = FeatureLabel("blocks.0.hook_attn_out", 3, text, "yours", (context,), tokens, tokens, 0.5, 1.0)
    return Labels((label,), f"corpus {text[:50]}", 10)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("width", [80, 120])
def test_hostile_labels_and_tokens_stay_data(name: str, width: int) -> None:
    text = HOSTILE[name]
    for out in (shown(labelled(text), width), shown(labelled("fine", token=text), width)):
        assert not any(c in out for c in "\x1b\x07\x9b\r\x00\u202e\u2066\u200b\ud800")
        assert len(out) < 5_000
        assert max(map(len, out.splitlines())) <= width
    if name == "markup":
        assert "[bold red]deleted[/]" in shown(labelled(text), 120)
        assert "[bold red]" in shown(labelled("fine", token=text), 120)
    coloured = shown(labelled(text), width, colour=True)
    assert "\x1b[2J" not in coloured
    assert "file:///etc" not in coloured or "\x1b]8" not in coloured


def test_plain_text_shows_what_would_not_be_seen_and_leaves_the_rest() -> None:
    assert printable("a\x1b[1m\u202eb\nc\x07") == "a\\x1b[1m\\u202eb\\nc\\x07"
    assert printable("naïve 中文 🙂 [x]") == "naïve 中文 🙂 [x]"
    assert printable("abcdef", 4) == "abc…"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_marked_token_is_never_cut(width: int) -> None:
    context = Context((*["before "] * 30, "marked", *[" after"] * 30), 30, 1.5)
    line = context_line(context, width)
    assert ">marked<" in line.plain
    assert len(line) <= width
    assert "before >" in line.plain
    assert "< after" in line.plain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit of attention features."""
    folder = tmp_path_factory.mktemp("found")
    options = ("--method", "atp", "--examples", "2", "--nodes", "20", "--other-examples", "0", "--no-labels")
    options += ("--out", str(folder))
    result = CliRunner().invoke(app, ["find", *options])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("the dogs near the farmer like the cats .\nthe farmer that the dogs like was big .\n" * 3)
    return path


def test_the_features_of_a_circuit_are_labelled_beside_it(found: Path, text: Path, tmp_path: Path) -> None:
    circuit = load_circuit(found / "circuit.json")
    nodes = [w.node for w in circuit.strongest() if isinstance(w.node, FeatureNode)]
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"site": nodes[0].site, "index": nodes[0].index, "label": "what I call it"}))
    common = ("--circuit", found / "circuit.json", "--corpus", text, "--cache", tmp_path / "cache")
    result = run(*common, "--mine", mine, "--rows", "3")
    assert result.exit_code == 0, result.output
    labels = load_labels(found / "labels.json")
    assert {(n.site, n.index) for n in nodes} == {(label.site, label.index) for label in labels}
    first = next(iter(labels))
    assert (first.text, first.source) == ("what I call it", "yours")
    words = " ".join(result.output.split())
    assert "what I call it (yours)" in words
    assert first.name in words
    assert f"effect {circuit.strongest()[0].effect:+.3f}" in words or circuit.strongest()[0].node not in nodes
    assert "(automatic)" in words
    assert f"{len(labels) - 3} more in the file" in words
    attention = [label for label in labels if label.site.endswith("attn_out") and label.contexts]
    assert attention
    assert all(c.writers for label in attention for c in label.contexts)
    again = run(*common, "--out", tmp_path / "again.json")
    assert again.exit_code == 0, again.output
    assert load_labels(tmp_path / "again.json").of(first.site, first.index).source == "contexts"


def test_a_feature_by_name(text: Path, tmp_path: Path) -> None:
    name = "blocks.0.hook_resid_post/6"
    result = run(name, "--corpus", text, "--cache", tmp_path, "--out", tmp_path / "l.json")
    assert result.exit_code == 0, result.output
    assert name in result.output
    (label,) = load_labels(tmp_path / "l.json")
    assert label.name == name
    assert label.promoted is not None
    assert label.promoted[0][0] in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give features"),
        (("blocks.0.hook_resid_post/6", "--circuit", "x.json"), "Give features"),
        (("blocks.0.hook_resid_post",), "names no feature"),
        ((".",), "not a feature. Give a circuit with --circuit ."),
        (("blocks.0.hook_resid_post/9999",), "has no feature 9999"),
        (("blocks.0.hook_rezid_post/1",), "The model has no site"),
        (("--circuit", "nowhere.json"), "nowhere.json"),
        (("blocks.0.hook_resid_post/6", "--corpus", "nowhere.txt"), "no such file"),
        (("blocks.0.hook_resid_post/6", "--mine", "nowhere.json"), "no such file"),
        (("blocks.0.hook_resid_post/6", "--out", "."), "is a folder"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_code_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out" / "labels.json").exists()


def test_a_circuit_of_other_saes_is_refused(found: Path, text: Path, tmp_path: Path) -> None:
    result = run("--circuit", found / "circuit.json", "--saes", "relu", "--corpus", text, "--cache", tmp_path)
    assert result.exit_code == 2
    assert "another model or other SAEs" in " ".join(result.output.split())
