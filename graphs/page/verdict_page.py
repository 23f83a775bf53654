"""The page of a verdict: its sentence, key numbers, figures and flagged nodes in one HTML file."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import plotly.graph_objects as go

from graphs.figures.cause_figure import error_by_cause
from graphs.figures.colours import FLAG_COLOURS
from graphs.figures.path_trace_figure import path_trace
from graphs.figures.residual_figure import residual_by_points
from graphs.figures.verdict_figure import estimate_against_exact
from graphs.nodes import short_site
from graphs.page.report_page import drawn_figures, scope_table, table_head, table_rows, write_report
from graphs.verdict import Agreement, NodeVerdict, Verdict
from graphs.words.certificate_words import caution_line
from graphs.words.number_formats import counted_noun, signed_number, two_decimals, whole_percent
from graphs.words.verdict_words import (
    CAUSE_WORDS,
    FLAG_WORDS,
    GRADE_RULE,
    GRADE_WORDS,
    grade_of,
    jumps_of,
    key_numbers,
    scope_name,
)

_TEMPLATE: Final = Path(__file__).with_name("verdict_page.html")
_MOST_FLAGGED: Final = 50
_MOST_TRACES: Final = 3
_MOST_JUMPS: Final = 3


def write_verdict_page(verdict: Verdict, path: str | Path, *, title: str) -> None:
    """Write the verdict as one self-contained HTML file; its Content-Security-Policy forbids network requests.

    Args:
        verdict: what is shown.
        path: the file to write.
        title: heading of the page.
    """
    body = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        badge=GRADE_WORDS[grade_of(verdict)],
        sentence=escape(verdict.sentence),
        rule=escape(GRADE_RULE),
        warnings=_warnings(verdict),
        numbers=table_rows([[n.label, n.value, n.reading] for n in key_numbers(verdict)], header_first=True),
        figures=drawn_figures(_figures(verdict)),
        flagged_heading=escape(_flagged_heading(verdict)),
        flagged=_flagged_table(verdict),
        by_site=_agreement_table(verdict, verdict.by_site, "site"),
        by_encoder=_agreement_table(verdict, verdict.by_encoder, "SAE kind"),
    )
    write_report(path, body, title=title, shade=grade_of(verdict))


def _warnings(verdict: Verdict) -> str:
    """A section for each warning, in its colour."""
    return "".join(
        f"<section class='{line.colour} warnings'><p><b>{escape(line.name)}</b> {escape(line.reading)}</p></section>"
        for line in map(caution_line, verdict.warnings)
    )


def _figures(verdict: Verdict) -> list[go.Figure]:
    traces = [path_trace(verdict, n) for n in range(min(_MOST_TRACES, len(verdict.traces)))]
    residuals = [residual_by_points(verdict)] if verdict.residuals else []
    causes = [error_by_cause(verdict)] if verdict.flagged else []
    return [estimate_against_exact(verdict), *causes, *residuals, *traces]


def _flagged_heading(verdict: Verdict) -> str:
    if not verdict.flagged:
        return "No checked node is flagged"
    if len(verdict.flagged) > _MOST_FLAGGED:
        return f"The {_MOST_FLAGGED} largest errors of {len(verdict.flagged):,} flagged nodes"
    order = ", largest error first" if len(verdict.flagged) > 1 else ""
    return f"{counted_noun(len(verdict.flagged), 'flagged node')}{order}"


def _flagged_table(verdict: Verdict) -> str:
    if not verdict.flagged:
        return ""
    unit = escape(verdict.unit)
    heads = ("node", "example", "estimate", "exact", "error", "flag", "cause", "gates that flip on its own path")
    rows = "\n".join(_flagged_row(verdict, v) for v in verdict.flagged[:_MOST_FLAGGED])
    return (
        f"<div class='wide'><table class='nodes'><caption>Effects in {unit}; error = estimate − exact.</caption>"
        f"<thead>{table_head(heads)}</thead><tbody>{rows}</tbody></table></div>"
    )


def _flagged_row(verdict: Verdict, found: NodeVerdict) -> str:
    token = verdict.token(found.node, found.example).strip()
    cause = CAUSE_WORDS[found.cause] if found.cause else "not explained"
    values = "".join(
        f"<td class='number'>{signed_number(value)}</td>" for value in (found.estimate, found.exact, found.error)
    )
    name = _breakable(verdict.name(found.node, found.example))
    return (
        f"<tr><td><code>{name}</code>{f' “{escape(token)}”' if token else ''}</td>"
        f"<td class='number'>{found.example}</td>{values}<td class='flag'><i "
        f"style='background:{FLAG_COLOURS[found.flag]}'></i>{FLAG_WORDS[found.flag]}</td><td>{cause}</td>"
        f"<td>{_gates(verdict, found)}</td></tr>"
    )


def _gates(verdict: Verdict, found: NodeVerdict) -> str:
    jumps = jumps_of(found.gates)
    lines = []
    for jump in jumps[:_MOST_JUMPS]:
        first = jump.gates[0]
        also = f" and {len(jump.gates) - 1} more" if len(jump.gates) > 1 else ""
        name = escape(short_site(verdict.name(first.feature, found.example)))
        opens = "opens" if first.opened else "closes"
        lines.append(f"α {jump.alpha:.2f}: {signed_number(jump.size)}, {name} {opens}{also}")
    if len(jumps) > _MOST_JUMPS:
        lines.append(f"and {len(jumps) - _MOST_JUMPS} smaller jumps")
    return "<br>".join(lines) or "–"


def _agreement_table(verdict: Verdict, found: Sequence[Agreement], scope: str) -> str:
    top = max((a.top for a in found), default=0)
    heads = (
        scope,
        "checked",
        "flagged",
        "Pearson",
        "Spearman",
        f"top {top}",
        "wrong sign (large nodes)",
        "carried by jumps",
    )
    rows = [
        [
            f"{scope_name(verdict, a.scope)}{f' · {verdict.encoders[a.scope]}' if a.scope in verdict.encoders else ''}",
            f"{a.nodes:,}",
            f"{a.flagged:,}",
            two_decimals(a.pearson),
            two_decimals(a.spearman),
            whole_percent(a.top_overlap),
            f"{a.sign_flips:,} of {a.large:,}",
            whole_percent(a.jump_share),
        ]
        for a in found
    ]
    return scope_table(heads, rows)


def _breakable(name: str) -> str:
    """A name that the browser may break at its dots and its slash."""
    return escape(name).replace(".", ".<wbr>").replace("/", "/<wbr>")
