"""Sums over examples that grow batch by batch: mean, mean absolute value, standard error, count, strongest examples."""

from dataclasses import dataclass

import numpy as np

_SUMS = ("count", "effect", "absolute", "square", "clean", "patch")


@dataclass(frozen=True)
class Averages:
    """One entry per key; see `circuits/dataset.py`. `clean` and `patch` are means over the examples with the key."""

    keys: np.ndarray
    mean: np.ndarray
    mean_absolute: np.ndarray
    standard_error: np.ndarray | None
    count: np.ndarray
    clean: np.ndarray
    patch: np.ndarray
    strongest: list[tuple[tuple[int, float], ...]]


class RunningAverages:
    """Grows by `add`; holds one row of sums and `strongest` examples for each key it has seen."""

    def __init__(self, strongest: int) -> None:
        self.keys = np.zeros(0, np.int64)
        self.sums = np.zeros((len(_SUMS), 0))
        self.examples = np.full((0, strongest), -1, np.int64)
        self.effects = np.zeros((0, strongest))

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, keys: np.ndarray, example: np.ndarray, values: np.ndarray) -> None:
        """Rows of some new examples: key, example, and effect, clean and patch value; a key once an example."""
        own, group = np.unique(keys, return_inverse=True)
        effect, clean, patch = values
        rows = (np.ones(len(keys)), effect, np.abs(effect), effect**2, clean, patch)
        sums = np.stack([np.bincount(group, weights=row, minlength=len(own)) for row in rows])
        examples, effects = _strongest(group, example, effect, len(own), self.examples.shape[1])
        everything = np.union1d(self.keys, own)
        before, now = np.searchsorted(everything, self.keys), np.searchsorted(everything, own)
        grown = np.zeros((len(_SUMS), len(everything)))
        grown[:, before] += self.sums
        grown[:, now] += sums
        self.examples, self.effects = self._merged(len(everything), before, now, examples, effects)
        self.keys, self.sums = everything, grown

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

    def finished(self, examples: int) -> Averages:
        """Averages over so many examples in all."""
        count, effect, absolute, square, clean, patch = self.sums
        mean = effect / examples
        spread = np.maximum(square - examples * mean**2, 0.0)
        strongest = [
            tuple((int(e), float(v)) for e, v in zip(own, values, strict=True) if e >= 0)
            for own, values in zip(self.examples, self.effects, strict=True)
        ]
        return Averages(
            keys=self.keys,
            mean=mean,
            mean_absolute=absolute / examples,
            standard_error=np.sqrt(spread / (examples - 1) / examples) if examples > 1 else None,
            count=count.astype(np.int64),
            clean=clean / count,
            patch=patch / count,
            strongest=strongest,
        )


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
