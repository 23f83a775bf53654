"""Signed mean, mean of absolute values and standard error over examples, where some examples have no value.

    mean = Σ over the examples with a value / N        N: the number of all examples
    standard error = sqrt((Σ (value − mean)² + (N − count) · mean²) / (N − 1) / N)

An example without a value counts as 0, so that means add up as the values of single examples do. A group is a node or
an edge. `GroupSums` holds sums to which further examples can be added; `RunningAverages` adds them batch by batch.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Averages:
    """One entry for each group. `standard_error` is that of `mean`, and None for a single example.

    `count` is the number of examples that have a value.
    """

    mean: np.ndarray
    mean_absolute: np.ndarray
    standard_error: np.ndarray | None
    count: np.ndarray

    def error(self, group: int) -> float | None:
        """The standard error of one group's mean."""
        return None if self.standard_error is None else float(self.standard_error[group])


@dataclass(frozen=True)
class GroupSums:
    """Over the examples with a value: their number, Σ value, Σ |value|, and Σ (value − mean of these examples)²."""

    count: np.ndarray
    total: np.ndarray
    absolute: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, values: np.ndarray, groups: int) -> "GroupSums":
        """The sums of `values`, one for each example and group; `group[n]` is the group of `values[n]`.

        Every group must have a value.
        """
        count, total = np.bincount(group, minlength=groups), group_sums(group, values, groups)
        own = total / count
        absolute, square = (group_sums(group, v, groups) for v in (np.abs(values), (values - own[group]) ** 2))
        return cls(count, total, absolute, square)

    def at(self, places: np.ndarray, groups: int) -> "GroupSums":
        """The same groups at other places among `groups` groups; the remaining groups are empty."""
        found = {name: np.zeros(groups, values.dtype) for name, values in vars(self).items()}
        for name, values in vars(self).items():
            found[name][places] = values
        return GroupSums(**found)

    def __add__(self, other: "GroupSums") -> "GroupSums":
        """The sums over the examples of both, group by group."""
        apart = self.total / np.maximum(self.count, 1) - other.total / np.maximum(other.count, 1)
        count = self.count + other.count
        between = apart**2 * self.count * other.count / np.maximum(count, 1)
        square = self.square + other.square + between
        return GroupSums(count, self.total + other.total, self.absolute + other.absolute, square)

    def averages(self, examples: int) -> Averages:
        """The averages over `examples` examples in all."""
        mean, own = self.total / examples, self.total / self.count
        square = self.square + self.count * (own - mean) ** 2 + (examples - self.count) * mean**2
        return Averages(
            mean=mean,
            mean_absolute=self.absolute / examples,
            standard_error=np.sqrt(square / (examples - 1) / examples) if examples > 1 else None,
            count=self.count,
        )


def group_averages(group: np.ndarray, values: np.ndarray, groups: int, examples: int) -> Averages:
    """Average `values` over `examples` examples, in each of `groups` groups; `group[n]` is the group of `values[n]`."""
    return GroupSums.of(group, values, groups).averages(examples)


def group_sums(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """The sum of `values` in each group."""
    return np.bincount(group, weights=values, minlength=groups)


@dataclass(frozen=True)
class StreamedAverages:
    """One entry for each key. `clean` and `patch` are means over the examples that have the key.

    `strongest` lists (example, effect), the largest |effect| first.
    """

    keys: np.ndarray
    averages: Averages
    clean: np.ndarray
    patch: np.ndarray
    strongest: list[tuple[tuple[int, float], ...]]


class RunningAverages:
    """Averages to which `add` adds examples. Holds sums and the `strongest` examples of each key seen so far."""

    def __init__(self, strongest: int) -> None:
        self.keys = np.zeros(0, np.int64)
        self.sums = GroupSums.of(np.zeros(0, np.int64), np.zeros(0), 0)
        self.values = np.zeros((2, 0))
        self.examples = np.full((0, strongest), -1, np.int64)
        self.effects = np.zeros((0, strongest))

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, keys: np.ndarray, example: np.ndarray, values: np.ndarray) -> None:
        """Add rows of new examples. A key occurs at most once in an example.

        Args:
            keys, example: of each row.
            values: the effect, the clean and the patch value of each row, [3, row].
        """
        own, group = np.unique(keys, return_inverse=True)
        effect, *ends = values
        examples, effects = _strongest(group, example, effect, len(own), self.examples.shape[1])
        everything = np.union1d(self.keys, own)
        before, now = np.searchsorted(everything, self.keys), np.searchsorted(everything, own)
        count = len(everything)
        self.sums = self.sums.at(before, count) + GroupSums.of(group, effect, len(own)).at(now, count)
        grown = np.zeros((2, count))
        grown[:, before] += self.values
        grown[:, now] += np.stack([group_sums(group, end, len(own)) for end in ends])
        self.examples, self.effects = self._merged(count, before, now, examples, effects)
        self.keys, self.values = everything, grown

    def _merged(
        self, count: int, before: np.ndarray, now: np.ndarray, examples: np.ndarray, effects: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        most = self.examples.shape[1]
        both = np.full((count, 2 * most), -1, np.int64), np.zeros((count, 2 * most))
        for whole, old, new in zip(both, (self.examples, self.effects), (examples, effects), strict=True):
            whole[before, :most] = old
            whole[now, most:] = new
        size = np.where(both[0] >= 0, np.abs(both[1]), -1.0)
        order = np.argsort(-size, axis=1, kind="stable")[:, :most]
        return np.take_along_axis(both[0], order, 1), np.take_along_axis(both[1], order, 1)

    def finished(self, examples: int) -> StreamedAverages:
        """The averages over `examples` examples in all."""
        clean, patch = self.values / self.sums.count
        strongest = [
            tuple((int(e), float(v)) for e, v in zip(own, values, strict=True) if e >= 0)
            for own, values in zip(self.examples, self.effects, strict=True)
        ]
        return StreamedAverages(self.keys, self.sums.averages(examples), clean, patch, strongest)


def _strongest(
    group: np.ndarray, example: np.ndarray, effect: np.ndarray, groups: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The examples with the largest |effect| of each group, [group, most]; −1 where a group has fewer."""
    order = np.lexsort([example, -np.abs(effect), group])
    start = np.searchsorted(group[order], np.arange(groups))
    rank = np.arange(len(order)) - start[group[order]]
    kept, rank = order[rank < most], rank[rank < most]
    examples, effects = np.full((groups, most), -1, np.int64), np.zeros((groups, most))
    examples[group[kept], rank] = example[kept]
    effects[group[kept], rank] = effect[kept]
    return examples, effects
