"""The causal test of a circuit on any pairs: like is compared with like.

pairs that found the circuit    the graph's effects in these pairs alone against what is measured: a check of the graph
other pairs                     its mean effects against what is measured there: whether the circuit generalises
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from attribution.effects.effects import Effects
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import PositionScheme
from attribution.prompts.prompt_pairs import PromptPairs, plain_pair
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.causal_test import CausalTest, causal_test
from circuits.ranking.aggregate import effects_by_pair
from circuits.ranking.positions import align_positions
from graphs import CircuitGraph, MetricNode
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class FoundOn:
    """What found a circuit: its pairs, the effects of all nodes in each of them, and what its positions are.

    Examples:
        >>> whole = FoundOn(pairs, found.effects, "role")
        >>> whole.numbers_of(pairs)
        [0, 1]
    """

    __repr__ = short_repr

    pairs: PromptPairs
    effects: Effects
    scheme: PositionScheme

    def numbers_of(self, pairs: PromptPairs) -> list[int | None]:
        """For each of some pairs, which of its own it is; None for another."""
        known = {str(plain_pair(pair)): n for n, pair in enumerate(self.pairs)}
        return [known.get(str(plain_pair(pair))) for pair in pairs]

    def effects_in(
        self, numbers: Sequence[int], circuit: CircuitGraph, spliced: SplicedModel
    ) -> Float[np.ndarray, "node pair"]:
        """The effects of a circuit's nodes, the strongest first, in some of the pairs."""
        given = self.pairs, spliced.model
        column = {p.label: n for n, p in enumerate(align_positions(*given, self.scheme).positions)}
        nodes = [w.node for w in circuit.strongest() if not isinstance(w.node, MetricNode)]
        own = [replace(node, position=column[circuit.positions[node.position].label]) for node in nodes]
        return effects_by_pair(self.effects, *given, own, self.scheme)[list(numbers)].T


def causal_tests(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    circuit: CircuitGraph,
    found_on: FoundOn | None = None,
    *,
    error_mode: ErrorMode | None = None,
    patch_value: PatchValue = counterfactual,
    room: Room | None = None,
    progress: Progress = silent,
) -> tuple[CausalTest, ...]:
    """One causal test on those of the pairs that found the circuit, then one on the others; none on no pairs.

    Without `found_on` there is one test, on all. Other arguments and errors as of `causal_test`.

    Examples:
        >>> found_on = FoundOn(pairs, found.effects, "role")
        >>> (own,) = causal_tests(spliced, pairs, logit_difference, found.circuit, found_on)
        >>> own.own_pairs, own.relative_difference < 1e-4
        (True, True)
    """
    about = {"error_mode": error_mode, "patch_value": patch_value, "room": room}
    if found_on is None:
        return (causal_test(spliced, pairs, metric, circuit, progress=progress, **about),)
    numbers = found_on.numbers_of(pairs)
    own = [(pair, n) for pair, n in zip(pairs, numbers, strict=True) if n is not None]
    others = [pair for pair, n in zip(pairs, numbers, strict=True) if n is None]
    share = len(own) / len(pairs)
    parts: list[tuple[PromptPairs, np.ndarray | None, Progress]] = []
    if own:
        predicted = found_on.effects_in([n for _, n in own], circuit, spliced)
        parts.append((PromptPairs(tuple(p for p, _ in own)), predicted, progress_between(progress, 0.0, share)))
    if others:
        parts.append((PromptPairs(tuple(others)), None, progress_between(progress, share, 1.0)))
    return tuple(
        replace(
            causal_test(spliced, part, metric, circuit, predicted=predicted, progress=told, **about),
            own_pairs=predicted is not None,
        )
        for part, predicted, told in parts
    )
