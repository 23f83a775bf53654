"""A certificate in the terminal: one line each, colour first, with its reading where there is room."""

from rich.table import Table
from rich.text import Text

from graphs import CertificateLine, CircuitGraph, certificate_lines
from graphs.words.certificate_words import COLOUR_MARKS, Colour

_STYLE: dict[Colour, str] = {"green": "green", "amber": "yellow", "red": "red", "grey": "dim"}
_WIDTH_WITH_READINGS = 100


def certificate_table(circuit: CircuitGraph, width: int) -> Table:
    """The lines that judge, then the facts. The mark says the colour without colour: ● green, ▲ amber, ■ red."""
    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    readings = width >= _WIDTH_WITH_READINGS
    if readings:
        table.add_column("", overflow="fold")
    lines = certificate_lines(circuit)
    for line in (*(n for n in lines if n.colour != "grey"), *(n for n in lines if n.colour == "grey")):
        row = _row(line)
        table.add_row(*(row if readings else row[:-1]))
    return table


def _row(line: CertificateLine) -> list[Text]:
    style = _STYLE[line.colour]
    return [
        Text(COLOUR_MARKS[line.colour], style=style),
        Text(line.name),
        Text(line.value, style=style),
        Text(line.reading, "dim"),
    ]
