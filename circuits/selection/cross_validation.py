"""The size of a circuit, chosen by cross-validation where there are too few pairs to set some aside.

The pairs are cut into folds. For each fold, the search runs on the pairs of all others and orders the nodes. Its sets
of every size are then measured on the pairs of the fold, which did not find them. F of a size is over all pairs, each
with the set of its own fold:

    F(n) = (mean m(C_n) − mean m(∅)) / (mean m(M) − mean m(∅))      C_n: the last n nodes of the fold's search

The size is the smallest with F − one standard error >= target. A search on all pairs then finds the circuit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from jaxtyping import Float

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, progress_between, silent
from circuits.faithfulness.bootstrap import Scale
from circuits.selection.iterated import DROP, Search, iterate
from circuits.selection.node_sets import Directions, NodeSet, NodeSets
from circuits.selection.pair_parts import folds_of

FOLDS: Final = 4
SearchOn = Callable[[PromptPairs], tuple[NodeSets, Directions]]
"""The sets of the nodes on some pairs, and in both directions."""


@dataclass(frozen=True)
class SizeCurve:
    """F over size, of sets on pairs that did not find them.

    Attributes:
        sizes: the sizes measured, the largest first.
        faithfulness, standard_error: at each.
        size: the smallest that reaches the target; None if none does.
        closest: of the sizes allowed, the one whose F is closest to 1.
    """

    sizes: tuple[int, ...]
    faithfulness: tuple[float, ...]
    standard_error: tuple[float, ...]
    size: int | None
    closest: int

    def chosen(self, most: int) -> int:
        """The smallest size that reaches the target; where none that is allowed does, that with F closest to 1."""
        return self.size if self.size is not None and self.size <= most else self.closest

    def at(self, size: int) -> float:
        """F at a measured size."""
        return self.faithfulness[self.sizes.index(size)]


def cross_validated_size(
    search_on: SearchOn,
    pairs: PromptPairs,
    search: Callable[..., Search] = iterate,
    *,
    target: float,
    most: int,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress = silent,
) -> SizeCurve:
    """F over size by cross-validation, and the size that reaches the target.

    Args:
        search_on: makes the sets of nodes on some of the pairs.
        pairs: the training pairs.
        search: what finds the sets: `iterate`, or another with its arguments.
        target: the F to reach, with one standard error to spare.
        most: the largest size allowed.
        folds: number of folds, at most that of the pairs.
        seed: of the draw of folds.
        progress: told the share of work done.

    Raises:
        ValueError: fewer than 2 folds; F is undefined on the pairs.
    """
    cut = folds_of(pairs, folds, seed)
    found: list[_Fold] = []
    for number, judged in enumerate(cut):
        rest = PromptPairs(tuple(pair for n, pair in enumerate(pairs) if n not in judged))
        sets, both = search_on(rest)
        part = progress_between(progress, number / len(cut), (number + 1) / len(cut))
        one = search(sets, both, None, target=target, most=most, refine=False, progress=part)
        judging, _ = search_on(PromptPairs(tuple(pairs[n] for n in judged)))
        found.append(_Fold(one, judging))
    return _Folds(found).smallest(target, most)


@dataclass(frozen=True)
class _Fold:
    search: Search
    judging: NodeSets

    @cached_property
    def last_first(self) -> np.ndarray:
        return np.argsort(-self.search.order, kind="stable")

    @property
    def least(self) -> int:
        """The smallest size of the search."""
        return self.search.rounds[-1].size

    def values(self, size: int) -> Float[np.ndarray, " pair"]:
        """m(C_size) of every pair of the fold."""
        chosen: NodeSet = np.zeros(len(self.last_first), bool)
        chosen[self.last_first[:size]] = True
        return self.judging.values(chosen)


@dataclass(frozen=True)
class _Folds:
    folds: Sequence[_Fold]

    @cached_property
    def scale(self) -> Scale:
        ends = [fold.judging.ends for fold in self.folds]
        return Scale(*(np.concatenate(values) for values in zip(*ends, strict=True)))

    def measured(self, size: int) -> tuple[float, float]:
        """F and its standard error."""
        values = np.concatenate([fold.values(size) for fold in self.folds])
        return self.scale.ratio(values), self.scale.standard_error(values)

    def smallest(self, target: float, most: int) -> SizeCurve:
        whole, least = len(self.folds[0].last_first), max(fold.least for fold in self.folds)
        sizes = [whole]
        while sizes[-1] > least:
            sizes.append(max(least, min(sizes[-1] - 1, int(sizes[-1] * (1 - DROP)))))
        known = {size: self.measured(size) for size in sizes}

        def reaches(size: int) -> bool:
            if size not in known:
                known[size] = self.measured(size)
            return known[size][0] - known[size][1] >= target

        good = [size for size in sizes if reaches(size)]
        smallest = good[-1] if good else None
        if smallest is not None and smallest > least:
            low = sizes[sizes.index(smallest) + 1]
            while smallest - low > 1:
                middle = (low + smallest) // 2
                low, smallest = (low, middle) if reaches(middle) else (middle, smallest)
        allowed = [size for size in known if size <= most] or [min(known)]
        closest = min(allowed, key=lambda size: abs(1 - known[size][0]))
        ordered = sorted(known, reverse=True)
        faithfulness, error = (tuple(known[size][n] for size in ordered) for n in (0, 1))
        return SizeCurve(tuple(ordered), faithfulness, error, smallest, closest)
