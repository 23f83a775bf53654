"""Figure of a verdict: the estimate against exact patching, node by node."""

from typing import Final

import numpy as np
import plotly.graph_objects as go

from graphs.figures.colours import FLAG_COLOURS, NEUTRAL_COLOUR
from graphs.figures.effect_axis import EffectAxis
from graphs.figures.figure_frame import drawn_text, frame_figure
from graphs.nodes import ErrorNode, FeatureNode, TokenNode
from graphs.verdict import FLAGS, NodeVerdict, Verdict
from graphs.words.number_formats import counted_noun, signed_number
from graphs.words.verdict_words import (
    CAUSE_WORDS,
    FLAG_WORDS,
    jumps_of,
)

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


def estimate_against_exact(verdict: Verdict) -> go.Figure:
    """Every verified node: exact effect (x) and estimate (y), in units of the metric.

    Both axes are asinh(effect / threshold): linear below the threshold and logarithmic above it. In the band the error
    is below the threshold; flagged nodes are ringed.
    """
    size = np.maximum(np.abs(verdict.estimate), np.abs(verdict.exact))
    drawn = np.sort(np.argsort(-size, kind="stable")[:_STRONGEST_DRAWN])
    axis = EffectAxis.of(np.concatenate([verdict.estimate, verdict.exact]), verdict.threshold)
    flagged = [[v for v in verdict.flagged if v.flag == flag] for flag in FLAGS]
    rings = [_rings(verdict, axis, found) for found in flagged if found]
    figure = go.Figure([*_band(axis), axis.diagonal(), _dots(verdict, axis, drawn), *rings])
    axis.put_on(figure, verdict.unit)
    left_out = verdict.verified - len(drawn)
    return frame_figure(
        figure,
        _wrong_of(verdict),
        "Each dot is a node in one example. On the diagonal the estimate is exact; in the band it is off by less than "
        f"the threshold ({verdict.threshold:.3g} {verdict.unit}). The axes are linear below the threshold and "
        "logarithmic "
        f"above." + (f" The {left_out:,} weakest nodes are not drawn." if left_out else ""),
    )


def _wrong_of(verdict: Verdict) -> str:
    flagged, checked = len(verdict.flagged), counted_noun(verdict.verified, "checked node")
    if not flagged:
        return f"None of {checked} is flagged"
    wrong = verdict.count("sign_flip") or "none"
    return f"{flagged} of {checked} {'is' if flagged == 1 else 'are'} flagged, {wrong} for a wrong sign"


def _band(axis: EffectAxis) -> list[go.Scatter]:
    """The region where the error is below the threshold, which is the scale of the axis."""
    at = np.linspace(axis.low, axis.high, 241)
    value = axis.scale * np.sinh(at)
    off: dict[str, object] = {"hoverinfo": "skip", "mode": "lines", "x": at.tolist()}
    return [
        go.Scatter(y=axis.at(value + axis.scale), line={"width": 0}, showlegend=False, **off),
        go.Scatter(
            y=axis.at(value - axis.scale),
            fill="tonexty",
            fillcolor="rgba(0,114,178,0.10)",
            line={"width": 0},
            name="error below threshold",
            **off,
        ),
    ]


def _dots(verdict: Verdict, axis: EffectAxis, drawn: np.ndarray) -> go.Scatter:
    return go.Scatter(
        x=axis.at(verdict.exact[drawn]),
        y=axis.at(verdict.estimate[drawn]),
        mode="markers",
        name=f"checked ({verdict.verified:,})",
        marker={"size": 5, "color": NEUTRAL_COLOUR, "opacity": 0.6},
        hovertext=[_dot_hover(verdict, int(n)) for n in drawn],
        hoverinfo="text",
    )


def _rings(verdict: Verdict, axis: EffectAxis, found: list[NodeVerdict]) -> go.Scatter:
    flag, crowd = found[0].flag, len(verdict.flagged) > _CROWD
    return go.Scatter(
        x=axis.at([v.exact for v in found]),
        y=axis.at([v.estimate for v in found]),
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
    lines += [f"α = {jump.alpha:.2f}: jump {signed_number(jump.size)}" for jump in jumps_of(found.gates)[:3]]
    return "<br>".join(lines)


def _hover(
    verdict: Verdict, node: FeatureNode | ErrorNode | TokenNode, example: int, estimate: float, exact: float
) -> str:
    name, token = drawn_text(verdict.name(node, example)), verdict.token(node, example).strip()
    return (
        f"<b>{name}</b>{f' “{drawn_text(token)}”' if token else ''}<br>example {example}<br>"
        f"exact {signed_number(exact)} {drawn_text(verdict.unit)}<br>estimate {signed_number(estimate)}<br>"
        f"error {signed_number(estimate - exact)}"
    )
