"""Names of columns below a figure: the token of each position, patched into which, and the position's label."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go

from graphs.circuit_graph import Position
from graphs.figures.figure_frame import BELOW_AXIS, drawn_text

_LONGEST: Final = 14
_CROWD: Final = 10
_LONGEST_IN_CROWD: Final = 9
_BELOW_AXIS_IN_CROWD: Final = 112


def room_below(columns: int) -> int:
    """Pixels that the names of so many columns take."""
    return BELOW_AXIS if columns <= _CROWD else _BELOW_AXIS_IN_CROWD


def name_columns(figure: go.Figure, at: Sequence[float], positions: Sequence[Position | None]) -> None:
    """Names below the columns `at` x, in two lines; tokens only and slanted where there are many. None is a gap.

    Long tokens are cut; the texts that show on hover have the whole of them.
    """
    crowd = len(at) > _CROWD
    names = ["⋯" if p is None else _tokens(p, _LONGEST_IN_CROWD) if crowd else _two_lines(p) for p in positions]
    figure.update_xaxes(tickvals=list(at), ticktext=names, tickangle=-40 if crowd else 0, showgrid=False)


def _two_lines(position: Position) -> str:
    return f"{_tokens(position, _LONGEST)}<br><span style='color:#777777'>{_cut(position.label, _LONGEST)}</span>"


def _tokens(position: Position, longest: int) -> str:
    clean, patch = _cut(position.clean_token, longest), _cut(position.patch_token, longest)
    return clean if position.clean_token == position.patch_token else f"{clean} → {patch}"


def _cut(text: str, longest: int) -> str:
    text = text.strip()
    return drawn_text(text if len(text) <= longest else f"{text[: longest - 1]}…")
