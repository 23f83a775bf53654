"""The axis of positions: under each column the clean token, the patch token if it differs, and the position's name."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from graphs.circuit_graph import Position
from graphs.figures.figure_frame import BELOW_AXIS, drawn_text

_LONGEST: Final = 14
_CROWD: Final = 10
_LONGEST_IN_CROWD: Final = 9
_BELOW_AXIS_IN_CROWD: Final = 112


def pixels_below_axis(columns: int) -> int:
    """Height in pixels that the labels of this many columns need."""
    return BELOW_AXIS if columns <= _CROWD else _BELOW_AXIS_IN_CROWD


def label_position_axis(figure: go.Figure, at: Sequence[float], positions: Sequence[Position | None]) -> None:
    """Label the columns at the x coordinates `at`; None stands for a gap.

    A label has two lines, tokens and name; with many columns it is the tokens alone, slanted. Long tokens are
    shortened.
    """
    crowd = len(at) > _CROWD
    names = ["⋯" if p is None else _tokens(p, _LONGEST_IN_CROWD) if crowd else _two_lines(p) for p in positions]
    figure.update_xaxes(tickvals=list(at), ticktext=names, tickangle=-40 if crowd else 0, showgrid=False)


def _two_lines(position: Position) -> str:
    return f"{_tokens(position, _LONGEST)}<br><span style='color:#777777'>{_cut(position.label, _LONGEST)}</span>"


def _tokens(position: Position, longest: int) -> str:
    clean, patch = _cut(position.clean_token, longest), _cut(position.patch_token, longest)
    same = position.clean_token == position.patch_token
    return _cut(position.heading, longest) if same else f"{clean} → {patch}"


def _cut(text: str, longest: int) -> str:
    text = text.strip()
    return drawn_text(text if len(text) <= longest else f"{text[: longest - 1]}…")
