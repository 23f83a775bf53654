"""Warnings on the terminal as a sentence each, without the file and line that Python puts before them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.text import Text


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside, warnings for users (`UserWarning`) are printed on standard error as `warning` and their text."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning:
            Console(stderr=True).print(Text.assemble(("warning ", "bold yellow"), str(message)))
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
