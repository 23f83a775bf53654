"""Parts of the pairs: one finds the circuit, another chooses its size, a third judges it. No pair is in two of them.

A pair and the same pair with clean and patch exchanged count as one. Parts may also differ in their words: a circuit
that knows the words of its training pairs then meets new ones where it is chosen and judged.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from graphs.short_repr import short_repr

FEWEST: Final = 32
"""Of fewer pairs, none are set aside for validation; cross-validation chooses the size (`cross_validation.py`)."""


@dataclass(frozen=True)
class PairParts:
    """Pairs to find a circuit on, to choose its size on, and to judge it on; None where there is no such part."""

    __repr__ = short_repr

    train: PromptPairs
    validation: PromptPairs | None
    test: PromptPairs | None


def split_pairs(
    pairs: PromptPairs,
    *,
    validation: float = 0.25,
    test: float = 0.0,
    by_words: bool = False,
    seed: int = 0,
    fewest: int = FEWEST,
) -> PairParts:
    """Cut the pairs into parts of about these shares; those of each part keep their order.

    Args:
        pairs: to cut.
        validation, test: shares of the pairs that choose a circuit's size, and that judge it.
        by_words: keep pairs together that differ from their patch prompts in the same tokens, so that each part has
            words of its own.
        seed: of the draw.
        fewest: of fewer pairs, none are set aside for validation.

    Raises:
        ValueError: shares that leave nothing to find a circuit on.

    Examples:
        >>> parts = split_pairs(prompt_pairs("agreement", model, examples=40), validation=0.25, test=0.25)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (20, 10, 10)
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(
            f"Shares of 0 or more that leave pairs to find the circuit on; got validation {validation}, test {test}."
        )
    if len(pairs) < fewest:
        validation = 0.0
    groups = [_changed_tokens(pair) if by_words else pair.unordered for pair in pairs]
    different = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(different))
    wanted = {"test": round(test * len(pairs)), "validation": round(validation * len(pairs))}
    part_of: dict[object, str] = {}
    for n in order:
        size = groups.count(different[n])
        name = next((name for name, left in wanted.items() if left >= size), "train")
        if name != "train":
            wanted[name] -= size
        part_of[different[n]] = name
    parts = {
        name: tuple(pair for pair, group in zip(pairs, groups, strict=True) if part_of[group] == name)
        for name in ("train", "validation", "test")
    }
    if not parts["train"]:
        raise ValueError("No pairs are left to find the circuit on. Give more pairs, or smaller shares.")
    found = {name: PromptPairs(own) if own else None for name, own in parts.items()}
    assert found["train"] is not None
    return PairParts(found["train"], found["validation"], found["test"])


def folds_of(pairs: PromptPairs, folds: int, seed: int = 0) -> list[list[int]]:
    """The pairs cut into folds of about equal size, by number. A pair and the same pair turned share a fold.

    Raises:
        ValueError: fewer than 2 folds, or fewer different pairs than folds.
    """
    groups = [pair.unordered for pair in pairs]
    different = list(dict.fromkeys(groups))
    if not 2 <= folds <= len(different):
        raise ValueError(f"Cross-validation needs 2 to {len(different)} folds for these pairs; got {folds}.")
    order = np.random.default_rng(seed).permutation(len(different))
    fold_of = {different[n]: place % folds for place, n in enumerate(order)}
    return [[n for n, group in enumerate(groups) if fold_of[group] == fold] for fold in range(folds)]


def different_pairs(pairs: PromptPairs) -> int:
    """The number of different pairs; one and the same turned count once."""
    return len({pair.unordered for pair in pairs})


def has_new_words(train: PromptPairs, other: PromptPairs) -> bool:
    """Whether no pair of `other` differs from its patch prompt in the same tokens as a pair of `train`."""
    known = {_changed_tokens(pair) for pair in train}
    return not any(_changed_tokens(pair) in known for pair in other)


def both_directions(pairs: PromptPairs, most: int = 64) -> tuple[PromptPairs, ...]:
    """Pairs as they are, and pairs turned: with clean and patch, answer and foil exchanged.

    Of at most `most` / 2 pairs, each is in both. Of more, every second one is turned and none is in both; of more than
    `most`, as many are taken, spread evenly.
    """
    as_they_are, turned = rows_of_directions(len(pairs), most)
    return PromptPairs(tuple(pairs[n] for n in as_they_are)), PromptPairs(tuple(pairs[n].turned() for n in turned))


def rows_of_directions(count: int, most: int = 64) -> tuple[list[int], list[int]]:
    """Which of `count` pairs `both_directions` leaves as they are, and which it turns."""
    if 2 * count <= most:
        return list(range(count)), list(range(count))
    taken: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round()).astype(int).tolist()
    return taken[::2], taken[1::2]


def _changed_tokens(pair: PromptPair) -> object:
    both = zip(pair.clean_ids, pair.patch_ids, strict=True)
    clean, patch = (
        zip(*((c, p) for c, p in both if c != p), strict=True) if pair.clean_ids != pair.patch_ids else ((), ())
    )
    return frozenset([clean, patch])
