"""The worked examples at the end of every command's help: one for each command, short enough to copy, each runs."""

import json
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from circuits.commands import ablate, check, compare, export, feature, find, judge, labels, model, quality, rank, steer
from circuits.commands.app import app
from circuits.terminal.examples import EXAMPLES
from graphs import save_circuit
from tests.graphs.page.page_circuits import small_circuit
from tests.worlds.traced_graph import traced

COMMANDS: dict[str, Callable[..., None]] = {
    "find": find.find,
    "check": check.check,
    "judge": judge.judge,
    "compare": compare.compare,
    "rank": rank.rank,
    "ablate": ablate.ablate,
    "steer": steer.steer,
    "labels": labels.labels,
    "feature": feature.feature,
    "quality": quality.quality,
    "export": export.export,
    "model": model.model,
}
LINES = [(command, line) for command, own in EXAMPLES.items() for _, line in own]


def options_of(line: str) -> list[Any]:
    """The options that an example gives its command, checked as the command checks them before it loads anything."""
    program, command, *arguments = shlex.split(line)
    assert program == "jumpwire"
    group: Any = typer.main.get_command(app)
    values = group.commands[command].make_context(command, arguments).params
    groups = [hint for name, hint in get_type_hints(COMMANDS[command]).items() if name not in ("console", "return")]
    return [one(**{field.name: values[field.name] for field in fields(one)}) for one in groups]


def test_every_command_has_two_to_five_examples() -> None:
    assert set(EXAMPLES) == {"", *COMMANDS}
    assert all(2 <= len(own) <= 5 for own in EXAMPLES.values())
    assert all(command in ("", line.split()[1]) for command, line in LINES)


@pytest.mark.parametrize("line", sorted({line for _, line in LINES}))
def test_an_example_is_understood_as_it_stands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pairs.json", "dataset.jsonl", "text.txt", "mine.json"):
        (tmp_path / name).write_text("[]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert options_of(line)


@pytest.mark.parametrize("command", EXAMPLES)
@pytest.mark.parametrize("width", [80, 120])
def test_help_shows_each_example_on_a_line_of_its_own(command: str, width: int) -> None:
    shown = CliRunner().invoke(app, [*([command] if command else []), "--help"], terminal_width=width)
    lines = [line.strip() for line in shown.output.splitlines()]
    assert max(map(len, shown.output.splitlines())) <= width
    start = lines.index("Examples")
    for what, line in EXAMPLES[command]:
        assert lines.index(line, start) == lines.index(f"# {what}", start) + 1


def test_the_examples_of_export_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out/agreement").mkdir(parents=True)
    save_circuit(small_circuit(), "out/agreement/circuit.json")
    Path("their_graph.json").write_text(json.dumps(traced()), encoding="utf-8")
    for _, line in EXAMPLES["export"]:
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
