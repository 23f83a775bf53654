"""The page of a sweep over steering strengths: its curve, its table and its texts in one HTML file.

Its Content-Security-Policy allows the two scripts, by their hashes, and no request. Texts are escaped, the figure is a
block of JSON that is never parsed as HTML.
"""

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from plotly.offline import get_plotlyjs

from graphs.figures.steering_figure import steering_curve
from graphs.page.circuit_page import json_block, sha256_of
from graphs.page.scripts import SCRIPT_FOLDER
from graphs.sweeps.steering_sweep import SteeringSweep
from graphs.words.steering_words import (
    STEERING_NOTE,
    changes_in_words,
    steering_facts,
    steering_headline,
    steering_table,
    strength_in_words,
)

_HERE: Final = Path(__file__).parent
_CLEAR: Final = "rgba(0,0,0,0)"


def write_steering_page(sweep: SteeringSweep, path: str | Path, *, title: str) -> None:
    """Write a sweep as one self-contained HTML file.

    Args:
        sweep: what is shown.
        path: the file to write.
        title: heading of the page.
    """
    script, plotly = (SCRIPT_FOLDER / "steering.js").read_text(encoding="utf-8"), get_plotlyjs()
    heads, rows = steering_table(sweep)
    page = Template((_HERE / "steering_page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        facts=escape(steering_facts(sweep)),
        headline=escape(steering_headline(sweep)),
        changes="".join(f"<li>{escape(text)}</li>" for text in changes_in_words(sweep)),
        warnings="".join(f"<p><b>warning:</b> {escape(caution.sentence)}</p>" for caution in sweep.warnings),
        heads=_row(heads, "th"),
        rows="\n".join(_row(row, "td") for row in rows),
        note=escape(STEERING_NOTE),
        texts="\n".join(_texts(sweep, number) for number in range(len(sweep.prompts))),
        figure=json_block(_figure(sweep)),
        script=script,
        script_hash=sha256_of(script),
        plotly=plotly,
        plotly_hash=sha256_of(plotly),
    )
    Path(path).write_text(page, encoding="utf-8")


def _figure(sweep: SteeringSweep) -> Any:
    """The figure without its title: the page says it in HTML, which wraps."""
    figure = steering_curve(sweep)
    figure.update_layout(title=None, margin_t=40, height=420, paper_bgcolor=_CLEAR, plot_bgcolor=_CLEAR)
    return json.loads(figure.to_json() or "{}")


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag} class=number>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _texts(sweep: SteeringSweep, number: int) -> str:
    """A prompt with its likeliest next token and its samples at each strength, folded up unless it is the first."""
    rows = "".join(
        f'<tr><td class="number">{strength_in_words(found.strength)}</td>'
        f'<td dir="auto">{escape(found.likeliest[number])}</td>'
        f'<td class="samples">{_samples(s.text for s in found.samples if s.prompt == number)}</td></tr>'
        for found in sweep.strengths
    )
    heads = "<tr><th class='number'>strength</th><th>likeliest next</th><th>continuations</th></tr>"
    return (
        f"<details{' open' if number == 0 else ''}><summary dir='auto'>{escape(sweep.prompts[number])}</summary>"
        f'<table class="measured"><thead>{heads}</thead><tbody>{rows}</tbody></table></details>'
    )


def _samples(texts: Iterable[str]) -> str:
    return "".join(f'<p dir="auto">{escape(text)}</p>' for text in texts)
