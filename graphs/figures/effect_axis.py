"""An axis for effects of both signs and of many sizes: asinh(effect / scale), linear below the scale, log above.

Ticks are round numbers in units of the metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from graphs.figures.figure_frame import MARK, drawn_text


@dataclass(frozen=True)
class EffectAxis:
    """Both axes of estimate against exact: effects of size `scale` are where the axis turns from linear to logarithmic.

    `low` and `high` are its ends, in its own coordinate; 0 lies between them.
    """

    scale: float
    low: float
    high: float

    @classmethod
    def of(cls, effects: np.ndarray, scale: float) -> "EffectAxis":
        """The axis that shows all of these effects, and twice the scale on both sides."""
        low, high = (max(float((side * effects).max(initial=0.0)) / scale, 2.0) for side in (-1, 1))
        return cls(scale, -1.06 * float(np.arcsinh(low)), 1.06 * float(np.arcsinh(high)))

    def at(self, effects: Sequence[float] | np.ndarray) -> list[float]:
        """Where effects stand."""
        return np.arcsinh(np.asarray(effects) / self.scale).tolist()

    def ticks(self) -> list[float]:
        """Round values from end to end, in units of the metric, not closer than a twelfth of the axis."""
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
        """Where the estimate is exact."""
        ends = [self.low, self.high]
        line = {"width": 1, "color": MARK}
        return go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False)

    def put_on(self, figure: go.Figure, unit: str) -> None:
        """Exact to the right, the estimate upwards, one scale for both."""
        values = self.ticks()
        axis = {
            "tickvals": self.at(values),
            "ticktext": [f"{v:g}".replace("-", "−") for v in values],
            "range": [self.low, self.high],
            "constrain": "domain",
        }
        figure.update_xaxes(axis, title=f"exact effect, by patching ({drawn_text(unit)})")
        figure.update_yaxes(axis, title=f"estimate ({drawn_text(unit)})", scaleanchor="x")
