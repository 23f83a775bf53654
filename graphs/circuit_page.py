"""A circuit as one HTML page: its certificate first, then the figure; no network request."""

from html import escape
from pathlib import Path
from string import Template
from typing import Final

from graphs.certificate_lines import Colour, Line, certificate_lines, worst_of
from graphs.circuit_graph import CircuitGraph
from graphs.figures import circuit_figure

_TEMPLATE: Final = Path(__file__).with_name("circuit_page.html")
_SUMMARY: Final[dict[Colour, str]] = {
    "green": "Certificate: every line is green",
    "amber": "Certificate: mind the amber lines",
    "red": "Certificate: do not rely on what the red lines say",
    "grey": "No certificate: nothing is known of how far to trust this circuit",
}


def write_figure_page(circuit: CircuitGraph, path: str | Path, *, title: str) -> None:
    """One self-contained HTML file with the certificate and the figure; its policy forbids the browser any request."""
    lines = certificate_lines(circuit)
    judged = [line for line in lines if line.colour != "grey"]
    facts = [line for line in lines if line.colour == "grey"]
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        grade=worst_of(lines),
        summary=_SUMMARY[worst_of(lines)],
        lines="\n".join(map(_row, (*judged, *facts))),
        figure=circuit_figure(circuit).to_html(
            full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
        ),
    )
    Path(path).write_text(page, encoding="utf-8")


def _row(line: Line) -> str:
    name, value, reading, rule = map(escape, (line.name, line.value, line.reading, line.rule))
    return f'<tr class="{line.colour}"><th>{name}</th><td>{value}</td><td>{reading} <span>({rule})</span></td></tr>'
