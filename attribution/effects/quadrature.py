"""Points and weights on [0, 1] for integrals along a path, and the step that each point stands for.

    ∫₀¹ g(α) dα ≈ Σ_k weights[k] · g(points[k])

Midpoint: error O(q⁻²). Gauss-Legendre: exact for polynomials up to degree 2q − 1. Left sums, with error O(q⁻¹), are not
offered. Step k from edges[k] to edges[k+1] has length weights[k] and contains points[k].
"""

from dataclasses import dataclass

import numpy as np

from graphs.short_repr import short_repr


@dataclass(frozen=True)
class Quadrature:
    """A rule on [0, 1], with its name in `RULES`; `edges` has one more entry than `points` and runs from 0 to 1."""

    __repr__ = short_repr

    points: tuple[float, ...]
    weights: tuple[float, ...]
    rule: str

    @property
    def edges(self) -> tuple[float, ...]:
        inner = np.cumsum(self.weights)[:-1]
        return (0.0, *map(float, inner), 1.0)

    def settings(self) -> dict[str, str | int | float]:
        """Number of points and name of the rule."""
        return {"points": len(self.points), "rule": self.rule}

    def parts(self, most: int | None) -> "tuple[Quadrature, ...]":
        """Consecutive points with their weights, at most `most` together (None: all). Sums over parts are integrals."""
        size = len(self.points) if most is None else max(1, most)
        starts = range(0, len(self.points), size)
        return tuple(Quadrature(self.points[n : n + size], self.weights[n : n + size], self.rule) for n in starts)

    def doubled(self) -> "Quadrature":
        """The same rule with twice the points."""
        return RULES[self.rule](2 * len(self.points))


def midpoint(count: int) -> Quadrature:
    """The midpoint rule with `count` equal steps."""
    _check(count)
    return Quadrature(tuple((k + 0.5) / count for k in range(count)), (1 / count,) * count, "midpoint")


def gauss_legendre(count: int) -> Quadrature:
    """The Gauss-Legendre rule with `count` points."""
    _check(count)
    points, weights = np.polynomial.legendre.leggauss(count)
    return Quadrature(tuple(map(float, (points + 1) / 2)), tuple(map(float, weights / 2)), "gauss_legendre")


def _check(count: int) -> None:
    if count < 1:
        raise ValueError(f"A path needs at least 1 point; got {count}.")


RULES = {"midpoint": midpoint, "gauss_legendre": gauss_legendre}
