"""Keys that nobody reads: what is nearly a known key is that key misspelt, an error; others are said in a warning."""

import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

PAIR_KEYS: Final = tuple(
    f"{key}{form}"
    for keys, forms in (
        (("clean", "patch", "prompt"), ("", "_ids")),
        (("answer", "wrong"), ("", "s", "_id", "_ids")),
        (("roles", "template"), ("",)),
    )
    for key in keys
    for form in forms
)
"""Every key of a pair that is read."""


def refuse_misspelt(where: str, entry: Mapping[str, Any], known: Iterable[str] = PAIR_KEYS) -> None:
    """A ValueError, which begins with `where`, for a key that is nearly a known one that the entry does not have."""
    for key in entry:
        near = [] if key in known else get_close_matches(str(key), known, n=1, cutoff=0.8)
        if near and near[0] not in entry:
            raise ValueError(f"{where}: unknown key {key!r}. Did you mean {near[0]!r}?")


class KeysNotRead:
    """The keys of a file's pairs that are not read. Each is said once, in a warning that names the file."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._said: set[str] = set(PAIR_KEYS)

    def say(self, pairs: Iterable[Any], others: Iterable[str] = ()) -> None:
        """Warn of the keys of these pairs, and of `others`, that were not said before."""
        of_pairs = (str(key) for pair in pairs if isinstance(pair, Mapping) for key in pair)
        new = [key for key in dict.fromkeys((*others, *of_pairs)) if key not in self._said]
        self._said.update(new)
        if new:
            shown = ", ".join(key[:40] for key in new[:10]) + (", ..." if len(new) > 10 else "")
            warnings.warn(
                f"{self._where}: keys not read: {shown}. Of a pair are read: {', '.join(PAIR_KEYS)}.", stacklevel=3
            )
