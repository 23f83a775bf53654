"""A ratio of means over pairs, with a percentile bootstrap interval.

    F = (mean part − mean empty) / (mean full − mean empty)

Pairs are drawn with replacement; the three values of a pair stay together. The interval runs from the (1 −
confidence)/2 to the (1 + confidence)/2 quantile of F over the resamples. Source: Efron & Tibshirani 1993, chapter 13.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from graphs.faithfulness import Bound

TOLERANCE = 1e-5
"""m(M) and m(∅) count as equal if they differ by less than this share of the larger one."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed. A seed draws the same pairs for every circuit, so that differences are paired."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"resamples must be at least 1; got {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1; got {self.confidence}.")

    def weights(self, count: int, stream: int = 0) -> Float[np.ndarray, "resample pair"]:
        """How often each of `count` entries is drawn, as a share of all draws; another `stream` draws independently."""
        draw = np.random.default_rng([self.seed, stream])
        return draw.multinomial(count, np.full(count, 1 / count), self.resamples) / count

    def interval(self, values: Float[np.ndarray, " resample"]) -> tuple[Bound, Bound]:
        """Percentiles of a statistic over the resamples; (None, None) if it is undefined in one of them."""
        if np.isnan(values).any():
            return None, None
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail])
        return float(low), float(high)


def is_undefined(full: float, empty: float) -> bool:
    """True where the two means agree up to `TOLERANCE`."""
    return abs(full - empty) <= TOLERANCE * max(abs(full), abs(empty))


@dataclass(frozen=True)
class Scale:
    """m(M) and m(∅) of every pair of a split, where F is 1 and 0.

    Raises:
        ValueError: their means agree, so that F is undefined.
    """

    full: Float[np.ndarray, " pair"]
    empty: Float[np.ndarray, " pair"]

    def __post_init__(self) -> None:
        full, empty = self.full.mean(), self.empty.mean()
        if not np.isfinite([full, empty]).all():
            raise ValueError(f"Faithfulness is undefined: the metric is {full:g} on the model and {empty:g} ablated.")
        if is_undefined(full, empty):
            raise ValueError(
                f"Faithfulness is undefined: ablating everything leaves the metric at {empty:.4g} of {full:.4g}. "
                "Choose another reference, other sites or other prompts."
            )

    def ratio(self, part: Float[np.ndarray, "*draw pair"]) -> float:
        """F of a circuit from its metric in every pair, averaged over draws if there are several."""
        return float((part.mean() - self.empty.mean()) / (self.full.mean() - self.empty.mean()))

    def standard_error(self, part: Float[np.ndarray, " pair"]) -> float:
        """The standard error of F over the pairs: of the mean of m(C) − m(∅) − F · (m(M) − m(∅)), over the span."""
        if len(self.full) < 2:
            return 0.0
        span = self.full - self.empty
        rest = part - self.empty - self.ratio(part) * span
        return float(rest.std(ddof=1) / np.sqrt(len(rest)) / abs(span.mean()))

    def ratio_interval(self, part: Float[np.ndarray, "*draw pair"], bootstrap: Bootstrap) -> tuple[Bound, Bound]:
        """The interval of `ratio`. Draws, if there are several, are resampled too, independently of the pairs."""
        if len(self.full) == 1:
            return None, None
        weights = bootstrap.weights(len(self.full))
        full, empty = weights @ self.full, weights @ self.empty
        if part.ndim == 1:
            resampled = weights @ part
        else:
            resampled = np.einsum("rd,rp,dp->r", bootstrap.weights(len(part), stream=1), weights, part, optimize=True)
        span = full - empty
        defined = np.sign(span) == np.sign(self.full.mean() - self.empty.mean())
        defined &= np.abs(span) > TOLERANCE * np.maximum(np.abs(full), np.abs(empty))
        return bootstrap.interval(np.divide(resampled - empty, span, out=np.full_like(span, np.nan), where=defined))
