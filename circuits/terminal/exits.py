"""How a command ends when it does not finish: bad input, Ctrl-C and SIGTERM become one sentence and an exit code.

    2    bad input, or files that cannot be written: the sentence says what to do
    130  Ctrl-C (SIGINT)
    143  SIGTERM

Exceptions that only a bug can raise pass through with their traceback.
"""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import typer
from rich.console import Console
from rich.text import Text

from circuits.terminal.early_stop import Handler, handle_ctrl_c, stop_in_imports
from graphs.files.whole_file import reason


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised like Ctrl-C so that it unwinds the same way."""


def exit_code(stopped: KeyboardInterrupt) -> int:
    """128 plus the number of the signal, as shells count: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)


@contextmanager
def clean_exit() -> Iterator[None]:
    """When the block raises, ends the command as the table above says.

    KeyError and IndexError are LookupErrors too, but no check of the user's input raises them: they count as bugs. A
    pipe whose reader is gone is for Typer to handle.
    """
    try:
        with ctrl_c(stop_in_imports), _terminations_as_interrupts():
            yield
    except (KeyError, IndexError, BrokenPipeError):
        raise
    except (ValueError, LookupError, OSError) as error:
        Console(stderr=True).print(Text.assemble(("error ", "bold red"), _cut(_in_words(error))))
        raise typer.Exit(2) from error
    except KeyboardInterrupt as stopped:
        Console(stderr=True).print("Interrupted. No measurement was finished; files of earlier runs are untouched.")
        raise typer.Exit(exit_code(stopped)) from None


def _cut(sentence: str) -> str:
    """The sentence without the middle of words of thousands of characters, as only a file can hold them."""
    return re.sub(r"(\S{80})\S{200,}(\S{20})", r"\1...\2", sentence)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'What is printed'}: {reason(error)}."
    return str(error)


@contextmanager
def ctrl_c(handler: Handler) -> Iterator[None]:
    """Inside, `handler` answers Ctrl-C. Only the main thread may set signals; in another one nothing changes."""
    with _answered(signal.SIGINT, partial(handle_ctrl_c, handler)):
        yield


@contextmanager
def _terminations_as_interrupts() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`. Only the main thread may set signals; in another one nothing changes."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    with _answered(signal.SIGTERM, partial(signal.signal, signal.SIGTERM, terminate)):
        yield


@contextmanager
def _answered(number: signal.Signals, install: Callable[[], object]) -> Iterator[None]:
    """Installs a handler of a signal for as long as the block runs, in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    install()
    try:
        yield
    finally:
        signal.signal(number, before)
