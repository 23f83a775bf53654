"""The colours of all figures and exports, by what they stand for; distinct also to colour-blind readers."""

from collections.abc import Mapping
from typing import Final

from graphs.verdict import Cause, Flag

FLAG_COLOURS: Final[Mapping[Flag, str]] = {
    "sign_flip": "#d55e00",
    "missed": "#0072b2",
    "phantom": "#cc79a7",
    "wrong_size": "#009e73",
}
CAUSE_COLOURS: Final[Mapping[Cause, str]] = {"jump": "#e69f00", "curvature": "#56b4e9", "interaction": "#999999"}
POSITIVE_COLOUR: Final = "#1b7837"
NEGATIVE_COLOUR: Final = "#762a83"
EXACT_COLOUR: Final = "#0072b2"
GRADIENT_COLOUR: Final = "#d55e00"
SERIES_COLOURS: Final = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999999")
NEUTRAL_COLOUR: Final = "#8a8a8a"


def sign_colour(value: float) -> str:
    """Green where the metric rises (also for 0), purple where it falls."""
    return POSITIVE_COLOUR if value >= 0 else NEGATIVE_COLOUR
