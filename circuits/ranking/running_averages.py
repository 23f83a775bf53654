"""Sums over examples that grow batch by batch: those of `averages.py`, mean values, and the strongest examples."""

from dataclasses import dataclass

import numpy as np

from circuits.ranking.averages import Averages, Sums, totals


@dataclass(frozen=True)
class Grown:
    """One entry per key. `clean` and `patch` are means over the examples with the key."""

    keys: np.ndarray
    averages: Averages
    clean: np.ndarray
    patch: np.ndarray
    strongest: list[tuple[tuple[int, float], ...]]


class RunningAverages:
    """Grows by `add`; holds one row of sums and `strongest` examples for each key it has seen."""

    def __init__(self, strongest: int) -> None:
        self.keys = np.zeros(0, np.int64)
        self.sums = Sums.of(np.zeros(0, np.int64), np.zeros(0), 0)
        self.values = np.zeros((2, 0))
        self.examples = np.full((0, strongest), -1, np.int64)
        self.effects = np.zeros((0, strongest))

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, keys: np.ndarray, example: np.ndarray, values: np.ndarray) -> None:
        """Rows of some new examples: key, example, and effect, clean and patch value; a key once an example."""
        own, group = np.unique(keys, return_inverse=True)
        effect, *ends = values
        examples, effects = _strongest(group, example, effect, len(own), self.examples.shape[1])
        everything = np.union1d(self.keys, own)
        before, now = np.searchsorted(everything, self.keys), np.searchsorted(everything, own)
        count = len(everything)
        self.sums = self.sums.at(before, count) + Sums.of(group, effect, len(own)).at(now, count)
        grown = np.zeros((2, count))
        grown[:, before] += self.values
        grown[:, now] += np.stack([totals(group, end, len(own)) for end in ends])
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

    def finished(self, examples: int) -> Grown:
        """Averages over so many examples in all."""
        clean, patch = self.values / self.sums.count
        strongest = [
            tuple((int(e), float(v)) for e, v in zip(own, values, strict=True) if e >= 0)
            for own, values in zip(self.examples, self.effects, strict=True)
        ]
        return Grown(self.keys, self.sums.averages(examples), clean, patch, strongest)


def _strongest(
    group: np.ndarray, example: np.ndarray, effect: np.ndarray, groups: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each group the examples of largest |effect|, −1 where it has fewer."""
    order = np.lexsort([example, -np.abs(effect), group])
    start = np.searchsorted(group[order], np.arange(groups))
    rank = np.arange(len(order)) - start[group[order]]
    kept, rank = order[rank < most], rank[rank < most]
    examples, effects = np.full((groups, most), -1, np.int64), np.zeros((groups, most))
    examples[group[kept], rank] = example[kept]
    effects[group[kept], rank] = effect[kept]
    return examples, effects
