"""Figure of a verdict: what causes the estimate's errors at each site, and how many flags of each kind there are."""

from typing import Final, get_args

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figures.colours import CAUSE_COLOURS, FLAG_COLOURS
from graphs.figures.figure_frame import FIGURE_HEIGHT, drawn_text, frame_figure, write_in_panel
from graphs.verdict import FLAGS, Cause, NodeVerdict, Verdict
from graphs.words.verdict_words import (
    CAUSE_WORDS,
    FLAG_WORDS,
    scope_name,
    site_of,
)

_MOST_SITES: Final = 16


def error_by_cause(verdict: Verdict) -> go.Figure:
    """Left: Σ|part of the error| by site and cause, over the explained flagged nodes. Right: flags by site."""
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.58, 0.42], horizontal_spacing=0.04)
    flagged_at = [site_of(verdict, v.node) for v in verdict.flagged]
    sites = [s for s in verdict.sites if len(verdict.sites) <= _MOST_SITES or s in flagged_at]
    labels = [drawn_text(scope_name(verdict, site)) for site in sites]
    explained = [v for v in verdict.flagged if v.parts is not None]
    sums = {cause: _sums(verdict, explained, cause, sites) for cause in get_args(Cause)}
    figure.add_traces(_cause_bars(verdict, sums, labels), 1, 1)
    figure.add_traces(_flag_bars(verdict, flagged_at, sites, labels), 1, 2)
    if not verdict.flagged:
        write_in_panel(figure, "no node is flagged", x=0.5, y=0.5, xref="paper", yref="paper")
    elif not explained:
        write_in_panel(figure, "no flagged node was explained", x=0.5, y=0.5, xref="x domain", yref="y domain")
    frame_figure(
        figure,
        _main_cause(sums, len(verdict.flagged), len(explained)),
        f"Left: how much of the error each cause makes up, for the {len(explained)} of {len(verdict.flagged)} flagged "
        "nodes that were explained; absolute values are summed. Right: flags of all flagged nodes. Sites are in the "
        "order of the forward pass, from the bottom up.",
        height=max(FIGURE_HEIGHT, 260 + 24 * len(sites)),
        legend_rows=4,
    )
    _draw_axes(figure, verdict, labels, _step(verdict, flagged_at))
    return figure


def _cause_bars(verdict: Verdict, sums: dict[Cause, list[float]], labels: list[str]) -> list[go.Bar]:
    return [
        go.Bar(
            x=values,
            y=labels,
            orientation="h",
            name=CAUSE_WORDS[cause],
            marker_color=CAUSE_COLOURS[cause],
            hovertemplate=f"%{{y}}: %{{x:.3g}} {drawn_text(verdict.unit)}",
        )
        for cause, values in sums.items()
        if any(values)
    ]


def _flag_bars(verdict: Verdict, flagged_at: list[str], sites: list[str], labels: list[str]) -> list[go.Bar]:
    found = list(zip(flagged_at, verdict.flagged, strict=True))
    counts = {flag: [sum(at == s and v.flag == flag for at, v in found) for s in sites] for flag in FLAGS}
    return [
        go.Bar(
            x=counts[flag],
            y=labels,
            orientation="h",
            name=FLAG_WORDS[flag],
            marker_color=FLAG_COLOURS[flag],
            hovertemplate="%{y}: %{x}",
            legend="legend2",
        )
        for flag in FLAGS
        if any(counts[flag])
    ]


def _draw_axes(figure: go.Figure, verdict: Verdict, labels: list[str], step: int) -> None:
    figure.update_layout(barmode="stack", showlegend=True, legend={"orientation": "v", "traceorder": "normal"})
    figure.update_layout(legend2={**figure.layout["legend"].to_plotly_json(), "x": 0.6})
    figure.update_xaxes(title=f"Σ |part of the error| ({drawn_text(verdict.unit)})", rangemode="tozero", col=1)
    figure.update_xaxes(title="flagged nodes (count)", rangemode="tozero", dtick=step, col=2)
    figure.update_yaxes(title="site", categoryorder="array", categoryarray=labels, col=1)
    figure.update_yaxes(showgrid=False, ticksuffix=" ")
    if not verdict.flagged:
        figure.update_yaxes(showticklabels=False)


def _sums(verdict: Verdict, explained: list[NodeVerdict], cause: Cause, sites: list[str]) -> list[float]:
    at = {site: [v for v in explained if site_of(verdict, v.node) == site] for site in sites}
    return [sum(abs((v.parts or {}).get(cause, 0.0)) for v in at[site]) for site in sites]


def _step(verdict: Verdict, names: list[str]) -> int:
    """Distance of ticks: a round number of nodes that gives at most six ticks."""
    most = max(names.count(site) for site in verdict.sites)
    return next(digit * 10**power for power in range(9) for digit in (1, 2, 5) if most <= 5 * digit * 10**power)


def _main_cause(sums: dict[Cause, list[float]], flagged: int, explained: int) -> str:
    if not explained:
        return "No flagged node was explained" if flagged else "No node is flagged"
    totals = {cause: sum(values) for cause, values in sums.items()}
    cause = max(get_args(Cause), key=lambda c: totals[c])
    words = CAUSE_WORDS[cause]
    makes = "make up" if cause == "jump" else "makes up"
    share = totals[cause] / (sum(totals.values()) or 1.0)
    of = "the explained node" if explained == 1 else f"the {explained} explained nodes"
    return f"{words[0].upper()}{words[1:]} {makes} {share:.0%} of the error of {of}"
