"""Signed mean, mean of absolute values and standard error over examples, of values that not every example has.

    mean = Σ over the examples that have it / N        N: all examples; one without a value counts as 0
    standard error = sqrt((Σ (value − mean)² + (N − count) · mean²) / (N − 1) / N)

So means add up as the values of the examples do. The sums are kept so that they can grow by more examples.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Averages:
    """One entry per group. `standard_error` is that of `mean`, None with one example; `count` are the examples."""

    mean: np.ndarray
    mean_absolute: np.ndarray
    standard_error: np.ndarray | None
    count: np.ndarray

    def error(self, group: int) -> float | None:
        """The standard error of one group's mean."""
        return None if self.standard_error is None else float(self.standard_error[group])


@dataclass(frozen=True)
class Sums:
    """Over the examples that have a value: their number, Σ, Σ|.|, and Σ of squares about their own mean."""

    count: np.ndarray
    total: np.ndarray
    absolute: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, values: np.ndarray, groups: int) -> "Sums":
        """Of `values[n]`, one per example and group; each of the groups has some."""
        count, total = np.bincount(group, minlength=groups), totals(group, values, groups)
        own = total / count
        return cls(
            count, total, totals(group, np.abs(values), groups), totals(group, (values - own[group]) ** 2, groups)
        )

    def at(self, places: np.ndarray, groups: int) -> "Sums":
        """The same groups at other places among more; the others are empty."""
        found = {name: np.zeros(groups, values.dtype) for name, values in vars(self).items()}
        for name, values in vars(self).items():
            found[name][places] = values
        return Sums(**found)

    def __add__(self, other: "Sums") -> "Sums":
        """Of the examples of both, group by group."""
        apart = self.total / np.maximum(self.count, 1) - other.total / np.maximum(other.count, 1)
        count = self.count + other.count
        between = apart**2 * self.count * other.count / np.maximum(count, 1)
        square = self.square + other.square + between
        return Sums(count, self.total + other.total, self.absolute + other.absolute, square)

    def averages(self, examples: int) -> Averages:
        """Over so many examples in all."""
        mean, own = self.total / examples, self.total / self.count
        square = self.square + self.count * (own - mean) ** 2 + (examples - self.count) * mean**2
        return Averages(
            mean=mean,
            mean_absolute=self.absolute / examples,
            standard_error=np.sqrt(square / (examples - 1) / examples) if examples > 1 else None,
            count=self.count,
        )


def averages(group: np.ndarray, values: np.ndarray, groups: int, examples: int) -> Averages:
    """Average `values[n]`, one per example and group, over the examples of each of `groups` groups."""
    return Sums.of(group, values, groups).averages(examples)


def totals(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """Σ of the values of each group."""
    return np.bincount(group, weights=values, minlength=groups)
