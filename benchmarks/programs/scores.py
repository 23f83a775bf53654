"""What every method says of the variables of a program and of the edges between them, and how well that is true.

AUROC: the chance that a true variable has a larger |effect| than a false one that changes too. Effects below 1e-6 are
rounding and count as 0, ties count half. The programs' steps are 1/100 wide, and saturated softmax is as steep: path
methods are run with 10 and with 160 points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from attribution import (
    Effects,
    ErrorMode,
    JumpReLU,
    PromptPairs,
    ReLU,
    SplicedModel,
    activation_difference,
    chord_edges,
    exact_edges,
    gauss_legendre,
    gradient_edges,
    midpoint,
    path_mode,
)
from attribution.splice.resuming import TOKENS
from benchmarks.programs.compiled_model import Compiled
from benchmarks.programs.exact_saes import splice_exactly
from benchmarks.programs.exact_variables import ExactVariables
from benchmarks.programs.grouping import Grouping, Links, Nodes
from benchmarks.programs.rasp import Place
from benchmarks.programs.truth import Contrast, Truth, contrast_pairs, truth_of
from circuits import (
    attribution_patching,
    chord_integrated_gradients,
    exact_patching,
    integrated_gradients,
    logit_difference,
)

Kind = type[ReLU] | type[JumpReLU]
FEW, MANY = 10, 160
NOTHING: Final = 1e-6


def auroc(truth: Mapping[Any, bool], scores: Mapping[Any, float]) -> float | None:
    """The chance that a true candidate's |score| is the larger; one without a score has 0. None where all are true,
    or none is."""
    label = np.array(list(truth.values()), bool)
    score = np.abs([scores.get(candidate, 0.0) for candidate in truth])
    rank = pd.Series(np.where(score < NOTHING, 0.0, score)).rank().to_numpy()
    true, false = int(label.sum()), int((~label).sum())
    if not true or not false:
        return None
    return float((rank[label].sum() - true * (true + 1) / 2) / (true * false))


@dataclass(frozen=True)
class Question:
    """Contrast pairs of one program, and what is true of them: at the clean end, or at either end."""

    compiled: Compiled
    contrasts: tuple[Contrast, ...]

    @property
    def pairs(self) -> PromptPairs:
        """The pairs as token ids."""
        return contrast_pairs(self.compiled, self.contrasts)

    def exchanged(self) -> "Question":
        """The same pairs with clean and patch exchanged."""
        return Question(self.compiled, tuple(contrast.exchanged() for contrast in self.contrasts))

    @cached_property
    def truths(self) -> dict[str, list[Truth]]:
        """Truths of all pairs, by end."""
        clean, patch = ([truth_of(self.compiled, c) for c in q.contrasts] for q in (self, self.exchanged()))
        return {"clean end": clean, "either end": [c.either(p) for c, p in zip(clean, patch, strict=True)]}

    def nodes(self, end: str = "clean end") -> dict[tuple[int, Place], bool]:
        """Every candidate variable by example and place."""
        return {(n, place): true for n, one in enumerate(self.truths[end]) for place, true in one.nodes.items()}

    def edges(self, end: str = "clean end") -> dict[tuple[int, Place, Place], bool]:
        """Every candidate edge by example, source and target."""
        return {(n, *ends): true for n, one in enumerate(self.truths[end]) for ends, true in one.edges.items()}


@dataclass(frozen=True)
class Measured:
    """The question's model with one kind of exact SAE, in one error mode."""

    question: Question
    kind: Kind
    mode: ErrorMode

    @cached_property
    def spliced(self) -> SplicedModel:
        return splice_exactly(self.question.compiled, self.kind)

    @cached_property
    def grouping(self) -> Grouping:
        return Grouping(self.question.compiled, (TOKENS, *self.spliced.sites))

    @cached_property
    def exact(self) -> Effects:
        """Exact patching of single dimensions."""
        return exact_patching(self.spliced, self.question.pairs, logit_difference, error_mode=self.mode)

    def nodes(self, points: Sequence[int] = (FEW, MANY)) -> dict[str, Nodes]:
        """Effects of variables by method; those of single dimensions are summed. Path methods with each of `points`."""
        arguments, mode = (self.spliced, self.question.pairs, logit_difference), self.mode
        effects = {
            "activation difference": activation_difference(*arguments, error_mode=mode),
            "AtP": attribution_patching(*arguments, error_mode=mode),
        }
        for count in points:
            effects[f"IG {count}"] = integrated_gradients(*arguments, error_mode=mode, points=midpoint(count))
        for count in points:
            effects[f"chord IG {count}"] = chord_integrated_gradients(
                *arguments, error_mode=path_mode(mode), points=gauss_legendre(count)
            )
        found = {name: self.grouping.nodes(effect) for name, effect in effects.items()}
        found["exact, summed"] = self.grouping.nodes(self.exact)
        found["exact"] = self.variables(self.question).nodes(list(self.question.nodes()))
        return found | {"exact, both ends": _larger(found["exact"], self._from_the_other_end().nodes)}

    def edges(self, points: Sequence[int] = (FEW, MANY)) -> dict[str, Links]:
        """Weights of edges between variables by method; those between single dimensions are summed."""
        arguments = (self.spliced, self.question.pairs, logit_difference)
        found = {"gradient": self.grouping.of_edges(gradient_edges(*arguments, self.exact, error_mode=self.mode))}
        every = chord_edges(*arguments, self.exact, error_mode=path_mode(self.mode), points=gauss_legendre(points[0]))
        found[f"chord {points[0]}"] = self.grouping.of_edges(every)
        for count in points[1:]:
            chords = chord_edges(*arguments, self.exact, error_mode=path_mode(self.mode), points=gauss_legendre(count))
            found[f"chord {count}"] = self.grouping.of_edges(chords)
        weight = exact_edges(*arguments, every.source, every.target, error_mode=self.mode)
        found["exact, summed"] = self.grouping.links(every.example, every.source, every.target, weight)
        found["exact"] = self.variables(self.question).links(list(self.question.edges()))
        return found | {"exact, both ends": _larger(found["exact"], self._from_the_other_end().links)}

    def variables(self, question: Question) -> ExactVariables:
        """Exact patching of whole variables, of this question or its exchange."""
        return ExactVariables.of(self.grouping, self.spliced, question.pairs, self.mode)

    def _from_the_other_end(self) -> ExactVariables:
        return self.variables(self.question.exchanged())


def _larger(here: dict[Any, float], at_other_end: Any) -> dict[Any, float]:
    """|effect| at the end where it is larger."""
    there = at_other_end(list(here))
    return {candidate: max(abs(here[candidate]), abs(there[candidate])) for candidate in here}
