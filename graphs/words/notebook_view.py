"""How a notebook displays a circuit or a verdict: a headline and small tables, in HTML and in plain text.

No scripts, style sheets or images, so that it looks the same wherever a saved notebook is rendered. A mark at the start
of a line repeats its colour in black and white: ● green, ▲ amber, ■ red.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.nodes import short_site
from graphs.notebook_display import MimeBundle
from graphs.verdict import Verdict
from graphs.words.certificate_line import CertificateLine
from graphs.words.certificate_words import COLOUR_MARKS, caution_line, certificate_lines
from graphs.words.circuit_words import headline
from graphs.words.method_names import method_name, method_order
from graphs.words.number_formats import counted_noun, signed_number
from graphs.words.verdict_words import (
    CAUSE_WORDS,
    FLAG_WORDS,
    grade_of,
    key_numbers,
)

_NODES: Final = 8
_FLAGGED: Final = 5


@dataclass(frozen=True)
class _Table:
    """Rows of equal length. Without heads, the last cell of a row is its reading, which plain text leaves out."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def circuit_view(circuit: CircuitGraph) -> MimeBundle:
    """The headline, the certificate's lines that carry a judgement, and the strongest nodes."""
    measured = circuit.measurement
    lines = tuple(_line_row(line) for line in certificate_lines(circuit) if line.colour != "grey")
    certificate = _Table("certificate" if lines else f"no certificate; {measured.evidence}", (), lines)
    strongest = circuit.strongest(_NODES)
    methods = tuple(sorted({name for w in strongest for name in w.estimates}, key=method_order))
    nodes = _Table(
        f"strongest of {counted_noun(len(circuit.strongest()), 'node')}; effects in {measured.unit}, "
        f"mean of {counted_noun(measured.examples, 'pair')}",
        ("node", "effect", *map(method_name, methods)),
        tuple(_node_row(circuit, weighted, methods) for weighted in strongest),
    )
    return _shown(headline(circuit), (certificate, nodes))


def verdict_view(verdict: Verdict) -> MimeBundle:
    """The verdict's sentence, its warnings, its key numbers and the largest errors."""
    numbers = _Table("key numbers", (), tuple((n.label, n.value, n.reading) for n in key_numbers(verdict)))
    flagged = _Table(
        f"largest errors of {counted_noun(len(verdict.flagged), 'flagged node')}, in {verdict.unit}",
        ("node", "example", "estimate", "exact", "flag", "cause"),
        tuple(
            (
                short_site(verdict.name(v.node, v.example)),
                str(v.example),
                signed_number(v.estimate),
                signed_number(v.exact),
                FLAG_WORDS[v.flag],
                "not explained" if v.cause is None else CAUSE_WORDS[v.cause],
            )
            for v in verdict.flagged[:_FLAGGED]
        ),
    )
    cautions = _Table("warnings", (), tuple(map(_line_row, map(caution_line, verdict.warnings))))
    tables = [table for table in (cautions, numbers, flagged) if table.rows]
    return _shown(f"{COLOUR_MARKS[grade_of(verdict)]} {verdict.sentence}", tables)


def parts_view(title: str, parts: Mapping[str, object]) -> MimeBundle:
    """The parts of a value by name, each by its short text."""
    rows = tuple((f".{name}", repr(part)) for name, part in parts.items())
    return _shown(title, (_Table("", ("part", "what it is"), rows),))


def joined_views(views: Sequence[MimeBundle]) -> MimeBundle:
    """Several views, one below the other."""
    return {
        "text/plain": "\n\n".join(view["text/plain"] for view in views),
        "text/html": "".join(view["text/html"] for view in views),
    }


def _line_row(line: CertificateLine) -> tuple[str, ...]:
    return COLOUR_MARKS[line.colour], line.name, line.value, line.reading


def _node_row(circuit: CircuitGraph, weighted: WeightedNode, methods: Sequence[str]) -> tuple[str, ...]:
    error = "" if weighted.standard_error is None else f" ± {weighted.standard_error:.2g}"
    estimates = (signed_number(weighted.estimates[m]) if m in weighted.estimates else "–" for m in methods)
    return short_site(circuit.name(weighted.node)), f"{signed_number(weighted.effect)}{error}", *estimates


def _shown(title: str, tables: Sequence[_Table]) -> MimeBundle:
    text = "\n\n".join((title, *map(_as_text, tables)))
    html = "".join((f"<p><b>{escape(title)}</b></p>", *map(_as_html, tables)))
    return {"text/plain": text, "text/html": html}


def _as_text(table: _Table) -> str:
    rows = (table.heads, *table.rows) if table.heads else tuple(row[:-1] for row in table.rows)
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join((*filter(None, [table.title]), *(f"  {row}" for row in padded)))


def _as_html(table: _Table) -> str:
    left = ' style="text-align: left"'
    heads = "".join(f"<th{left}>{escape(head)}</th>" for head in table.heads)
    rows = "".join(f"<tr>{''.join(f'<td{left}>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    title = f"<p>{escape(table.title)}</p>" if table.title else ""
    return title + (f"<table>{head}<tbody>{rows}</tbody></table>" if rows else "")
