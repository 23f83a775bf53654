"""Cautions about prompt pairs: pairs that judge what they found, pairs that count several times, and few pairs.

They say how many, and which pairs are meant is said by the name of a part: `own` found the circuit, `validation` chose
its size, all others judge it.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from graphs.cautions import Caution
from graphs.words.number_formats import counted_noun
from graphs.words.part_words import OWN, TEST, VALIDATION, part_in_words

FEW: Final = 10
"""With fewer pairs, a bootstrap interval of 95% holds the true mean less than nine times in ten, because so few do not
show their spread. Simulated with normal values: 48% of the intervals with 2 pairs, 84% with 5, 90% with 10, 94% with
32."""
_DID: Final = {OWN: "found the circuit", VALIDATION: "chose the circuit's size"}


def part_cautions(parts: Mapping[str, PromptPairs]) -> tuple[Caution, ...]:
    """All cautions about the parts: shared pairs first, then repeated pairs, then few pairs."""
    repeated = (caution for name, pairs in parts.items() for caution in PairCount.of(pairs).repeated(name))
    return (*shared_pairs(parts), *repeated, *few_pairs({name: len(pairs) for name, pairs in parts.items()}))


def cautions_of_test(pairs: PromptPairs, found_on: PromptPairs | None) -> tuple[Caution, ...]:
    """All cautions about pairs on which nodes are changed; with `found_on`, they should not have found the circuit."""
    shared = () if found_on is None else shared_pairs({OWN: found_on, TEST: pairs})
    return (*shared, *PairCount.of(pairs).repeated())


def shared_pairs(parts: Mapping[str, PromptPairs]) -> tuple[Caution, ...]:
    """A caution for each part that has pairs of the part that found the circuit, or that chose its size.

    A pair counts as the same with clean and patch prompt exchanged.
    """
    found: list[Caution] = []
    for name, pairs in parts.items():
        for earlier in (OWN, VALIDATION):
            if earlier not in parts or name in (OWN, earlier):
                continue
            known = {pair.unordered for pair in parts[earlier]}
            shared = sum(pair.unordered in known for pair in pairs)
            if shared:
                found.append(_shared(name, earlier, shared, len(pairs)))
    return tuple(found)


def _shared(name: str, earlier: str, shared: int, pairs: int) -> Caution:
    about = f"{part_in_words(name)} and {earlier}" if earlier == VALIDATION else part_in_words(name)
    figures = {"shared": shared, "pairs": pairs}
    if shared == pairs:
        which = f"All {_counted(pairs, name)}" if pairs > 1 else f"The only {part_in_words(name)} pair"
        shows = "which size suits new prompts" if name == VALIDATION else "how faithful the circuit is on new prompts"
        sentence = f"{which} also {_DID[earlier]}: what is measured on them does not show {shows}. Give other pairs."
    else:
        which = f"{shared:,} of the {_counted(pairs, name)}"
        sentence = f"{which} also {_DID[earlier]}, which flatters what is measured on all of them. Leave those out."
    return Caution("shared_pairs", about, figures, sentence)


def few_pairs(counts: Mapping[str, int]) -> tuple[Caution, ...]:
    """A caution if a part, by name, has fewer than `FEW` pairs.

    A single pair that finds a circuit is none of them: it has no standard error and no interval.
    """
    few = {name: count for name, count in counts.items() if count < FEW and (count > 1 or name not in ("", OWN))}
    if not few:
        return ()
    sentence = (
        f"There are only {', '.join(_counted(count, name) for name, count in few.items())}. Standard errors and "
        f"intervals over fewer than {FEW} look more certain than they are. Give more pairs."
    )
    return (Caution("few_pairs", "", {"pairs": min(few.values())}, sentence),)


class PairCount:
    """Counts pairs as they are read, 8 bytes for each, and how many of them are the same."""

    def __init__(self) -> None:
        self._keys = array("q")

    @classmethod
    def of(cls, pairs: Iterable[PromptPair]) -> "PairCount":
        """The count of all pairs."""
        count = cls()
        for pair in pairs:
            count.add(pair)
        return count

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, pair: PromptPair) -> None:
        """Count a pair. Pairs are the same if the same is measured on them, whatever their roles are called."""
        self._keys.append(hash(replace(pair, roles=None, template=None, predicted=False)))

    def repeated(self, name: str = "") -> tuple[Caution, ...]:
        """A caution if a pair occurs twice or more often; `name` is that of the part, "" where there is but one."""
        times = np.unique(np.array(self._keys), return_counts=True)[1]
        pairs, different = len(self._keys), len(times)
        if different == pairs:
            return ()
        sentence = (
            f"Only {different:,} of the {_counted(pairs, name)} are different; one occurs {times.max():,} times. Each "
            "counts as often as it occurs: means lean to the repeated ones, and standard errors and intervals look "
            "more certain than they are. Give each pair once."
        )
        return (Caution("repeated_pairs", part_in_words(name), {"different": different, "pairs": pairs}, sentence),)


def _counted(count: int, name: str) -> str:
    return counted_noun(count, f"{part_in_words(name)} pair".strip())
