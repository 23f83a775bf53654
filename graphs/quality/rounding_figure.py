"""Figure of the bet on searched codes: what is left of three codes when their small activations are set to 0."""

from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import frame_figure
from graphs.quality.bet_words import CODES_IN_WORDS, bet_in_words
from graphs.quality.threshold_rounding import CODES, MEASURES, ThresholdRounding

_COLOURS: Final = dict(zip(CODES, (GRADIENT_COLOUR, SERIES_COLOURS[0], EXACT_COLOUR), strict=True))
_PANELS: Final = {
    "FVU": MEASURES["FVU"],
    "CE increase, nats per token": MEASURES["CE increase"],
    "L0": lambda row: row.l0,
}


def rounding_figure(found: ThresholdRounding) -> go.Figure:
    """FVU, CE increase and L0 by threshold, one line for each code; means over the sites, each spliced alone."""
    figure = make_subplots(1, len(_PANELS), subplot_titles=list(_PANELS), horizontal_spacing=0.08)
    for column, of in enumerate(_PANELS.values(), 1):
        for code in CODES:
            figure.add_trace(
                go.Scatter(
                    x=list(found.shares),
                    y=[found.mean(code, share, of) for share in found.shares],
                    mode="lines+markers",
                    name=CODES_IN_WORDS[code],
                    legendgroup=code,
                    showlegend=column == 1,
                    line={"color": _COLOURS[code], "width": 2.5},
                    hovertemplate="below %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
                ),
                1,
                column,
            )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(title="threshold / mean size of active features")
    return frame_figure(
        figure,
        bet_in_words(found.bet("CE increase")),
        f"Activations below the threshold are set to 0. {found.tokens:,} predicted tokens of {found.text}; means over "
        f"{len(found.choices)} sites, each spliced alone. Less is better.",
        legend_rows=1,
    )
