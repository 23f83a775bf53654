"""The curves that `circuits_found.py` keeps, as one picture: a panel for each case, a line for each order of the nodes.

    python -m benchmarks.circuits_found_figure circuits_found.jsonl circuits_found.png

Panels stand in the order of the file, four in a row. Needs Chromium.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots

from benchmarks.page_screenshots import launched
from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS

LINES: Final[dict[str, tuple[str, str]]] = {
    "iterated mask path": (SERIES_COLOURS[0], "solid"),
    "learned masks": (SERIES_COLOURS[1], "solid"),
    "mask path, once": (SERIES_COLOURS[0], "dot"),
    "chord IG": (SERIES_COLOURS[2], "solid"),
    "IG, site path": (SERIES_COLOURS[2], "dot"),
    "AtP": (GRADIENT_COLOUR, "solid"),
    "exact, live": (EXACT_COLOUR, "solid"),
    "random": (NEUTRAL_COLOUR, "solid"),
}
"""Colour and dash of each order."""
COLUMNS: Final = 4
WIDTH, HEIGHT_OF_A_ROW = 1200, 300


def curves_figure(cases: Sequence[dict[str, Any]]) -> go.Figure:
    """F on the judging pairs over the number of nodes; dashed: F = .8."""
    rows = height_of(cases) // HEIGHT_OF_A_ROW
    figure = make_subplots(
        rows,
        COLUMNS,
        subplot_titles=[case["case"].replace("_", " ") for case in cases],
        horizontal_spacing=0.045,
        vertical_spacing=0.3 / rows,
    )
    for number, case in enumerate(cases):
        row, column = number // COLUMNS + 1, number % COLUMNS + 1
        for name, (colour, dash) in LINES.items():
            curve = case["curves"][name]
            line = {"color": colour, "dash": dash, "width": 2.2 if name in case["chosen"] else 1.4}
            about = {"name": name, "legendgroup": name, "showlegend": number == 0}
            figure.add_trace(go.Scatter(x=curve["nodes"], y=curve["F"], mode="lines", line=line, **about), row, column)
        target = {"dash": "dash", "width": 1, "color": NEUTRAL_COLOUR}
        ends = go.Scatter(
            x=[1, case["curves"]["random"]["nodes"][-1]], y=[0.8, 0.8], mode="lines", line=target, showlegend=False
        )
        figure.add_trace(ends, row, column)
    figure.update_xaxes(type="log", dtick=1, gridcolor="#e8edf4", tickformat="~s")
    figure.update_yaxes(range=[-0.3, 1.3], gridcolor="#e8edf4", zeroline=False)
    for row in range(1, rows + 1):
        figure.update_yaxes(title="F on judging pairs", row=row, col=1)
    figure.update_xaxes(title="nodes kept", row=rows)
    figure.update_layout(
        width=WIDTH,
        height=height_of(cases),
        plot_bgcolor="white",
        font={"size": 12},
        margin={"l": 60, "r": 10, "t": 40, "b": 110},
        legend={"orientation": "h", "y": -0.36 / rows, "x": 0.5, "xanchor": "center"},
    )
    return figure


def height_of(cases: Sequence[dict[str, Any]]) -> int:
    """The picture's height in pixels."""
    return -(-len(cases) // COLUMNS) * HEIGHT_OF_A_ROW


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    cases = [json.loads(line) for line in given.curves.read_text(encoding="utf-8").splitlines()]
    figure = curves_figure(cases)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": WIDTH, "height": height_of(cases)})
        page.set_content(figure.to_html(include_plotlyjs=True, config={"displayModeBar": False}))
        page.wait_for_selector(".main-svg")
        page.locator(".js-plotly-plot").screenshot(path=given.picture)
        browser.close()


if __name__ == "__main__":
    main()
