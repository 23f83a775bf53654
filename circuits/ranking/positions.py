"""Align positions of different prompts, so that effects can be averaged over examples.

By role where the task names one for every position; else by distance from the end, where the metric is read: so that
other prompts, of whatever length, name their positions alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from graphs import Position


@dataclass(frozen=True)
class Alignment:
    """`columns[example][position]` is a place in `positions`."""

    positions: tuple[Position, ...]
    columns: tuple[tuple[int, ...], ...]

    def columns_of(self, example: np.ndarray, position: np.ndarray) -> np.ndarray:
        """The place in `positions` of each position of an example."""
        starts = np.concatenate([[0], np.cumsum([len(own) for own in self.columns])[:-1]])
        return np.concatenate([np.array(own) for own in self.columns])[starts[example] + position]


def align(pairs: PromptPairs, model: LanguageModel) -> Alignment:
    """One column for each role or distance from the end, in the order of the text."""
    names = position_names(pairs)
    order = order_of_names(names)
    place = {name: column for column, name in enumerate(order)}
    tokens: dict[str, tuple[int, int]] = {}
    for pair, own in zip(pairs, names, strict=True):
        for name, clean, patch in zip(own, pair.clean_ids, pair.patch_ids, strict=True):
            tokens.setdefault(name, (clean, patch))
    return Alignment(
        tuple(Position(name, *(model.token_text(t) for t in tokens[name])) for name in order),
        tuple(tuple(place[name] for name in own) for own in names),
    )


def order_of_names(names: Sequence[tuple[str, ...]]) -> list[str]:
    """All names in an order that agrees with every prompt, where there is one; else by mean distance from the end."""
    distances: dict[str, list[int]] = {}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for own in names:
        nx.add_path(graph, own)
        for position, name in enumerate(own):
            distances.setdefault(name, []).append(position - len(own))
    mean = {name: sum(d) / len(d) for name, d in distances.items()}
    if nx.is_directed_acyclic_graph(graph):
        return list(nx.lexicographical_topological_sort(graph, key=mean.__getitem__))
    return sorted(mean, key=lambda name: (mean[name], name))
