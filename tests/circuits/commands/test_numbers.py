"""Every option that is a number, of every command, is refused before anything is loaded where it is no sensible one."""

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner, Result

from circuits.commands import export
from circuits.commands.app import LARGEST, app
from circuits.commands.shared.inputs import ModelInputs
from circuits.commands.shared.options import layers_of

COMMANDS = {command.callback.__name__: command.callback for command in app.registered_commands if command.callback}
NEEDED: dict[str, tuple[str, ...]] = {
    "ablate": ("blocks.2.hook_resid_post/368",),
    "feature": ("blocks.2.hook_resid_post/368",),
    "judge": ("a",),
    "steer": ("blocks.2.hook_resid_post/368:add=5",),
    "labels": ("blocks.2.hook_resid_post/368",),
    "compare": ("a", "b"),
    "export": ("a", "--html", "page.html"),
    "model": ("embedded",),
}
WITH = {("find", "points"): ("--method", "ig"), ("ablate", "temperature"): ("--generate", "2")}
GOOD: dict[str, str] = {"budget": "60s", "memory": "1G"}
NO_NUMBERS = ("nan", "inf", "-inf", "-1", "1e400", "9" * 400, "", "--1", "0x10")
MAY_BE_ZERO = {
    *(
        "seed",
        "from_layer",
        "folds",
        "resamples",
        "other_examples",
        "explained",
        "audit_seed",
        "generate",
        "temperature",
    ),
    *("strongest", "shown", "least_edge", "validation", "test", "least_cosine", "least_correlation"),
}


class ReachedError(Exception):
    """The command was about to load or read what it works on."""


def numbers() -> Iterator[tuple[str, str, type]]:
    """Command, option and type of every option that is a number."""
    for command, callback in COMMANDS.items():
        for parameter in signature(callback).parameters.values():
            plain = get_args(parameter.annotation)[0]
            kind = next((t for t in (int, float) if plain is t or t in get_args(plain)), None)
            if kind is not None:
                yield command, parameter.name, kind


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def reached(*_: Any, **__: Any) -> None:
        raise ReachedError

    monkeypatch.setattr(ModelInputs, "load_spliced", reached)
    monkeypatch.setattr("circuits.commands.compare._Run.read", reached)
    monkeypatch.setattr("circuits.commands.judge.CircuitFile.read", reached)
    monkeypatch.setattr(export, "_refuse", reached)
    monkeypatch.chdir(tmp_path)

    def run(command: str, option: str, value: str) -> Result:
        more = WITH.get((command, option), ())
        flag = f"--{option.replace('_', '-')}={value}"
        return CliRunner().invoke(app, [command, *NEEDED.get(command, ()), *more, flag])

    return run


def test_there_are_numbers_in_all_commands_but_one() -> None:
    assert {command for command, _, _ in numbers()} == COMMANDS.keys() - {"model"}
    assert len(list(numbers())) > 45


@pytest.mark.parametrize(("command", "option", "kind"), numbers())
def test_what_is_no_sensible_number_is_refused_before_anything_is_loaded(
    command: str, option: str, kind: type, run: Any, tmp_path: Path
) -> None:
    good = run(command, option, GOOD.get(option, "2" if kind is int else "0.5"))
    assert isinstance(good.exception, ReachedError), good.output
    wrong = [*NO_NUMBERS, *(() if option in MAY_BE_ZERO else ("0",)), *(("2.5",) if kind is int else ())]
    for value in wrong:
        result = run(command, option, value)
        assert (value, result.exit_code) == (value, 2), result.output
        assert not isinstance(result.exception, ReachedError)
        assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_number_of_more_than_64_bits_is_refused(run: Any) -> None:
    result = run("rank", "rows", str(LARGEST + 1))
    assert result.exit_code == 2
    assert f"--rows must be at most {LARGEST}; got a number of 19 digits." in " ".join(result.output.split())
    assert isinstance(run("rank", "rows", str(LARGEST)).exception, ReachedError)


@pytest.mark.parametrize(
    ("command", "option", "value", "words"),
    [
        ("find", "points", "1001", "less than or equal to 1000"),
        ("find", "folds", "1", "--folds 1 leaves nothing to judge on"),
        ("find", "budget", "99999999999h", "is no amount of time"),
        ("rank", "memory", "0.0000001M", "is no amount of memory"),
        ("rank", "memory", "9999999999T", "is no amount of memory"),
        ("rank", "layers", "0-99999999999", "--layers 0-99999999999: write a layer"),
        ("rank", "examples", "100000000", "A task gives at most 100,000 pairs; got 100,000,000."),
        ("find", "other_examples", "100000000", "A task gives at most 100,000 pairs; got 100,000,000."),
        ("ablate", "temperature", "1e-300", "--temperature is 0 (the likeliest token), or from 0.001 to 1000"),
        ("ablate", "op", "set=1e39", "No operation 'set=1e39'"),
        ("ablate", "op", "scale=nan", "No operation 'scale=nan'"),
    ],
)
def test_a_number_that_is_too_large_or_too_small_is_refused_in_words(
    command: str, option: str, value: str, words: str, run: Any
) -> None:
    result = run(command, option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_layers_that_no_model_has_are_refused() -> None:
    assert layers_of("9999") == (9999,)
    with pytest.raises(ValueError, match="--layers 10000: write a layer"):
        layers_of("10000")
