"""Warnings as commands print them: a mark, and the sentence, in the colour of the warning."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from circuits.terminal.printable import printable
from graphs import Caution
from graphs.words.certificate_line import Colour
from graphs.words.certificate_words import COLOUR_MARKS, caution_line

COLOUR_STYLES: Final[Mapping[Colour, str]] = {"green": "green", "amber": "yellow", "red": "bold red", "grey": "dim"}
"""How a terminal shows a colour."""


def caution_texts(cautions: Sequence[Caution]) -> list[Text]:
    """A line for each warning; it wraps where the terminal is narrower."""
    lines = map(caution_line, cautions)
    return [
        Text(f"{COLOUR_MARKS[line.colour]} warning: {printable(line.reading)}", style=COLOUR_STYLES[line.colour])
        for line in lines
    ]
