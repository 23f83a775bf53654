"""Figures of the quality of dictionaries: predictions and scale by site, features and parameters, and L0 curves."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figures.colours import EXACT_COLOUR, GRADIENT_COLOUR, NEUTRAL_COLOUR, SERIES_COLOURS
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.nodes import short_site
from graphs.quality.dictionary_quality import DENSE, DictionaryQuality, Histogram
from graphs.quality.equal_l0 import MEASURES, compare_at_equal_l0, curves_at, refuse_other_texts
from graphs.quality.quality_words import NOT_COMPARED
from graphs.words.number_formats import counted_noun

_COLOURS: Final = (EXACT_COLOUR, GRADIENT_COLOUR, *SERIES_COLOURS)
_LEAST_HEIGHT: Final = 460
_UNBIASED: Final = 0.01
"""γ this close to 1 is called unbiased."""


def quality_by_l0(qualities: Sequence[DictionaryQuality], site: str) -> go.Figure:
    """The dictionaries of one site: FVU, ΔCE and KL over L0, a line for each family (Pareto curves).

    Raises:
        ValueError: the dictionaries were measured on different texts, or none is at the site.
    """
    refuse_other_texts(qualities)
    figure = make_subplots(1, len(MEASURES), subplot_titles=list(MEASURES))
    for column, measure in enumerate(MEASURES, start=1):
        curves = curves_at(qualities, site, measure)
        if not curves:
            raise ValueError(f"No dictionary is at {site}.")
        for number, (family, points) in enumerate(curves.items()):
            line = go.Scatter(
                x=[l0 for l0, _ in points],
                y=[value for _, value in points],
                mode="lines+markers",
                name=drawn_text(family),
                legendgroup=drawn_text(family),
                showlegend=column == 1,
                line={"color": _COLOURS[number % len(_COLOURS)]},
                hovertemplate="L0 %{x:.1f}: %{y:.4g}",
            )
            figure.add_trace(line, 1, column)
    frame_figure(
        figure,
        f"{short_site(site)}: {_best_families(qualities, site)}",
        "Less is better, and only above one another: a denser dictionary reconstructs more. The line between two "
        "dictionaries is what using each at a share of the positions gives. ΔCE and KL in nats per token.",
        height=_LEAST_HEIGHT,
        legend_rows=2,
    )
    figure.update_xaxes(title="L0, active features per position")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _best_families(qualities: Sequence[DictionaryQuality], site: str) -> str:
    """How often each family has the smallest FVU, at the L0s at which two can be compared."""
    found = [row for row in compare_at_equal_l0(qualities) if row.site == site and row.measure == "FVU"]
    if not found:
        return NOT_COMPARED[0].lower() + NOT_COMPARED[1:-1]
    best: dict[str, int] = {}
    for row in found:
        known = {family: value for family, value in row.values.items() if value is not None}
        least = min(known, key=lambda family: known[family])
        best[least] = best.get(least, 0) + 1
    each = ", ".join(f"{family} at {count}" for family, count in best.items())
    return f"the smallest FVU at equal L0 has {each} of {counted_noun(len(found), 'L0')}"


def predictions_by_site(quality: DictionaryQuality) -> go.Figure:
    """ΔCE and KL of each dictionary alone, and of all together."""
    rows = [(drawn_text(short_site(at.site)), at.alone) for at in quality.sites]
    if len(rows) > 1:
        rows.append(("all together", quality.together))
    names = [name for name, _ in rows]
    figure = go.Figure(
        [
            go.Bar(y=names, x=[own.kl for _, own in rows], orientation="h", name="KL(model ‖ spliced)"),
            go.Bar(y=names, x=[own.ce_increase for _, own in rows], orientation="h", name="ΔCE of the next token"),
        ]
    )
    figure.update_traces(hovertemplate="%{y}: %{x:.4f} nats")
    farthest = max(quality.sites, key=lambda at: at.alone.kl)
    together = f", all together {quality.together.kl:.3f}" if len(quality.sites) > 1 else ""
    frame_figure(
        figure,
        f"{short_site(farthest.site)} alone is {farthest.alone.kl:.3f} nats from the model{together}",
        "KL compares with the clean model, ΔCE with the next token of the text: a splice that changes predictions "
        "without making them worse has KL > 0 and ΔCE near 0.",
        height=_height(len(rows)),
        legend_rows=1,
    )
    figure.update_xaxes(title="nats per token")
    figure.update_yaxes(autorange="reversed")
    return figure


def scale_biases(quality: DictionaryQuality) -> go.Figure:
    """γ, ρ, and ρ at the best scale, of each dictionary."""
    known = [(short_site(at.site), at.gamma, at.rho) for at in quality.sites if at.gamma and at.rho is not None]
    names = [drawn_text(name) for name, _, _ in known]
    figure = go.Figure()
    for label, values, symbol, colour in (
        ("γ, the scale of x̂", [g for _, g, _ in known], "diamond", EXACT_COLOUR),
        ("ρ, what x̂ carries of x", [r for _, _, r in known], "circle", GRADIENT_COLOUR),
        ("ρ / γ, at the best scale", [r / g for _, g, r in known], "circle-open", GRADIENT_COLOUR),
    ):
        marker: dict[str, Any] = {"symbol": symbol, "size": 11, "color": colour}
        hover = f"%{{y}}: {label[0]} %{{x:.4f}}"
        figure.add_trace(go.Scatter(x=values, y=names, mode="markers", name=label, marker=marker, hovertemplate=hover))
    figure.add_vline(x=1, line={"dash": "dash", "width": 1, "color": NEUTRAL_COLOUR})
    frame_figure(
        figure,
        _scale_finding([(g, r) for _, g, r in known]),
        "γ = E|x̂|² / E⟨x̂, x⟩: 1 is unbiased, below 1 is shrinkage. ρ = E⟨x̂, x⟩ / E|x|²: below 1 for every imperfect "
        "dictionary, so it is no measure of shrinkage; open circles are what it is after the best rescaling.",
        height=_height(len(names)),
        legend_rows=2,
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _scale_finding(known: Sequence[tuple[float, float]]) -> str:
    if not known:
        return "The scale of the reconstructions is undefined"
    gammas, rhos = [g for g, _ in known], [r for _, r in known]
    if all(abs(g - 1) <= _UNBIASED for g in gammas):
        return f"No reconstruction is shrunken (γ within {_UNBIASED:.0%} of 1), and yet ρ is as low as {min(rhos):.3f}"
    return f"γ lies between {min(gammas):.3f} and {max(gammas):.3f}, ρ between {min(rhos):.3f} and {max(rhos):.3f}"


def feature_frequencies(quality: DictionaryQuality) -> go.Figure:
    """How many features of each site are active how often."""
    names = [drawn_text(short_site(at.site)) for at in quality.sites]
    figure = go.Figure(
        go.Heatmap(
            x=_middles(quality.sites[0].frequencies),
            y=names,
            z=[at.frequencies.counts for at in quality.sites],
            colorscale="Blues",
            colorbar={"title": "features"},
            hovertemplate="%{y}: %{z} features at 10^%{x:.1f} of positions<extra></extra>",
        )
    )
    dead, dense = (sum(map(len, of)) for of in zip(*((at.dead, at.dense) for at in quality.sites), strict=True))
    whole = sum(at.features for at in quality.sites)
    frame_figure(
        figure,
        f"{dead:,} of {counted_noun(whole, 'feature')} are dead on this text, {dense:,} dense",
        f"Dead: never active on its {quality.positions:,} positions; left out below. Dense: active at more than "
        f"{DENSE:.0%} of them.",
        height=_height(len(names)),
        legend_rows=0,
    )
    figure.update_xaxes(title="log10 of the share of positions at which a feature is active")
    figure.update_yaxes(autorange="reversed")
    return figure


def parameter_histograms(quality: DictionaryQuality) -> go.Figure:
    """The biases and thresholds of each dictionary's encoder."""
    columns = list(dict.fromkeys(name for at in quality.sites for name in at.parameters))
    rows = len(quality.sites)
    figure = make_subplots(
        rows,
        len(columns),
        subplot_titles=[drawn_text(f"{short_site(at.site)} {name}") for at in quality.sites for name in columns],
        vertical_spacing=min(0.3 / rows, 0.12),
    )
    for row, at in enumerate(quality.sites, start=1):
        for column, name in enumerate(columns, start=1):
            if (own := at.parameters.get(name)) is not None:
                bars = go.Bar(x=_middles(own), y=own.counts, showlegend=False, hovertemplate="%{x:.3g}: %{y} features")
                figure.add_trace(bars.update(marker_color=EXACT_COLOUR), row, column)
    frame_figure(
        figure,
        f"{' and '.join(columns)} of every feature",
        "Features are counted. A threshold is the size of the jump when a feature's gate opens.",
        height=max(_LEAST_HEIGHT, 120 * rows),
        legend_rows=0,
    )
    return figure.update_layout(bargap=0.02)


def _middles(histogram: Histogram) -> list[float]:
    return [(low + high) / 2 for low, high in pairwise(histogram.edges)]


def _height(rows: int) -> int:
    return max(_LEAST_HEIGHT, 260 + 30 * rows)
