"""How long each stage of `discover` will take, told before the work begins.

    seconds = FLOPs / rate        rate = FLOPs / seconds of attribution patching of a few pairs, after a warm-up

    P        a forward of every pair's clean prompt through the spliced model; a backward costs as much
    search   R rounds, R = log(nodes / ENDS_AT) / −log(1 − drop), each of the pairs in both directions × (q points
             forward and backward, and both ends of the path), and F on the training and the validation pairs
    edges    a sweep of chord IG, and for every node of every pair q backwards from its site to those right before it
    others   a number of forwards over the pairs, the splits and the texts

Estimates are priced by `attribution/cones/sweep_cost.py`, patched nodes by `attribution/cones/forecast.py`. How many
rounds the search takes and how large the circuit is are not known before; the edges are foretold once more when it is.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from attribution.cones.sweep_cost import PRICED_METHODS, block_flops, head_flops, sweep_flops
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_store import keeping_nothing
from attribution.runs.progress import silent
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
ENDS_AT: Final = 50
"""Nodes at which a search is expected to lose the task, if every round dropped no more than its share."""
PROBE: Final = 2e11
"""FLOPs of the probe, about a second on a processor."""
QUALITY: Final = "quality of the SAEs"
"""The stage that reads texts."""
FLOAT64: Final = 3.0
"""The cost of a forward in float64, with the copy of the weights, in forwards in float32."""


@dataclass(frozen=True)
class StageCosts:
    """What the stages beside the nodes' effects cost.

    Attributes:
        question: the training pairs, the model, and the mode.
        compare: methods whose estimates are shown beside the effects.
        ranked_by: a method whose estimates rank the nodes, if another than that of the effects.
        points: of the path of the effects' method; None for its default.
        nodes: of the circuit; None if a search or a ranking decides.
        search: `iterated`, `learned`, or None if nodes are taken from a ranking.
        drop: share of the nodes that a round of the iterated search drops.
        folds: that choose the size.
        splits: pairs that judge or choose the size.
        texts: token ids on which the SAEs are judged.
    """

    question: Question
    compare: tuple[str, ...] = ()
    ranked_by: str | None = None
    points: int | None = None
    nodes: int | None = None
    search: str | None = None
    drop: float = DROP
    folds: int = 0
    splits: Mapping[str, PromptPairs] | None = None
    texts: Sequence[Sequence[int]] = ()

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
        *,
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
            search=search,
            drop=drop,
            folds=deciding.folds,
            splits=splits,
            texts=every,
        )

    def flops(self, method: str, active: float) -> dict[str, float]:
        """FLOPs of each stage, if effects are measured by `method` and so many nodes differ in a pair."""
        own, splits = self.question.pairs, dict(self.splits or {})
        judged = [own, *splits.values()]
        everything = sum(map(self._forwards, judged))
        sites = len(self.question.spliced.sites)
        texts = [*2 * [len(pair.clean_ids) for pair in own], *map(len, self.texts)]
        beside = {*self.compare, *(() if self.ranked_by is None else (self.ranked_by,))} - {
            method,
            *self.question.meaningless,
        }
        return {
            "estimates beside them": sum(map(self.sweep, sorted(beside))),
            "search": max(1, self.folds) * self._search(active, splits.get(VALIDATION)),
            "check of the estimate": self._check(method),
            "edges": self.sweep("chord-ig") + POINTS["chord-ig"] * self.circuit_nodes * self._section_of(own),
            "pruning": 8 * self._forwards(own),
            "faithfulness": 20 * everything,
            "faithfulness in float64": FLOAT64 * 4 * everything,
            QUALITY: (2 * (sites + 1) + 1) * self._without_saes(texts) + 2 * self._in_saes(texts),
        }

    def _check(self, method: str) -> float:
        """The sweep that gives the checker chord IG's parts, unless an estimate beside the effects is that sweep."""
        question = self.question
        meets_gates = question.error_mode != "live" and question.patch_value is counterfactual
        checked = method == "exact" and "ig" in self.compare and "chord-ig" not in self.compare
        return self.sweep("chord-ig") if checked and meets_gates else 0.0

    def with_fewer_estimates(self) -> Iterator["StageCosts"]:
        """The same without the costliest of the estimates beside the effects, then without any."""
        if len(self.compare) > 1:
            costliest = max(self.compare, key=self.sweep)
            yield replace(self, compare=tuple(name for name in self.compare if name != costliest))
        if self.compare:
            yield replace(self, compare=())

    @property
    def circuit_nodes(self) -> int:
        """Nodes of the circuit, as given or expected."""
        return self.nodes or EXPECTED_NODES

    def sweep(self, method: str, points: int | None = None) -> float:
        """FLOPs of a method's estimate of all effects, by default with its default points; 0 where it has no price."""
        question = self.question
        positions = sum(len(pair.clean_ids) for pair in question.pairs)
        about = len(question.pairs), positions, question.error_mode, points or POINTS.get(method, 1)
        return sweep_flops(method, question.spliced, *about) if method in PRICED_METHODS else 0.0

    def _search(self, active: float, validation: PromptPairs | None) -> float:
        own, points = self._forwards(self.question.pairs), FEWEST_POINTS // 2
        if self.search is None:
            return 0.0
        if self.search == "learned":
            return STEPS * 2 * self._both_directions(own)
        rounds = math.log(max(math.e, active / (self.nodes or ENDS_AT))) / -math.log(1 - self.drop)
        judged = own + (0.0 if validation is None else self._forwards(validation))
        return rounds * (self._both_directions(own) * (2 * points + 2) + judged)

    def _both_directions(self, own: float) -> float:
        """A forward of the prompts that a search attributes on, if one of every pair costs `own`."""
        pairs = len(self.question.pairs)
        return own * sum(map(len, rows_of_directions(pairs))) / pairs

    def _forwards(self, pairs: PromptPairs) -> float:
        lengths = [len(pair.clean_ids) for pair in pairs]
        return self._without_saes(lengths) + self._in_saes(lengths)

    def _without_saes(self, lengths: Sequence[int]) -> float:
        model = self.question.spliced.model
        return sum(lengths) * sum(block_flops(model)) + len(lengths) * head_flops(model)

    def _in_saes(self, lengths: Sequence[int]) -> float:
        return 4.0 * sum(lengths) * sum(sae.d_in * sae.d_sae for sae in self.question.spliced.saes.values())

    def _section_of(self, pairs: PromptPairs) -> float:
        """From a site to those right before it, on average, over all pairs."""
        spliced = self.question.spliced
        blocks = block_flops(spliced.model)
        return sum(len(pair.clean_ids) for pair in pairs) * sum(blocks) / max(len(blocks), len(spliced.sites))


def rate_of_texts(question: Question) -> float:
    """As `rate_of_passes`, in batches as large as those of texts: few short prompts keep a machine from its pace."""
    times = max(1, int(question.room.pairs("atp") / len(question.pairs)))
    return rate_of_passes(replace(question, pairs=PromptPairs(question.pairs.pairs * times)))


def rate_of_passes(question: Question) -> float:
    """FLOPs per second of forwards and backwards over whole prompts, here and now."""
    method = "ig" if question.metric.flat_at_clean else "atp"

    def flops(pairs: PromptPairs) -> float:
        return StageCosts(replace(question, pairs=pairs)).sweep(method)

    count = int(PROBE / flops(question.pairs) * len(question.pairs))
    some = question.pairs.head(max(1, min(count, question.room.pairs(method))))
    with keeping_nothing():
        replace(question, pairs=some.head(1)).estimate(method, silent)
        start = time.perf_counter()
        replace(question, pairs=some).estimate(method, silent)
        return flops(some) / (time.perf_counter() - start)
