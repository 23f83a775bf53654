"""The page that lists the circuits of single pairs and links to the page of each: one HTML file without a script.

Its Content-Security-Policy allows the one style sheet, by its hash, and nothing else.
"""

from html import escape
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

from graphs.files.index_json import CircuitIndex, IndexedCircuit
from graphs.page.circuit_page import sha256_of
from graphs.words.certificate_words import COLOUR_MARKS
from graphs.words.number_formats import counted_noun, signed_number, two_decimals

_HERE: Final = Path(__file__).parent


def write_index_page(index: CircuitIndex, path: str | Path, *, page: str) -> None:
    """Write an index as one self-contained HTML file; `page` is the name of each circuit's page in its folder."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    text = Template((_HERE / "index_page.html").read_text(encoding="utf-8")).substitute(
        title=escape(index.title),
        style=style,
        style_hash=sha256_of(style),
        facts=escape(f"{counted_noun(len(index.circuits), 'circuit')}, each of one pair of prompts"),
        rows="\n".join(_row(circuit, page) for circuit in index.circuits),
        metric=escape(index.metric.replace("_", " ")),
        unit=escape(index.unit),
    )
    Path(path).write_text(text, encoding="utf-8")


def _row(circuit: IndexedCircuit, page: str) -> str:
    link = f'<a href="{quote(circuit.folder)}/{quote(page)}">{circuit.pair}</a>'
    wrong = f" → <b>{escape(circuit.wrong)}</b>" if circuit.wrong else ""
    prompts = (f"{escape(circuit.clean)} → <b>{escape(circuit.answer)}</b>", f"{escape(circuit.patch)}{wrong}")
    numbers = (
        signed_number(circuit.clean_metric),
        signed_number(circuit.patch_metric),
        "undefined" if circuit.faithfulness is None else two_decimals(circuit.faithfulness),
        f"{circuit.nodes:,}",
        f"{circuit.edges:,}",
    )
    mark = f'<span class="mark-of-grade">{COLOUR_MARKS[circuit.colour]}</span>{circuit.colour}'
    cells = "".join(f'<td dir="auto">{prompt}</td>' for prompt in prompts)
    cells += "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr class="{circuit.colour}"><th>{link}</th>{cells}<td>{mark}</td></tr>'
