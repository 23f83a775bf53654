"""Effects of all nodes: exact, estimated, or screened by an estimate and verified. `deciding.py` chooses.

    exact       exact patching of every node
    screened    an estimate of every node (chord IG; site-path IG where there is no patch prompt), exact patching of the
                strongest, of those whose gates are at risk and of a random audit (`attribution/checking/check.py`)

A node that was patched has its exact effect; the others keep their estimate, which the verdict judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from attribution.checking.check import check
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature
from attribution.runs.progress import Progress, progress_between
from attribution.splice.node_keys import node_keys
from circuits.ranking.question import Question
from graphs import Node, Position, Verdict
from graphs.circuit_findings import flagged_in
from graphs.circuit_graph import EXACT, NOT_VERIFIED

SCREENED: Final = "screened_then_patched"
"""The method of effects some of which are exact and the others estimates."""


@dataclass(frozen=True)
class Measured:
    """Effects of nodes; `exact` marks those that were patched, and `verdict` judges the `estimate` of the others."""

    effects: Effects
    exact: np.ndarray
    verdict: Verdict | None
    estimate: Effects | None = None

    @property
    def evidence(self) -> str:
        """How far the effects can be trusted, in words."""
        if self.exact.all():
            return EXACT
        if self.verdict is None:
            return NOT_VERIFIED
        return f"screened by {self.verdict.estimate_name}; {self.exact.sum()} of {len(self.exact)} effects are exact"


def measure(
    question: Question, method: str, verify: int | None, points: Quadrature | None, progress: Progress
) -> Measured:
    """Effects by `method`; of an estimate, `verify` nodes are patched to check it."""
    if method == "exact":
        effects = question.exact(None, progress)
        return Measured(effects, np.ones(len(effects), bool), None)
    chords = None
    if method == "chord-ig" and verify is not None and points is None and question.error_mode != "live":
        chords = question.chords(progress_between(progress, 0.0, 0.3))  # the checker needs the same sweep
        estimate = chords.effects
    else:
        estimate = question.estimate(method, progress_between(progress, 0.0, 0.3), points)
    if verify is None:
        return Measured(estimate, np.zeros(len(estimate), bool), None, estimate)
    verdict = check(
        question.spliced,
        question.pairs,
        question.metric,
        estimate,
        patch_value=question.patch_value,
        verify=verify,
        chords=chords,
        explained=0,
        room=question.room,
        progress=progress_between(progress, 0.3, 1.0),
    )
    keys = node_keys(verdict.example, verdict.position, verdict.index, site=verdict.site, kind=verdict.kind)
    return with_exact(Measured(estimate, np.zeros(len(estimate), bool), verdict, estimate), keys, verdict.exact)


def refuse_verify(method: str, verify: int | None) -> None:
    """A ValueError for a number of nodes that cannot be verified."""
    if verify is None:
        return
    if verify < 1:
        raise ValueError(f"At least 1 node must be verified; got {verify}.")
    if method in ("exact", "activation-difference"):
        raise ValueError(f"{method} leaves nothing to verify. Choose an estimate: auto, chord-ig, ig, atp, ...")


def with_exact(measured: Measured, keys: np.ndarray, exact: np.ndarray) -> Measured:
    """The exact effects of the nodes with these keys take the place of their estimates; others are left out."""
    order = np.argsort(keys)
    keys, exact = keys[order], exact[order]
    own = measured.effects.keys()
    place = np.searchsorted(keys, own).clip(max=max(len(keys) - 1, 0))
    known = keys[place] == own if len(keys) else np.zeros(len(own), bool)
    verdict = measured.verdict
    effects = replace(
        measured.effects,
        method=SCREENED,
        error_mode=measured.effects.error_mode if verdict is None else verdict.exact_error_mode,
        effect=np.where(known, exact[place], measured.effects.effect),
        residual=None,
        residual_law="none: exact effects stand beside estimates",
    )
    return Measured(effects, measured.exact | known, verdict, measured.estimate)


def flags_of(verdict: Verdict | None, positions: Sequence[Position]) -> dict[Node, dict[str, int]]:
    """How often the verdict flags each aligned node, by flag."""
    found: dict[Node, dict[str, int]] = {}
    for node, flagged in () if verdict is None else flagged_in(positions, verdict):
        flags = found.setdefault(node, {})
        flags[flagged.flag] = flags.get(flagged.flag, 0) + 1
    return found
