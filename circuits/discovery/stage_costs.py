"""What each stage of `discover` costs, in operations and FLOPs (`attribution/runs/pace.py`), before the work begins.

    F        a forward of every clean prompt through the model with its SAEs; a backward costs as much
    search   R rounds, R = log(nodes / ENDS_AT) / −log(1 − drop), each of the pairs in both directions × (q points
             forward and backward, and both ends of the path), and F on the training and the validation pairs
    edges    a sweep of chord IG, and for every node of every pair q backwards from its site to those right before it
    others   a number of F over the pairs, the splits and the texts

What runs side by side in a batch launches its operations once. Estimates are priced by
`attribution/cones/sweep_cost.py`, patched nodes by `attribution/cones/forecast.py`, and `paces.py` measures how fast
work is done here. How many rounds the search takes, how large the circuit is and how many of its nodes have a wrong
estimate are not known before; edges and own paths are foretold once more when they are.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from attribution.checking.text_batch import scored_at_once
from attribution.cones.sweep_cost import PRICED_METHODS, encoders_work, forward_work, sweep_work
from attribution.prompts.position_names import PositionScheme
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.pace import Work
from attribution.splice.patch_values import counterfactual
from circuits.discovery.choosing import Deciding
from circuits.discovery.selection import Selection
from circuits.ranking.question import Question
from circuits.selection.iterated import DROP, FEWEST_POINTS
from circuits.selection.learned import STEPS
from circuits.selection.pair_parts import rows_of_directions
from graphs.words.part_words import VALIDATION

POINTS: Final = {"chord-ig": 10, "ig": 5, "ig-input": 5, "atp": 1}
"""Points of the methods' paths by default."""
EXPECTED_NODES: Final = 200
"""Nodes of a circuit whose size is not given."""
SHARE_OF_PLACES: Final = 0.25
"""Share of a prompt's positions at which a node of a circuit stands, if it may stand at any."""
ENDS_AT: Final = 50
"""Nodes at which a search is expected to lose the task, if every round dropped no more than its share."""
BESIDE_ROUNDS: Final = 4
"""What a search does before and after its rounds, in rounds: the trial of its points, and exchanges at the edge."""
TEXTS_AT_ONCE: Final = 32
FLOAT64: Final = 3.0
"""FLOPs of a forward in float64, with the copy of the weights, in those of a forward in float32."""
OF_AN_EDGE: Final = 200
"""Operations of a target's edges beside the backward: 120 for its seed and the sources at every leaf, some slow."""
OF_A_LOSS: Final = 20
REPORT: Final = 5
"""Sets of a report of faithfulness, and what it prepares once more."""
CURVE: Final = 20
"""As `REPORT`, of the faithfulness over size."""
POINTS_OF_A_TRACE: Final = 65
PASSES_OF_A_TRACE: Final = 3
STEPS_OF_A_WALK: Final = 20
RUNS_OF_A_STEP: Final = 10
OWN_PATHS: Final = "own paths"
"""The stage that is walked in what is left of the time."""
IN_FLOAT64: Final = "faithfulness in float64"
"""The stage that is left out where it does not fit into memory."""
QUALITY: Final = "quality of the SAEs"
"""The stage that reads texts."""


@dataclass(frozen=True)
class StageCosts:
    """What the stages beside the nodes' effects cost.

    Attributes:
        question: the training pairs, the model, and the mode.
        compare: methods whose estimates are shown beside the effects.
        ranked_by: a method whose estimates rank the nodes, if another than that of the effects.
        points: of the path of the effects' method; None for its default.
        nodes: of the circuit; None if a search or a ranking decides.
        scheme: what a node is; wherever it is active (`none`), it stands at several positions of a pair.
        search: `iterated`, `learned`, or None if nodes are taken from a ranking.
        drop: share of the nodes that a round of the iterated search drops.
        folds: that choose the size.
        splits: pairs that judge or choose the size.
        texts: token ids on which the SAEs are judged.
        explained: nodes whose own path is walked.
        after: the work of stages that follow, by name.
    """

    question: Question
    compare: tuple[str, ...] = ()
    ranked_by: str | None = None
    points: int | None = None
    nodes: int | None = None
    scheme: PositionScheme = "role"
    search: str | None = None
    drop: float = DROP
    folds: int = 0
    splits: Mapping[str, PromptPairs] | None = None
    texts: Sequence[Sequence[int]] = ()
    explained: int = 0
    after: Mapping[str, Work] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        question: Question,
        select: Selection,
        compare: Sequence[str],
        ranked_by: str | None,
        points: int | None,
        deciding: Deciding,
        splits: Mapping[str, PromptPairs],
        texts: Mapping[str, Sequence[Sequence[int]]] | None,
        explained: int,
        after: Mapping[str, Work],
        *,
        scheme: PositionScheme,
        searches: bool,
    ) -> "StageCosts":
        """The costs of what `discover` is asked for; `searches` says whether nodes are searched for."""
        search = None if not searches else "learned" if select.by == "learned" else "iterated"
        drop = DROP if select.drop is None else select.drop
        every = [ids for own in (texts or {}).values() for ids in own]
        return cls(
            question=question,
            compare=tuple(dict.fromkeys(compare)),
            ranked_by=ranked_by,
            points=points,
            nodes=select.nodes,
            scheme=scheme,
            search=search,
            drop=drop,
            folds=deciding.folds,
            splits=splits,
            texts=every,
            explained=explained,
            after=after,
        )

    def work(self, method: str, active: float) -> dict[str, Work]:
        """The work of each stage, if effects are measured by `method` and so many nodes differ in a pair."""
        own, splits = self.question.pairs, dict(self.splits or {})
        beside = {*self.compare, *(() if self.ranked_by is None else (self.ranked_by,))} - {
            method,
            *self.question.meaningless,
        }
        judged = [(own, REPORT + CURVE)]
        judged += [(pairs, REPORT + CURVE * (name != VALIDATION)) for name, pairs in splits.items()]
        return {
            "estimates beside them": sum(map(self.sweep, sorted(beside)), Work()),
            "search": self._search(active, splits.get(VALIDATION)),
            "check of the estimate": self._check(method),
            "edges": self.sweep("chord-ig") + self.circuit_places * self._edges_of_a_node(),
            OWN_PATHS: self.explained * self._own_path() if method != "exact" or "ig" in self.compare else Work(),
            "pruning": 2 * self.keeping(own, REPORT),
            "faithfulness": sum((self.keeping(pairs, count) for pairs, count in judged), Work()),
            IN_FLOAT64: self._in_float64([pairs for pairs, _ in judged]),
            QUALITY: self._quality([len(pair.clean_ids) for pair in own for _ in (0, 1)], scored=2 * len(own))
            + self._quality(list(map(len, self.texts)), scored=sum(map(len, self.texts))),
            **self.after,
        }

    def _in_float64(self, judged: Sequence[PromptPairs]) -> Work:
        """Faithfulness once more; nothing where it does not fit, or all is float64 anyway."""
        if not self.question.room.holds_float64 or self.question.spliced.dtype == torch.float64:
            return Work()
        found = sum((self.keeping(pairs, REPORT, 32) for pairs in judged), Work())
        return replace(found, flops=FLOAT64 * found.flops)

    def _check(self, method: str) -> Work:
        """The sweep that gives the checker chord IG's parts, unless an estimate beside the effects is that sweep."""
        question = self.question
        meets_gates = question.error_mode != "live" and question.patch_value is counterfactual
        checked = method == "exact" and "ig" in self.compare and "chord-ig" not in self.compare
        return self.sweep("chord-ig") if checked and meets_gates else Work()

    def with_fewer_estimates(self) -> Iterator["StageCosts"]:
        """The same without the costliest of the estimates beside the effects, then without any."""
        if len(self.compare) > 1:
            costliest = max(self.compare, key=lambda name: self.sweep(name).flops)
            yield replace(self, compare=tuple(name for name in self.compare if name != costliest))
        if self.compare:
            yield replace(self, compare=())

    @property
    def circuit_nodes(self) -> int:
        """Nodes of the circuit, as given or expected."""
        return self.nodes or EXPECTED_NODES

    @property
    def circuit_places(self) -> float:
        """Nodes of the circuit in a pair, counted at every position where they are expected."""
        length = _positions(self.question.pairs) / len(self.question.pairs)
        return self.circuit_nodes * (max(1.0, SHARE_OF_PLACES * length) if self.scheme == "none" else 1.0)

    def sweep(self, method: str, points: int | None = None) -> Work:
        """A method's estimate of all effects, by default with its default points; nothing where it has no price."""
        question = self.question
        if method not in PRICED_METHODS:
            return Work()
        positions, batches = _positions(question.pairs), self._batches(question.pairs, question.room.pairs(method))
        about = len(question.pairs), positions, question.error_mode, points or POINTS.get(method, 1), batches
        return sweep_work(method, question.spliced, *about)

    def keeping(self, pairs: PromptPairs, sets: int, most: int = 64) -> Work:
        """The metric of the pairs with each of so many sets of nodes kept, one after the other, and their reference."""
        return (sets + 1) * self._forward(pairs, self.question.room.pairs("exact", most))

    def _search(self, active: float, validation: PromptPairs | None) -> Work:
        """A search on all pairs, and one on all but those of a fold for each fold."""
        pairs = self.question.pairs
        count = len(pairs) - len(pairs) // self.folds if self.folds else 0
        searches = [self._search_on(pairs, active, validation)]
        searches += self.folds * [self._search_on(pairs.head(max(1, count)), active, None)]
        return sum(searches, Work())

    def _search_on(self, pairs: PromptPairs, active: float, validation: PromptPairs | None) -> Work:
        if self.search is None:
            return Work()
        size = self.question.room.masked_pairs
        directions = [pairs.head(max(1, len(rows))) for rows in rows_of_directions(len(pairs))]
        if self.search == "learned":
            return STEPS * 2 * sum((self._forward(own, size) for own in directions), Work())
        judged = self._forward(pairs, size) + (Work() if validation is None else self._forward(validation, size))
        round_of = sum((self._mask_path(own, FEWEST_POINTS // 2, size) for own in directions), judged)
        rounds = math.log(max(math.e, active / (self.nodes or ENDS_AT))) / -math.log(1 - self.drop)
        return (rounds + BESIDE_ROUNDS) * round_of

    def _mask_path(self, pairs: PromptPairs, points: int, size: int) -> Work:
        """Both ends of a path, which encode and write twice, and its points forward and backward, side by side."""
        one, together = self._forward(pairs, size), max(1, size // len(pairs))
        parts = math.ceil(points / together)
        return 2 * one + 2 * parts * one.side_by_side(points / parts)

    def _edges_of_a_node(self) -> Work:
        """Backwards of a target of every pair, from its site to those right before it."""
        pairs, sites = self.question.pairs, len(self.question.spliced.sites)
        batches = self._batches(pairs, self.question.room.pairs("atp", 32))
        blocks = self.question.spliced.model.n_layers
        whole = forward_work(self.question.spliced, 0, _positions(pairs))
        section = whole.side_by_side(POINTS["chord-ig"] / max(blocks, sites))
        return replace(section, operations=batches * (whole.operations / max(blocks, sites) + OF_AN_EDGE))

    def _own_path(self) -> Work:
        """A node's trace after two recordings and, where gates are met, its walk; from the middle of the network."""
        question, first = self.question, self.question.pairs.head(1)
        whole = self._forward(first, 1)
        bare = forward_work(question.spliced, 1, _positions(first))
        trace = 2 * whole + PASSES_OF_A_TRACE * bare.side_by_side(POINTS_OF_A_TRACE / 2)
        if question.error_mode == "live":
            return trace
        return trace + STEPS_OF_A_WALK * whole.side_by_side(RUNS_OF_A_STEP / 2)

    def _quality(self, lengths: Sequence[int], scored: int) -> Work:
        """Forwards of the bare model, of each SAE and of all, with all logits; and the loss, a few tokens at a time."""
        spliced, runs = self.question.spliced, len(self.question.spliced.sites) + 1
        if not lengths:
            return Work()
        size = self.question.room.texts(spliced, max(lengths), TEXTS_AT_ONCE)
        batches = len(list(spliced.model.lengths.cut(lengths, size)))
        whole = (2 * runs + 1) * forward_work(spliced, sum(lengths), sum(lengths))
        written = 2 * encoders_work(spliced, sum(lengths))  # each site alone, and all together
        losses = OF_A_LOSS * runs * math.ceil(scored / scored_at_once(spliced.model.d_vocab))
        return Work(batches * (whole.operations + written.operations) + losses, whole.flops + written.flops)

    def _forward(self, pairs: PromptPairs, size: int) -> Work:
        """A forward of every clean prompt through the model with its SAEs, in batches of `size`."""
        spliced, positions = self.question.spliced, _positions(pairs)
        whole = forward_work(spliced, len(pairs), positions) + encoders_work(spliced, positions)
        return replace(whole, operations=self._batches(pairs, size) * whole.operations)

    def _batches(self, pairs: PromptPairs, size: int) -> int:
        return len(list(pairs.cut(size, self.question.spliced.model.lengths)))


def _positions(pairs: PromptPairs) -> int:
    return sum(len(pair.clean_ids) for pair in pairs)
