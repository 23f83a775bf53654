"""Every flag is declared once, says what it does, and names what there is to choose."""

import re
from inspect import signature
from pathlib import Path
from typing import get_args

import pytest
from typer.models import ArgumentInfo, OptionInfo
from typer.testing import CliRunner

from attribution.effects.quadrature import RULES
from attribution.methods.registry import METHODS
from attribution.prompts.metrics import METRICS
from attribution.prompts.position_names import SCHEMES
from attribution.splice.recording import INTERVENED, ErrorMode
from circuits.commands import find
from circuits.commands.app import app
from circuits.commands.shared import options
from circuits.discovery.deciding import AUTO_METHOD, DEFAULT_BUDGET
from circuits.discovery.selection import Selection
from circuits.embedded.load import DEFAULT_SAES
from circuits.terminal.amounts import seconds_of

COMMANDS = {command.callback.__name__: command.callback for command in app.registered_commands if command.callback}
SHARED = Path(options.__file__)
PANELS = {options.INPUTS, options.METHOD, options.CIRCUIT, options.EVIDENCE, options.OUTPUT}


def test_names_to_choose_are_those_of_the_registries() -> None:
    assert tuple(METHODS) == options.METHOD_NAMES
    assert tuple(METRICS) == options.METRIC_NAMES
    assert tuple(RULES) == options.RULE_NAMES
    assert get_args(ErrorMode) == options.ERROR_MODES
    assert INTERVENED == options.INTERVENED
    assert AUTO_METHOD == find.AUTO
    assert seconds_of(find.DEFAULT_BUDGET) == DEFAULT_BUDGET
    assert f"Default: {DEFAULT_SAES}." in str(declared("find")["saes"].help)


def declared(command: str) -> dict[str, OptionInfo | ArgumentInfo]:
    """What Typer knows of each parameter."""
    parameters = signature(COMMANDS[command]).parameters.values()
    return {parameter.name: get_args(parameter.annotation)[-1] for parameter in parameters}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_panel_and_a_sentence(command: str) -> None:
    assert len(declared(command)) >= (3 if command == "model" else 8)
    for name, info in declared(command).items():
        assert str(info.help).endswith((".", ")")), name
        assert isinstance(info, ArgumentInfo) or info.rich_help_panel, name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_is_declared_in_the_commands_own_file_or_among_the_shared_options_and_only_once_in_each(
    command: str,
) -> None:
    files = [path.read_text(encoding="utf-8") for path in (SHARED.parents[1] / f"{command}.py", SHARED)]
    for name in declared(command):
        found = [len(re.findall(rf"^    {name}: Annotated\[", text, re.MULTILINE)) for text in files]
        assert max(found) == 1, name


def test_find_has_no_more_panels_than_a_reader_can_keep_in_mind() -> None:
    assert {info.rich_help_panel for info in declared("find").values()} == PANELS


def test_a_wrong_amount_is_answered_with_examples() -> None:
    for arguments, message in (
        (["find", "--budget", "soon"], "'soon' is no amount of time. Write for example 90s"),
        (["rank", "--memory", "2"], "'2' is no amount of memory. Write for example 500M"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


def test_selections_and_schemes_are_those_that_there_are() -> None:
    assert ("auto", *SCHEMES) == find.SCHEMES
    for by in find.SELECTIONS:
        assert Selection(faithful=0.8, by=by).by == by


def test_a_share_to_drop_is_for_the_iterated_search_alone() -> None:
    assert Selection(faithful=0.8, drop=0.3).searches
    for more in (["--select", "learned"], ["--select", "ranking"], ["--nodes", "5"]):
        result = CliRunner().invoke(app, ["find", "--drop", "0.3", *more])
        assert result.exit_code != 0
        assert "Only the iterated search drops" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("find", "--least-edge", "nan"), "--least-edge must be a finite number; got nan"),
        (("find", "--least-edge", "-1"), "--least-edge is a share of the total effect"),
        (("find", "--validation", "1"), "--validation is a share of the pairs"),
        (("find", "--test", "inf"), "--test must be a finite number"),
        (("check", "--threshold", "nan"), "--threshold must be a finite number"),
    ],
)
def test_an_option_that_is_no_sensible_number_is_refused_before_anything_is_loaded(
    arguments: tuple[str, ...], match: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [*arguments, "--saes", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert match in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
