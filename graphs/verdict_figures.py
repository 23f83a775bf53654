"""Figures of a verdict: the estimate against exact patching, and where its errors come from."""

from typing import Final, get_args

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from graphs.figure_frame import CAUSE_COLOURS, FLAG_COLOURS, HEIGHT, MARK, drawn_text, framed, note
from graphs.node import ErrorNode, FeatureNode, TokenNode, node_name
from graphs.verdict import FLAGS, Cause, NodeVerdict, Verdict
from graphs.verdict_words import CAUSE_WORDS, FLAG_WORDS, counted, jumps_of, scope_name, signed, site_of

_SYMBOLS: Final = {
    "sign_flip": "circle-open",
    "missed": "square-open",
    "phantom": "diamond-open",
    "wrong_size": "triangle-up-open",
}
_KINDS: Final = ("feature", "error", "token")
_CROWD: Final = 100
_RINGS: Final = {False: {"size": 11, "line": {"width": 2}}, True: {"size": 7, "line": {"width": 1}}}
_STRONGEST_DRAWN: Final = 3000
_MOST_SITES: Final = 16


def estimate_against_exact(verdict: Verdict) -> go.Figure:
    """Every verified node: exact effect (x) and estimate (y), in units of the metric.

    Both axes are asinh(effect / threshold): linear below the threshold, logarithmic above. The band is where the
    error is below the threshold; flagged nodes are ringed.
    """
    size = np.maximum(np.abs(verdict.estimate), np.abs(verdict.exact))
    drawn = np.sort(np.argsort(-size, kind="stable")[:_STRONGEST_DRAWN])
    reach = 1.06 * float(np.arcsinh(max(size.max(initial=0.0) / verdict.threshold, 2.0)))
    figure = go.Figure([*_band(verdict.threshold, reach), _dots(verdict, drawn)])
    for flag in FLAGS:
        found = [v for v in verdict.flagged if v.flag == flag]
        if found:
            figure.add_trace(_rings(verdict, found))
    values = _ticks(verdict.threshold, reach)
    axis = {
        "tickvals": [float(np.arcsinh(v / verdict.threshold)) for v in values],
        "ticktext": [f"{v:g}".replace("-", "−") for v in values],
        "range": [-reach, reach],
        "constrain": "domain",
    }
    unit = drawn_text(verdict.unit)
    figure.update_xaxes(axis, title=f"exact effect, by patching ({unit})")
    figure.update_yaxes(axis, title=f"estimate ({unit})", scaleanchor="x")
    flagged, checked = len(verdict.flagged), counted(verdict.verified, "checked node")
    finding = f"None of {checked} is flagged"
    if flagged:
        wrong = verdict.count("sign_flip") or "none"
        finding = f"{flagged} of {checked} {'is' if flagged == 1 else 'are'} flagged; {wrong} with the wrong sign"
    left_out = verdict.verified - len(drawn)
    return framed(
        figure,
        finding,
        f"Each dot is a node in one example. On the diagonal the estimate is exact, in the band it is off by less than "
        f"the threshold ({verdict.threshold:.3g} {verdict.unit}). The axes are linear below the threshold and "
        f"logarithmic above." + (f" The {left_out:,} weakest nodes are not drawn." if left_out else ""),
    )


def error_by_cause(verdict: Verdict) -> go.Figure:
    """By site: Σ|part of the error| of the explained flagged nodes by cause, and the number of flags of each kind."""
    figure = make_subplots(1, 2, shared_yaxes=True, column_widths=[0.58, 0.42], horizontal_spacing=0.04)
    names = [site_of(verdict, v.node) for v in verdict.flagged]
    sites = [s for s in verdict.sites if len(verdict.sites) <= _MOST_SITES or s in names]
    labels = [drawn_text(scope_name(verdict, site)) for site in sites]
    explained = [v for v in verdict.flagged if v.parts is not None]
    sums = {cause: _sums(verdict, explained, cause, sites) for cause in get_args(Cause)}
    for cause, values in sums.items():
        if any(values):
            bar = {
                "name": CAUSE_WORDS[cause],
                "marker_color": CAUSE_COLOURS[cause],
                "hovertemplate": f"%{{y}}: %{{x:.3g}} {drawn_text(verdict.unit)}",
            }
            figure.add_trace(go.Bar(x=values, y=labels, orientation="h", **bar), 1, 1)
    for flag in FLAGS:
        counts = [sum(n == s and v.flag == flag for n, v in zip(names, verdict.flagged, strict=True)) for s in sites]
        if any(counts):
            bar = {"name": FLAG_WORDS[flag], "marker_color": FLAG_COLOURS[flag], "hovertemplate": "%{y}: %{x}"}
            figure.add_trace(go.Bar(x=counts, y=labels, orientation="h", legend="legend2", **bar), 1, 2)
    if not verdict.flagged:
        figure.update_yaxes(showticklabels=False)
        note(figure, "no node is flagged", x=0.5, y=0.5, xref="paper", yref="paper")
    elif not explained:
        note(figure, "no flagged node was explained", x=0.5, y=0.5, xref="x domain", yref="y domain")
    framed(
        figure,
        _main_cause(sums, len(verdict.flagged), len(explained)),
        f"Left: how much of the error each cause makes, for {len(explained)} of {len(verdict.flagged)} flagged nodes; "
        f"sizes are added up without sign. Right: flags of all flagged nodes. Sites in the order of the forward pass, "
        f"from below.",
        height=max(HEIGHT, 260 + 24 * len(sites)),
        legend_rows=4,
    )
    figure.update_layout(barmode="stack", showlegend=True, legend={"orientation": "v", "traceorder": "normal"})
    figure.update_layout(legend2={**figure.layout.legend.to_plotly_json(), "x": 0.6})
    figure.update_xaxes(title=f"Σ |part of the error| ({drawn_text(verdict.unit)})", rangemode="tozero", col=1)
    figure.update_xaxes(title="flagged nodes (count)", rangemode="tozero", dtick=_step(verdict, names), col=2)
    figure.update_yaxes(title="site", categoryorder="array", categoryarray=labels, col=1)
    figure.update_yaxes(showgrid=False, ticksuffix=" ")
    return figure


def _band(threshold: float, reach: float) -> list[go.Scatter]:
    at = np.linspace(-reach, reach, 241)
    value = threshold * np.sinh(at)
    above, below = (np.arcsinh((value + side * threshold) / threshold) for side in (1, -1))
    off: dict[str, object] = {"hoverinfo": "skip", "mode": "lines"}
    return [
        go.Scatter(
            x=[*at, *at[::-1]],
            y=[*above, *below[::-1]],
            fill="toself",
            fillcolor="rgba(0,114,178,0.10)",
            line={"width": 0},
            name="error below threshold",
            **off,
        ),
        go.Scatter(x=[-reach, reach], y=[-reach, reach], line={"width": 1, "color": MARK}, showlegend=False, **off),
    ]


def _dots(verdict: Verdict, drawn: np.ndarray) -> go.Scatter:
    scale = verdict.threshold
    return go.Scatter(
        x=np.arcsinh(verdict.exact[drawn] / scale).tolist(),
        y=np.arcsinh(verdict.estimate[drawn] / scale).tolist(),
        mode="markers",
        name=f"checked ({verdict.verified:,})",
        marker={"size": 5, "color": MARK, "opacity": 0.6},
        hovertext=[_dot_hover(verdict, int(n)) for n in drawn],
        hoverinfo="text",
    )


def _rings(verdict: Verdict, found: list[NodeVerdict]) -> go.Scatter:
    flag, crowd = found[0].flag, len(verdict.flagged) > _CROWD
    return go.Scatter(
        x=[float(np.arcsinh(v.exact / verdict.threshold)) for v in found],
        y=[float(np.arcsinh(v.estimate / verdict.threshold)) for v in found],
        mode="markers",
        name=f"{FLAG_WORDS[flag]} ({len(found)})",
        marker={"symbol": _SYMBOLS[flag], **_RINGS[crowd], "color": FLAG_COLOURS[flag]},
        hovertext=[_ring_hover(verdict, v) for v in found],
        hoverinfo="text",
    )


def _dot_hover(verdict: Verdict, n: int) -> str:
    site, position, index = verdict.sites[int(verdict.site[n])], int(verdict.position[n]), int(verdict.index[n])
    kind = _KINDS[int(verdict.kind[n])]
    node = TokenNode(position) if kind == "token" else ErrorNode(site, position)
    node = FeatureNode(site, position, index) if kind == "feature" else node
    return _hover(verdict, node, int(verdict.example[n]), float(verdict.estimate[n]), float(verdict.exact[n]))


def _ring_hover(verdict: Verdict, found: NodeVerdict) -> str:
    lines = [_hover(verdict, found.node, found.example, found.estimate, found.exact), FLAG_WORDS[found.flag]]
    if found.cause is not None:
        lines[-1] += f", because of {CAUSE_WORDS[found.cause]}"
    lines += [f"α = {jump.alpha:.2f}: jump {signed(jump.size)}" for jump in jumps_of(found.gates)[:3]]
    return "<br>".join(lines)


def _hover(
    verdict: Verdict, node: FeatureNode | ErrorNode | TokenNode, example: int, estimate: float, exact: float
) -> str:
    token = verdict.token(node, example).strip()
    return (
        f"<b>{drawn_text(node_name(node))}</b>{f' “{drawn_text(token)}”' if token else ''}<br>example {example}<br>"
        f"exact {signed(exact)} {drawn_text(verdict.unit)}<br>estimate {signed(estimate)}<br>"
        f"error {signed(estimate - exact)}"
    )


def _ticks(threshold: float, reach: float) -> list[float]:
    """Round values from −reach to reach, in units of the metric, not closer than a sixth of the way."""
    largest = threshold * float(np.sinh(reach))
    powers = range(int(np.floor(np.log10(threshold))) - 1, int(np.ceil(np.log10(largest))) + 1)
    chosen = [0.0]
    for value in (digit * 10.0**power for power in powers for digit in (1, 2, 5)):
        if value <= largest and np.arcsinh(value / threshold) - np.arcsinh(chosen[-1] / threshold) >= reach / 6:
            chosen.append(float(f"{value:g}"))
    return [*(-v for v in reversed(chosen[1:])), *chosen]


def _sums(verdict: Verdict, explained: list[NodeVerdict], cause: Cause, sites: list[str]) -> list[float]:
    at = {site: [v for v in explained if site_of(verdict, v.node) == site] for site in sites}
    return [sum(abs((v.parts or {}).get(cause, 0.0)) for v in at[site]) for site in sites]


def _step(verdict: Verdict, names: list[str]) -> int:
    """A round number of flagged nodes from tick to tick, so that there are at most six ticks."""
    most = max(names.count(site) for site in verdict.sites)
    return next(digit * 10**power for power in range(9) for digit in (1, 2, 5) if most <= 5 * digit * 10**power)


def _main_cause(sums: dict[Cause, list[float]], flagged: int, explained: int) -> str:
    if not explained:
        return "No flagged node was explained" if flagged else "No node is flagged"
    totals = {cause: sum(values) for cause, values in sums.items()}
    cause = max(get_args(Cause), key=lambda c: totals[c])
    words = CAUSE_WORDS[cause]
    makes = "make" if cause == "jump" else "makes"
    share = totals[cause] / (sum(totals.values()) or 1.0)
    of = "the explained node" if explained == 1 else f"the {explained} explained nodes"
    return f"{words[0].upper()}{words[1:]} {makes} {share:.0%} of the error of {of}"
