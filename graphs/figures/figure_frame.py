"""What all figures share: a template, and a frame whose title states the finding in words.

Each figure carries the template itself; plotly's global default is left as it is.
"""

import textwrap
from html import escape
from typing import Final

import plotly.graph_objects as go

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS

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
        "colorway": [EXACT_COLOUR, GRADIENT_COLOUR, *SERIES_COLOURS],
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": "#222222"}},
        "modebar": {"orientation": "v", "color": NEUTRAL_COLOUR, "activecolor": EXACT_COLOUR},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
FIGURE_HEIGHT: Final = 660
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
    """Plain text escaped for plotly, which interprets tags and `$`, but not the entities of quotation marks."""
    return escape(text, quote=False).replace("$", "&#36;")


def frame_figure(
    figure: go.Figure,
    finding: str,
    reading: str,
    *,
    height: int = FIGURE_HEIGHT,
    legend_rows: int = 3,
    below_axis: int = BELOW_AXIS,
) -> go.Figure:
    """Give a figure its template, a title and room for its legend, and return it.

    Args:
        figure: changed in place.
        finding: what the figure shows, in plain text; the first part of the title.
        reading: how to read the figure, in plain text; the second part. Both are also kept in `layout.meta`.
        height: of the figure, in pixels.
        legend_rows: number of rows of the legend below the figure; 0 for none.
        below_axis: room between the lowest axis and the legend, in pixels.
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
    """The title as plotly draws it, and its number of rows."""
    large = [drawn_text(line) for line in textwrap.wrap(finding, _TITLE_COLUMNS)]
    small = [drawn_text(line) for line in textwrap.wrap(reading, round(1.3 * _TITLE_COLUMNS))]
    text = f"{'<br>'.join(large)}<br><span style='font-size:13px'>{'<br>'.join(small)}</span>"
    return text, len(large) + len(small)


def write_in_panel(figure: go.Figure, text: str, **place: object) -> None:
    """Write a remark in an empty panel."""
    figure.add_annotation(text=drawn_text(text), showarrow=False, font={"size": 14, "color": NEUTRAL_COLOUR}, **place)
