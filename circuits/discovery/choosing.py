"""Which nodes of a ranking make the circuit: a search for a small faithful set, or the first nodes of a ranking."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from attribution.effects.effects import Effects
from attribution.prompts.position_names import PositionScheme
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, progress_between
from circuits.discovery.selection import Selection
from circuits.discovery.stability import ResampledNodes, Resamples, first_of_rankings, with_tokens
from circuits.ranking.aggregate import Ranking, effects_by_pair
from circuits.ranking.question import Question
from circuits.selection.cross_validation import FOLDS, SearchOn, SizeCurve, cross_validated_size
from circuits.selection.iterated import Search
from circuits.selection.node_sets import Directions, NodeSet, NodeSets
from circuits.selection.pair_parts import (
    FEWEST,
    both_directions,
    different_pairs,
    folds_of,
    has_new_words,
    rows_of_directions,
)
from circuits.selection.watch import Watch
from graphs import ErrorNode, FeatureNode, Node, TokenNode
from graphs.certificate import SizeChoice
from graphs.nodes import node_name
from graphs.words.part_words import OWN, VALIDATION

LEAST_TOKEN: Final = 0.01
"""A token joins the circuit if its effect is at least this share of the total effect."""


@dataclass(frozen=True)
class Deciding:
    """What chooses the size of a circuit: validation pairs, cross-validation with `folds` folds, or neither."""

    validation: PromptPairs | None = None
    folds: int = 0

    @classmethod
    def of(cls, pairs: PromptPairs, validation: PromptPairs | None, folds: int | None) -> "Deciding":
        """By default: the validation pairs; without any, 4 folds of at least 4 pairs and fewer than 32.

        Raises:
            ValueError: folds beside validation pairs, one fold, or more folds than pairs.
        """
        if folds is None:
            few = validation is None and different_pairs(pairs) >= FOLDS and len(pairs) < FEWEST
            return cls(validation, FOLDS if few else 0)
        if folds and validation is not None:
            raise ValueError("Validation pairs choose the size, or cross-validation does: give one of them.")
        if folds:
            folds_of(pairs, folds)
        return cls(validation, folds)


@dataclass(frozen=True)
class Chosen:
    """The nodes of a circuit.

    Attributes:
        nodes: out of all nodes, strongest effect first.
        order: all features and errors in the order in which smaller circuits would lose them, the last to go first.
        ranked_by: what made the order.
        size: how the number of nodes was chosen, if a search did.
        opponents: nodes left out that oppose the task.
        resampled: which features and errors each resample's circuit has; None without resamples.
    """

    nodes: Ranking
    order: Ranking
    ranked_by: str
    size: SizeChoice | None = None
    opponents: tuple[FeatureNode | ErrorNode, ...] = ()
    resampled: ResampledNodes | None = None

    def size_with(self, ranking: Ranking) -> SizeChoice | None:
        """`size`, with the effects of the opponents left out as `ranking` has them."""
        if self.size is None:
            return None
        effect = {w.node: w.effect for w in ranking.nodes}
        names = {node_name(n, ranking.positions[n.position].label): effect[n] for n in self.opponents}
        return replace(self.size, opponents=names)


@dataclass(frozen=True)
class Ranked:
    """Effects of nodes and their ranking, by a scheme of positions."""

    ranking: Ranking
    effects: Effects
    scheme: PositionScheme

    def by_pair(self, question: Question, nodes: Sequence[Node]) -> Float[np.ndarray, "pair node"]:
        """The effect of each of these nodes in every pair."""
        return effects_by_pair(self.effects, question.pairs, question.spliced.model, nodes, self.scheme)


def first_nodes(
    question: Question, ranked: Ranked, select: Selection, resamples: Resamples | None, ranked_by: str
) -> Chosen:
    """The first nodes of a ranking, and those of the ranking on every resample."""
    chosen = select.of(ranked.ranking, question)
    resampled = None
    if resamples is not None:
        nodes = [w.node for w in ranked.ranking.nodes]
        resampled = first_of_rankings(resamples, nodes, ranked.by_pair(question, nodes), len(chosen.nodes))
    return Chosen(chosen, ranked.ranking, ranked_by, resampled=resampled)


def search_nodes(
    question: Question,
    ranked: Ranked,
    select: Selection,
    deciding: Deciding,
    resamples: Resamples | None,
    progress: Progress,
    watch: Watch,
) -> Chosen:
    """The set that the search finds, with the tokens that matter."""
    ranking = ranked.ranking
    weighted = [w for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    nodes = [w.node for w in weighted if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(pairs: PromptPairs) -> NodeSets:
        size = question.room.masked_pairs
        given = question.fitted, pairs, question.metric, question.reference
        return NodeSets(*given, nodes, ranking.positions, size)

    def search_on(pairs: PromptPairs) -> tuple[NodeSets, Directions]:
        directions = [sets(own) for own in both_directions(pairs)]
        return sets(pairs), Directions(directions, rows_of_directions(len(pairs)))

    training, both = search_on(question.pairs)
    curve = _cross_validated(search_on, question.pairs, select, deciding, progress_between(progress, 0.0, 0.7))
    found = select.search(None if resamples is None else resamples.stacked, watch)(
        training,
        both,
        None if deciding.validation is None else sets(deciding.validation),
        target=select.faithful if curve is None else None,
        most=select.most,
        nodes=select.nodes if curve is None else curve.chosen(select.most),
        progress=progress if curve is None else progress_between(progress, 0.7, 1.0),
    )
    kept = _stable(found, resamples, nodes, select.stable)
    order = np.argsort(-np.where(kept, np.iinfo(np.int64).max, found.order), kind="stable")
    ordered = replace(ranking, method=select.search_name, nodes=tuple(weighted[int(n)] for n in order))
    chosen = {node for node, inside in zip(nodes, kept, strict=True) if inside}
    least = LEAST_TOKEN * abs(training.span)
    tokens = [w.node for w in ranking.nodes if isinstance(w.node, TokenNode) and abs(w.effect) >= least]
    chosen = chosen.union(tokens)
    size = None
    if select.faithful is not None:
        on = training if deciding.validation is None else sets(deciding.validation)
        size = _size(found, kept, on, question.pairs, deciding, select, curve)
    opponents = tuple(nodes[n] for n in found.opponents())
    resampled = None
    if resamples is not None and found.resampled is not None:
        searched = ResampledNodes(resamples, nodes, found.resampled.sets(int(found.chosen.sum())))
        resampled = with_tokens(searched, tokens, ranked.by_pair(question, tokens), least)
    return Chosen(ranking.only(chosen), ordered, select.search_name, size, opponents, resampled)


def _cross_validated(
    search_on: SearchOn, pairs: PromptPairs, select: Selection, deciding: Deciding, progress: Progress
) -> SizeCurve | None:
    """The sizes by cross-validation; None where something else chooses the size."""
    if select.faithful is None or deciding.folds == 0:
        return None
    about: dict[str, Any] = {"target": select.faithful, "most": select.most, "folds": deciding.folds}
    return cross_validated_size(search_on, pairs, select.search(), **about, progress=progress)


def _stable(found: Search, resamples: Resamples | None, nodes: Sequence[Node], least: float | None) -> NodeSet:
    """The nodes of the search's set that at least this share of the resamples have."""
    if least is None:
        return found.chosen
    if resamples is None or found.resampled is None:
        raise ValueError("Keeping stable nodes needs resamples of two pairs or more. Give more pairs, or resamples.")
    rates = ResampledNodes(resamples, nodes, found.resampled.sets(int(found.chosen.sum()))).rates()
    kept = found.chosen & (rates >= least)
    if not kept.any():
        raise ValueError(
            f"No node is in {least:.0%} of the resamples: the most stable one is in {rates[found.chosen].max():.0%}. "
            "Ask for less, or give more pairs."
        )
    return kept


def _size(
    found: Search,
    kept: NodeSet,
    on: NodeSets,
    training: PromptPairs,
    deciding: Deciding,
    select: Selection,
    curve: SizeCurve | None,
) -> SizeChoice:
    """How the size was chosen; `on` are the pairs that chose it."""
    assert select.faithful is not None
    everything = np.ones(len(on.nodes), bool)
    about: dict[str, Any] = {
        "by": select.search_name,
        "split": OWN if deciding.validation is None else VALIDATION,
        "pairs": len(on.pairs),
        "target": select.faithful,
        "nodes": int(kept.sum()),
        "most": select.most,
        "largest": len(on.nodes),
        "new_words": deciding.validation is not None and has_new_words(training, deciding.validation),
        "opponents": {},
    }
    if curve is not None:
        size = int(found.chosen.sum())
        return SizeChoice(
            **about,
            folds=deciding.folds,
            faithfulness=curve.at(size),
            reached=curve.size == size,
            largest_faithfulness=curve.at(len(on.nodes)),
            needed=curve.size,
        )
    on_deciding = [(r.size, r.training if r.validation is None else r.validation) for r in found.rounds]
    enough = [size for size, f in on_deciding if f >= select.faithful]
    return SizeChoice(
        **about,
        faithfulness=on.faithfulness(kept),
        reached=found.reached,
        largest_faithfulness=on.faithfulness(everything),
        needed=min(enough, default=None),
    )
