"""An axis for effects of both signs and many magnitudes: asinh(effect / scale).

Linear for effects below the scale and logarithmic above it. Ticks are round numbers in units of the metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from graphs.figures.colours import NEUTRAL_COLOUR
from graphs.figures.figure_frame import drawn_text


@dataclass(frozen=True)
class EffectAxis:
    """The common axis of estimate and exact effect.

    Attributes:
        scale: the size of effect at which the axis turns from linear to logarithmic, in units of the metric.
        low, high: its ends, in its own coordinate; 0 lies between them.
    """

    scale: float
    low: float
    high: float

    @classmethod
    def of(cls, effects: np.ndarray, scale: float) -> "EffectAxis":
        """The axis that shows all these effects, and at least twice the scale on both sides."""
        low, high = (max(float((side * effects).max(initial=0.0)) / scale, 2.0) for side in (-1, 1))
        return cls(scale, -1.06 * float(np.arcsinh(low)), 1.06 * float(np.arcsinh(high)))

    def at(self, effects: Sequence[float] | np.ndarray) -> list[float]:
        """The axis coordinates of effects."""
        return np.arcsinh(np.asarray(effects) / self.scale).tolist()

    def ticks(self) -> list[float]:
        """Round effects across the axis, in units of the metric, at least a twelfth of the axis apart."""
        return [*(-v for v in reversed(self._ticks_to(-self.low))), 0.0, *self._ticks_to(self.high)]

    def _ticks_to(self, end: float) -> list[float]:
        largest = self.scale * float(np.sinh(end))
        powers = range(int(np.floor(np.log10(self.scale))) - 1, int(np.ceil(np.log10(largest))) + 1)
        chosen = [0.0]
        for value in (digit * 10.0**power for power in powers for digit in (1, 2, 5)):
            step = np.arcsinh(value / self.scale) - np.arcsinh(chosen[-1] / self.scale)
            if value <= largest and step >= (self.high - self.low) / 12:
                chosen.append(float(f"{value:g}"))
        return chosen[1:]

    def diagonal(self) -> go.Scatter:
        """The line on which the estimate is exact."""
        ends = [self.low, self.high]
        line = {"width": 1, "color": NEUTRAL_COLOUR}
        return go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False)

    def put_on(self, figure: go.Figure, unit: str) -> None:
        """Set up both axes of a figure: exact effect as x, estimate as y, with the same scale."""
        values = self.ticks()
        axis = {
            "tickvals": self.at(values),
            "ticktext": [f"{v:g}".replace("-", "−") for v in values],
            "range": [self.low, self.high],
            "constrain": "domain",
        }
        figure.update_xaxes(axis, title=f"exact effect, by patching ({drawn_text(unit)})")
        figure.update_yaxes(axis, title=f"estimate ({drawn_text(unit)})", scaleanchor="x")
