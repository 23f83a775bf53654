"""Rank nodes over a dataset of any length: pairs are measured as they stream in, and each node keeps its averages.

    mean = Σ effect / N        mean |.| = Σ |effect| / N        N: the number of all examples (`averages.py`)

A node that does not change in an example has effect 0 there. Opposite signs cancel in the mean, but not in the mean of
absolute values. Memory holds one batch, the distinct nodes and 8 bytes for each prompt, however many there are. The
result equals that of `rank_nodes` on all pairs at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from attribution.checking.pair_cautions import PairCount, few_pairs
from attribution.effects.effects import Effects
from attribution.effects.finite_pairs import UnfinitePairs
from attribution.models.language_model import LanguageModel
from attribution.prompts.position_names import SameRoles, position_names
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import KINDS
from circuits.ranking.aggregate import Ranking, node_at, weighted_node
from circuits.ranking.averages import RunningAverages
from circuits.ranking.positions import order_of_names
from graphs import Caution, MetricNode, Node, Position
from graphs.nodes import EVERYWHERE, node_name
from graphs.short_repr import short_repr

ROLES: Final = "the roles that the pairs give their tokens"
FROM_THE_END: Final = "distances from the end of the prompt: -1 is its last token"
TOGETHER: Final = "every position of a prompt: a node's effect is its sum over them"
_INDEX, _NAME, _SITE = 1 << 24, 1 << 20, 1 << 12


@dataclass(frozen=True)
class DatasetRanking:
    """All nodes of a dataset by falling |mean effect|, each with the examples in which its effect is largest.

    Attributes:
        strongest: for `ranking.nodes[n]` the (example, effect) pairs; examples are numbered in the order of the stream.
        total_effect: the mean over examples, in `unit`.
        settings: those of the method.
        positions_mean: what the names of positions stand for, in words.
        left_out: what was wrong with each example that was left out, by its number in the stream.
        undecided: how many effects, counted once per example, rounding decides; they are left out of the means.
        warnings: what is no error, but makes less sense than it looks.
    """

    __repr__ = short_repr

    ranking: Ranking
    strongest: tuple[tuple[tuple[int, float], ...], ...]
    examples: int
    total_effect: float
    metric: str
    unit: str
    sign: str
    error_mode: str
    patch_value: str
    settings: Mapping[str, str | int | float]
    positions_mean: str
    left_out: Mapping[int, str] = field(default_factory=dict)
    undecided: int = 0
    warnings: tuple[Caution, ...] = ()

    def name(self, node: Node) -> str:
        """The node's name as in a circuit: `blocks.3.hook_mlp_out/117@verb`."""
        assert not isinstance(node, MetricNode)
        return node_name(node, self.ranking.positions[node.position].label)


def rank(
    pairs: Iterable[PromptPair],
    model: LanguageModel,
    measure: Callable[[PromptPairs], Effects],
    *,
    at_once: int = 32,
    together: bool = False,
    strongest: int = 5,
    skip_bad: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> DatasetRanking:
    """Measure pairs as they are read, and average every node over all of them.

    Args:
        pairs: an iterable of any length; `at_once` pairs are read at a time.
        model: gives the text of tokens.
        measure: gives the effects of a few pairs by any method, as `lambda few: exact_patching(spliced, few, metric)`.
        at_once: pairs measured together.
        together: add up positions: a node's effect in an example is then its sum over positions.
        strongest: how many examples to remember for each node.
        skip_bad: leave out pairs whose metric is not finite, and list them in `left_out`.
        done: called with the number of pairs measured so far.

    Raises:
        ValueError: no pairs; pairs with roles beside pairs without; a batch that was measured otherwise than the first;
            pairs whose metric is not finite, unless they are left out.
    >>> ranked = rank(pairs, model, lambda few: attribution_patching(spliced, few, logit_difference))
    >>> ranked.examples, ranked.unit, abs(ranked.ranking.nodes[0].effect) >= abs(ranked.ranking.nodes[1].effect)
    (2, 'logits', True)
    """
    if at_once < 1 or strongest < 0:
        raise ValueError(f"at_once must be at least 1 and strongest 0 or more; got {at_once} and {strongest}.")
    stream = _Stream(together, strongest)
    for few in _cut(pairs, at_once):
        stream.measure(few, measure, skip_bad=skip_bad)
        done(stream.read)
    return stream.ranking(model)


def _cut(pairs: Iterable[PromptPair], size: int) -> Iterator[PromptPairs]:
    source = iter(pairs)
    while few := tuple(islice(source, size)):
        yield PromptPairs(few)


class _Stream:
    """What is kept of the pairs that were measured so far."""

    def __init__(self, together: bool, strongest: int) -> None:
        self.together = together
        self.averages = RunningAverages(strongest)
        self.examples = 0
        self.undecided = 0
        self.read = 0
        self.left_out: dict[int, str] = {}
        self.total = 0.0
        self.first: Effects | None = None
        self.roles = SameRoles()
        self.count = PairCount()
        self.numbers: dict[str, int] = {}
        self.first_at: dict[str, tuple[PromptPair, int]] = {}
        self.templates: dict[tuple[str, ...], None] = {}

    def measure(self, pairs: PromptPairs, measured: Callable[[PromptPairs], Effects], *, skip_bad: bool) -> None:
        """Measure and add the next pairs of the stream; those whose metric is not finite are left out, or refused."""
        numbers = np.arange(self.read, self.read + len(pairs))
        self.read += len(pairs)
        while True:
            try:
                return self._add(measured(pairs), pairs, numbers)
            except UnfinitePairs as error:
                rows = {int(numbers[row]): fault for row, fault in error.rows.items()}
                if not skip_bad:
                    raise UnfinitePairs(error.metric, rows) from error
                self.left_out |= rows
                good = [row for row in range(len(pairs)) if row not in error.rows]
                if not good:
                    return None
                pairs, numbers = PromptPairs(tuple(pairs[row] for row in good)), numbers[good]

    def _add(self, effects: Effects, pairs: PromptPairs, numbers: np.ndarray) -> None:
        """Add one batch; `numbers` are those of its pairs in the stream."""
        self._refuse_other(effects)
        columns = self._columns(pairs, numbers)
        position = np.array([columns[e][p] for e, p in zip(effects.example, effects.position, strict=True)], np.int64)
        site, kind, index = (np.asarray(getattr(effects, name), np.int64) for name in ("site", "kind", "index"))
        keys = ((position * _SITE + site) * len(KINDS) + kind) * _INDEX + index + 1
        example = numbers[np.asarray(effects.example, np.int64)]
        values = np.stack([effects.effect, effects.clean, effects.patch])
        decided = ~effects.undecided
        self.undecided += int(effects.undecided.sum())
        keys, example, values = keys[decided], example[decided], values[:, decided]
        if self.together:
            keys, example, values = _summed(keys, example, values)
        self.averages.add(keys, example, values)
        self.examples += len(pairs)
        self.total += float(effects.total_effect.sum())
        for pair in pairs:
            self.count.add(pair)

    def _refuse_other(self, effects: Effects) -> None:
        self.first = self.first or effects
        for name in ("method", "metric", "unit", "error_mode", "patch_value", "sites", "settings"):
            now, before = getattr(effects, name), getattr(self.first, name)
            if now != before:
                raise ValueError(f"A batch has {name} {now!r} where the first had {before!r}: they cannot be averaged.")

    def _columns(self, pairs: PromptPairs, numbers: np.ndarray) -> list[list[int]]:
        """For each pair the number of each position's name; a new name gets the next number."""
        for row, pair in zip(numbers.tolist(), pairs, strict=True):
            self.roles.check(row, pair.roles)
        found = []
        for pair, names in zip(pairs, position_names(pairs), strict=True):
            own = (EVERYWHERE,) * len(names) if self.together else names
            self.templates.setdefault(own[:1] if self.together else own)
            for position, name in enumerate(own):
                self.first_at.setdefault(name, (pair, position))
            found.append([self.numbers.setdefault(name, len(self.numbers)) for name in own])
        if len(self.numbers) > _NAME:
            raise ValueError(f"More than {_NAME} names of positions: merge them (together=True).")
        return found

    def ranking(self, model: LanguageModel) -> DatasetRanking:
        """The ranking of everything added so far."""
        if self.first is None:
            bad = f" {len(self.left_out)} were left out: their metric is not finite." if self.left_out else ""
            raise ValueError(f"No prompt pairs: there is nothing to measure.{bad}")
        if len(self.averages) == 0:
            raise ValueError(
                "No node differs between clean and patch run: there is nothing to rank. Prompts without a "
                "counterfactual need --patch zero or --patch mean."
            )
        order = order_of_names(list(self.templates))
        place = {self.numbers[name]: column for column, name in enumerate(order)}
        tokens = [("", "") if self.together else _texts_at(*self.first_at[name], model) for name in order]
        positions = tuple(Position(name, *own) for name, own in zip(order, tokens, strict=True))
        effects, found = self.first, self.averages.finished(self.examples)
        nodes = [_node(effects, key, place) for key in found.keys.tolist()]
        ends = None if self.together else (found.clean, found.patch)
        verified = found.averages.count * (effects.method == "exact_patching")
        weighted = [weighted_node(node, n, found.averages, ends, int(verified[n])) for n, node in enumerate(nodes)]
        by_size = sorted(range(len(weighted)), key=lambda n: -abs(weighted[n].effect))
        return DatasetRanking(
            ranking=Ranking(effects.method, effects.sites[1:], positions, tuple(weighted[n] for n in by_size)),
            strongest=tuple(found.strongest[n] for n in by_size),
            examples=self.examples,
            total_effect=self.total / self.examples,
            settings=dict(effects.settings),
            positions_mean=TOGETHER if self.together else ROLES if self.roles.given else FROM_THE_END,
            left_out=dict(self.left_out),
            undecided=self.undecided,
            warnings=(*self.count.repeated(), *few_pairs({"": len(self.count)})),
            **{name: getattr(effects, name) for name in ("metric", "unit", "sign", "error_mode", "patch_value")},
        )


def _texts_at(pair: PromptPair, position: int, model: LanguageModel) -> tuple[str, str]:
    """The tokens at a position of a pair, clean and patch, as a person reads them."""
    return model.shown_tokens(pair.clean_ids)[position], model.shown_tokens(pair.patch_ids)[position]


def _summed(keys: np.ndarray, example: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up rows of the same node and example, which differ in position only."""
    both, group = np.unique(np.stack([keys, example]), axis=1, return_inverse=True)
    sums = np.stack([np.bincount(group.reshape(-1), weights=column, minlength=both.shape[1]) for column in values])
    return both[0], both[1], sums


def _node(effects: Effects, key: int, place: dict[int, int]) -> Node:
    rest, index = divmod(key, _INDEX)
    rest, kind = divmod(rest, len(KINDS))
    name, site = divmod(rest, _SITE)
    return node_at(effects.sites[site], KINDS[kind], place[name], index - 1)
