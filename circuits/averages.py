"""Signed mean, mean of absolute values and standard error over examples, of values that not every example has.

    mean = Σ over the examples that have it / number of ALL examples        an example without a value counts as 0

So means add up as the values of the examples do.
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


def averages(group: np.ndarray, values: np.ndarray, groups: int, examples: int) -> Averages:
    """Average `values[n]`, one per example and group, over the examples of each of `groups` groups."""
    mean = totals(group, values, groups) / examples
    count = np.bincount(group, minlength=groups)
    squares = totals(group, (values - mean[group]) ** 2, groups) + (examples - count) * mean**2
    return Averages(
        mean=mean,
        mean_absolute=totals(group, np.abs(values), groups) / examples,
        standard_error=np.sqrt(squares / (examples - 1) / examples) if examples > 1 else None,
        count=count,
    )


def totals(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """Σ of the values of each group."""
    return np.bincount(group, weights=values, minlength=groups)
