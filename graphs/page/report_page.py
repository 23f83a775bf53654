"""The frame of pages that report: figures of plotly and tables under a heading, in one HTML file without requests."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_FRAME: Final = Path(__file__).with_name("report_page.html")
_CLEAR: Final = "rgba(0,0,0,0)"
_BUTTONS: Final = ("toImage", "zoom2d", "pan2d", "resetScale2d")


def write_report(path: str | Path, body: str, *, title: str, shade: str = "") -> None:
    """Write a page; its Content-Security-Policy forbids network requests.

    Args:
        path: the file to write.
        body: HTML, in which every text of others is escaped.
        title: heading of the page, as plain text.
        shade: the grade whose colour the page has: green, amber or red.
    """
    frame = Template(_FRAME.read_text(encoding="utf-8"))
    page = frame.substitute(title=escape(title), shade=shade, body=body, plotly=get_plotlyjs())
    Path(path).write_text(page, encoding="utf-8")


def drawn_figures(figures: Iterable[go.Figure], start: int = 0) -> str:
    """Figures side by side; `start` is the number of those that the page has already."""
    return "\n".join(_drawn(figure, n) for n, figure in enumerate(figures, start))


def _drawn(figure: go.Figure, n: int) -> str:
    """The figure, with its finding as an HTML heading, which wraps where a plotly title would be cut off."""
    layout: Any = figure.layout
    meta = layout.meta
    figure.update_layout(
        title=None,
        margin_t=54,
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        modebar_bgcolor=_CLEAR,
        modebar_orientation="h",
    )
    drawn = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"figure-{n}",
        config={"displaylogo": False, "responsive": True, "modeBarButtons": [list(_BUTTONS)]},
    )
    caption = f"<h2>{escape(meta['finding'])}</h2><p>{escape(meta['reading'])}</p>"
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def scope_table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of numbers whose first column says what they are of."""
    return (
        f"<div class='wide'><table class='scopes'><thead>{table_head(heads)}</thead>"
        f"<tbody>{table_rows(rows)}</tbody></table></div>"
    )


def table_head(names: Iterable[str]) -> str:
    """The head of a table."""
    return f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr>"


def table_rows(rows: Iterable[Sequence[str]], *, header_first: bool = False) -> str:
    """Rows of a table, of plain text."""
    tag = "th" if header_first else "td"
    return "\n".join(
        f"<tr><{tag}>{escape(first)}</{tag}>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
