"""What all figures share: colours, one template, and a frame whose title says the finding in words.

Each figure carries the template itself; plotly's global one is left as it is.
"""

import textwrap
from collections.abc import Mapping
from html import escape
from typing import Final

import plotly.graph_objects as go

from graphs.verdict import Cause, Flag

FLAG_COLOURS: Final[Mapping[Flag, str]] = {
    "sign_flip": "#d55e00",
    "missed": "#0072b2",
    "phantom": "#cc79a7",
    "wrong_size": "#009e73",
}
CAUSE_COLOURS: Final[Mapping[Cause, str]] = {"jump": "#e69f00", "curvature": "#56b4e9", "interaction": "#999999"}
POSITIVE: Final = "#1b7837"
NEGATIVE: Final = "#762a83"
TRUTH: Final = "#0072b2"
GRADIENT: Final = "#d55e00"
LINES: Final = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999999")
MARK: Final = "#8a8a8a"
_TEXT: Final = "#2a3f5f"
_GRID: Final = "#e8edf4"
_AXIS: Final = {
    "automargin": True,
    "gridcolor": _GRID,
    "linecolor": _GRID,
    "ticks": "",
    "zeroline": False,
    "title": {"standoff": 15},
}
TEMPLATE: Final = go.layout.Template(
    layout={
        "font": {"color": _TEXT},
        "colorway": [TRUTH, GRADIENT, *LINES],
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": "#222222"}},
        "modebar": {"orientation": "v", "color": MARK, "activecolor": TRUTH},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
HEIGHT: Final = 660
BELOW_AXIS: Final = 66
_LEGEND_ROW: Final = 21
_LEGEND_PAD: Final = 10
_TITLE_COLUMNS: Final = 84
_ABOVE_TITLE: Final = 26
_AROUND_TITLE: Final = 48
_TITLE: Final = {
    "x": 0.01,
    "xanchor": "left",
    "yref": "container",
    "yanchor": "top",
    "font": {"size": 17},
}
_LEGEND: Final = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "yanchor": "top"}
_TITLE_ROW: Final = 22


def drawn_text(text: str) -> str:
    """Plain text as plotly draws it: it reads tags, but not the entities of quotation marks."""
    return escape(text, quote=False)


def framed(
    figure: go.Figure,
    finding: str,
    reading: str,
    *,
    height: int = HEIGHT,
    legend_rows: int = 3,
    below_axis: int = BELOW_AXIS,
) -> go.Figure:
    """The figure with a title: the finding in words, and below it how to read the figure.

    `below_axis` is the room between the lowest axis and the legend, in pixels. The words are plain text; they are also
    kept in `layout.meta`, for pages that set them as text of their own.
    """
    title, rows = _title(finding, reading)
    legend = _LEGEND_ROW * legend_rows + _LEGEND_PAD if legend_rows else 0
    figure.update_layout(
        template=TEMPLATE,
        title=_TITLE | {"text": title, "y": 1 - _ABOVE_TITLE / height},
        meta={"finding": finding, "reading": reading},
        height=height,
        margin={"l": 70, "r": 44, "t": _AROUND_TITLE + _TITLE_ROW * rows, "b": below_axis + legend},
        legend=_LEGEND | {"y": legend / height},
    )
    return figure


def _title(finding: str, reading: str) -> tuple[str, int]:
    """The title as plotly draws it, and how many rows it takes."""
    large = [drawn_text(line) for line in textwrap.wrap(finding, _TITLE_COLUMNS)]
    small = [drawn_text(line) for line in textwrap.wrap(reading, round(1.3 * _TITLE_COLUMNS))]
    text = f"{'<br>'.join(large)}<br><span style='font-size:13px'>{'<br>'.join(small)}</span>"
    return text, len(large) + len(small)


def note(figure: go.Figure, text: str, **place: object) -> None:
    """Words in the middle of an empty panel."""
    figure.add_annotation(text=drawn_text(text), showarrow=False, font={"size": 14, "color": MARK}, **place)


def sign_colour(value: float) -> str:
    """Green where the metric rises, purple where it falls."""
    return POSITIVE if value >= 0 else NEGATIVE
