"""A node of an example as one integer, so that sets of nodes are sorted arrays.

    key = (((example · 2⁹ + site) · 2¹⁴ + position) · 2² + kind) · 2²² + index + 1

`site` is the place in (TOKENS, *spliced sites), `kind` the place in `KINDS`, and `index` the feature's (−1 for errors
and tokens). Keys increase in the order in which `Effects` lists nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

KINDS: Final = ("feature", "error", "token")

NodeColumns = dict[str, np.ndarray]
"""Columns of equal length, one entry for each node of an example."""

_KEY_SIZES: Final = {"example": 1 << 16, "site": 1 << 9, "position": 1 << 14, "kind": 1 << 2, "index": 1 << 22}
_KEYS_OF_AN_EXAMPLE: Final = prod(_KEY_SIZES.values()) // _KEY_SIZES["example"]


@dataclass(frozen=True)
class NodeOfExample:
    """What a key stands for; `index` is −1 for errors and tokens."""

    example: int
    site: str
    position: int
    kind: str
    index: int

    def __str__(self) -> str:
        name = self.index if self.kind == "feature" else self.kind
        return f"{self.site}/{name} at position {self.position} of example {self.example}"


def columns_of_keys(keys: np.ndarray) -> NodeColumns:
    """Example, site, position, kind and index of each key; the inverse of `node_keys`."""
    found: NodeColumns = {}
    for name, size in reversed(_KEY_SIZES.items()):
        keys, found[name] = np.divmod(keys, size)
    return found | {"index": found["index"] - 1}


def node_of_key(key: int, sites: Sequence[str]) -> NodeOfExample:
    """The node of a key, for effects over `sites`."""
    found = {name: int(values[0]) for name, values in columns_of_keys(np.array([key])).items()}
    return NodeOfExample(
        found["example"], sites[found["site"]], found["position"], KINDS[found["kind"]], found["index"]
    )


def node_keys(
    example: np.ndarray, position: np.ndarray, index: np.ndarray, *, site: np.ndarray | int, kind: np.ndarray | str
) -> np.ndarray:
    """One integer per node of an example: up to 65,536 examples, 512 sites, 16,384 positions, 4,194,303 features."""
    number = KINDS.index(kind) if isinstance(kind, str) else kind
    key = np.zeros(len(example), np.int64)
    columns = {"example": example, "site": site, "position": position, "kind": number, "index": np.asarray(index) + 1}
    for (name, size), values in zip(_KEY_SIZES.items(), columns.values(), strict=True):
        if np.max(values, initial=0) >= size:
            raise ValueError(f"Too many nodes to tell apart: the largest {name} is {np.max(values)}, the limit {size}.")
        key = key * size + np.asarray(values, np.int64)
    return key


def keys_of_examples(keys: np.ndarray, examples: range) -> np.ndarray:
    """The keys that belong to some consecutive examples, renumbered so that the first of these is example 0."""
    first, end = shifted_keys(np.zeros(2, np.int64), np.array([examples.start, examples.stop]))
    return keys[(keys >= first) & (keys < end)] - first


def shifted_keys(keys: np.ndarray, by: int | np.ndarray) -> np.ndarray:
    """The keys of the same nodes with every example number raised by `by`."""
    return keys + by * _KEYS_OF_AN_EXAMPLE
