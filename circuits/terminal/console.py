"""What the commands share at the terminal: a progress bar, timed stages, errors as one sentence."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from circuits.terminal.interrupts import exit_code, terminations_as_interrupts
from circuits.terminal.progress_columns import Counted, EndColumn, RateColumn


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the seconds spent inside to `seconds[stage]`."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


@contextmanager
def progress_bar(console: Console, label: str, counted: Counted | None = None) -> Iterator[Callable[[float], None]]:
    """A bar that is told the share of work done, with the time that remains, the time of its end, and the rate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        EndColumn(),
        *(() if counted is None else (RateColumn(counted),)),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(label, total=1.0)
        yield lambda share: progress.update(bar, completed=share)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Wrong input ends with one sentence and exit code 2, Ctrl-C with 130, SIGTERM with 143; bugs keep their trace."""
    try:
        with terminations_as_interrupts():
            yield
    except (KeyError, IndexError):
        raise
    except (ValueError, LookupError, OSError) as error:
        Console(stderr=True).print(Text.assemble(("error ", "bold red"), str(error)))
        raise typer.Exit(2) from error
    except KeyboardInterrupt as stopped:
        Console(stderr=True).print("Interrupted. Nothing was measured to the end; files of earlier runs are untouched.")
        raise typer.Exit(exit_code(stopped)) from None


def quiet_libraries() -> None:
    """No progress bars and notes of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
