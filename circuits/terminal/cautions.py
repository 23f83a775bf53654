"""Warnings as commands print them: a mark, and the sentence."""

from collections.abc import Sequence

from rich.text import Text

from circuits.terminal.printable import printable
from graphs import Caution


def caution_texts(cautions: Sequence[Caution]) -> list[Text]:
    """A line for each warning; it wraps where the terminal is narrower."""
    return [Text(f"▲ warning: {printable(caution.sentence)}", style="yellow") for caution in cautions]
