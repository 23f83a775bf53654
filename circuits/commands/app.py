"""The command line: `jumpwire COMMAND`, a function for each command.

A command's flags are the fields of the dataclasses its function takes, in the command's own file and in `options.py`.
Commands import torch only when they run, so that help is instant.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final, get_type_hints

import typer
from rich.console import Console

from circuits.commands.ablate import ablate
from circuits.commands.check import check
from circuits.commands.compare import compare
from circuits.commands.export import export
from circuits.commands.feature import feature
from circuits.commands.find import find
from circuits.commands.judge import judge
from circuits.commands.labels import labels
from circuits.commands.model import model
from circuits.commands.quality import quality
from circuits.commands.rank import rank
from circuits.commands.steer import steer
from circuits.terminal.examples import shown_examples
from circuits.terminal.exits import clean_exit
from circuits.terminal.plain_warnings import plain_warnings

LARGEST: Final = 2**63 - 1
"""Whole numbers that options take are no larger in size."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Attribution and circuit discovery over SAE features that can be trusted.",
    epilog=shown_examples(""),
    rich_markup_mode="rich",
)


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with each dataclass it takes replaced by that dataclass's fields, which Typer makes into options."""
    hints: dict[str, type[Any]] = get_type_hints(function)
    groups = {name: hint for name, hint in hints.items() if name not in ("console", "return")}
    parameters: list[inspect.Parameter] = []
    for group in groups.values():
        types = get_type_hints(group, include_extras=True)
        for field in _own_first(group):
            parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, annotation=types[field.name])
            parameters.append(parameter.replace(default=_default(field)))

    def run(**values: Any) -> None:
        with clean_exit(), plain_warnings():
            _refuse_impossible(values)
            chosen = {name: group(**{f.name: values[f.name] for f in fields(group)}) for name, group in groups.items()}
            function(Console(), **chosen)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)
    return run


def _refuse_impossible(values: dict[str, Any]) -> None:
    """Refuse options that are no finite numbers, before anything is loaded; Typer's limits let nan pass."""
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{flag} must be a finite number; got {value}.")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"{flag} must be at most {LARGEST}; got a number of {len(str(abs(value)))} digits.")


def _own_first(group: type) -> list[Field[Any]]:
    """The fields in the order of the help: those that the class declares itself, then those it inherits."""
    inherited = {field.name for base in group.__bases__ if is_dataclass(base) for field in fields(base)}
    return sorted(fields(group), key=lambda field: field.name in inherited)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default


for _function in (find, check, judge, compare, rank, ablate, steer, labels, feature, quality, export, model):
    app.command(epilog=shown_examples(_function.__name__))(_command(_function))
