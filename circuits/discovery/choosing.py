"""Which nodes of a ranking make the circuit: a search for a small faithful set, or the first nodes of a ranking."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress
from circuits.discovery.selection import Selection
from circuits.ranking.aggregate import Ranking
from circuits.ranking.question import Question
from circuits.selection.iterated import Search, iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions, has_new_words
from graphs import ErrorNode, FeatureNode, TokenNode
from graphs.certificate import SizeChoice
from graphs.nodes import node_name

ITERATED: Final = "iterated mask path"
LEAST_TOKEN: Final = 0.01
"""A token joins the circuit if its effect is at least this share of the total effect."""


@dataclass(frozen=True)
class Chosen:
    """The nodes of a circuit.

    Attributes:
        nodes: out of all nodes, strongest effect first.
        order: all features and errors in the order in which smaller circuits would lose them, the last to go first.
        ranked_by: what made the order.
        size: how the number of nodes was chosen, if a search did.
        opponents: nodes left out that oppose the task.
    """

    nodes: Ranking
    order: Ranking
    ranked_by: str
    size: SizeChoice | None = None
    opponents: tuple[FeatureNode | ErrorNode, ...] = ()

    def size_with(self, ranking: Ranking) -> SizeChoice | None:
        """`size`, with the effects of the opponents left out as `ranking` has them."""
        if self.size is None:
            return None
        effect = {w.node: w.effect for w in ranking.nodes}
        names = {node_name(n, ranking.positions[n.position].label): effect[n] for n in self.opponents}
        return replace(self.size, opponents=names)


def search_nodes(
    question: Question, ranking: Ranking, select: Selection, validation: PromptPairs | None, progress: Progress
) -> Chosen:
    """The set that the iterated mask path finds, with the tokens that matter."""
    weighted = [w for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    nodes = [w.node for w in weighted if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(pairs: PromptPairs) -> NodeSets:
        size = question.room.masked_pairs
        given = question.spliced, pairs, question.metric, question.reference
        return NodeSets(*given, nodes, ranking.positions, size)

    training = sets(question.pairs)
    deciding = training if validation is None else sets(validation)
    found = iterate(
        training,
        Directions([sets(pairs) for pairs in both_directions(question.pairs)]),
        None if validation is None else deciding,
        target=select.faithful,
        most=select.most,
        nodes=select.nodes,
        progress=progress,
    )
    order = np.argsort(-np.where(found.chosen, np.iinfo(np.int64).max, found.order), kind="stable")
    ordered = replace(ranking, method=ITERATED, nodes=tuple(weighted[int(n)] for n in order))
    chosen = {node for node, inside in zip(nodes, found.chosen, strict=True) if inside}
    chosen |= _tokens(ranking, abs(training.span))
    size = None if select.faithful is None else _size(found, deciding, question.pairs, validation, select)
    opponents = tuple(nodes[n] for n in found.opponents())
    return Chosen(ranking.only(chosen), ordered, ITERATED, size, opponents)


def _tokens(ranking: Ranking, total: float) -> set[TokenNode]:
    tokens = [w for w in ranking.nodes if isinstance(w.node, TokenNode) and abs(w.effect) >= LEAST_TOKEN * total]
    return {w.node for w in tokens if isinstance(w.node, TokenNode)}


def _size(
    found: Search,
    deciding: NodeSets,
    training: PromptPairs,
    validation: PromptPairs | None,
    select: Selection,
) -> SizeChoice:
    assert select.faithful is not None
    everything = np.ones(len(deciding.nodes), bool)
    on_deciding = [(r.size, r.training if r.validation is None else r.validation) for r in found.rounds]
    enough = [size for size, f in on_deciding if f >= select.faithful]
    return SizeChoice(
        by=ITERATED,
        split="own" if validation is None else "validation",
        pairs=len(deciding.pairs),
        target=select.faithful,
        faithfulness=deciding.faithfulness(found.chosen),
        nodes=int(found.chosen.sum()),
        most=select.most,
        reached=found.reached,
        largest=len(deciding.nodes),
        largest_faithfulness=deciding.faithfulness(everything),
        needed=min(enough, default=None),
        new_words=validation is not None and has_new_words(training, validation),
        opponents={},
    )
