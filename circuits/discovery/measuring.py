"""Effects of all nodes (exact, estimated or screened; `deciding.py` chooses), and verdicts on estimates.

    exact       exact patching of every node
    screened    an estimate of every node (chord IG; site-path IG without a patch prompt), and exact patching of the
                strongest nodes, of those whose gates are at risk and of a random audit
                (`attribution/checking/check.py`)

A node that was patched has its exact effect. The others keep their estimate, which the verdict judges. If every node
was patched, a verdict on another estimate costs no further patching.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from attribution.checking.causes import with_own_paths
from attribution.checking.check import check
from attribution.effects.decided_nodes import DecidedNodes
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature
from attribution.runs.progress import Progress, progress_between, silent
from attribution.runs.time_limit import Limit
from attribution.splice.node_keys import KINDS, node_keys
from circuits.ranking.question import Question
from graphs import CircuitGraph, FeatureNode, Node, Position, TokenNode, Verdict, findings
from graphs.circuit_findings import flagged_in
from graphs.circuit_graph import EXACT, NOT_VERIFIED
from graphs.verdict import NodeVerdict

SCREENED: Final = "screened_then_patched"
"""The method of effects some of which are exact and the others estimates."""


@dataclass(frozen=True)
class MeasuredNodes:
    """Effects of nodes. `exact` marks those that were patched; `verdict` judges the `estimate` of the others."""

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


def measure_nodes(
    question: Question, method: str, verify: int | None, points: Quadrature | None, progress: Progress
) -> MeasuredNodes:
    """Effects of all nodes by `method`. To check an estimate, `verify` nodes are patched; None checks nothing."""
    if method == "exact":
        effects = question.exact(None, progress)
        return MeasuredNodes(effects, np.ones(len(effects), bool), None)
    estimate = question.estimate(method, progress_between(progress, 0.0, 0.3), points, checked=verify is not None)
    if verify is None:
        return MeasuredNodes(estimate, np.zeros(len(estimate), bool), None, estimate)
    verdict = check(
        question.spliced,
        question.pairs,
        question.metric,
        estimate,
        patch_value=question.patch_value,
        verify=verify,
        chords=question.chords(progress_between(progress, 0.3, 0.37)),
        explained=0,
        room=question.room,
        progress=progress_between(progress, 0.37, 1.0),
    )
    keys = node_keys(verdict.example, verdict.position, verdict.index, site=verdict.site, kind=verdict.kind)
    measured = MeasuredNodes(estimate, np.zeros(len(estimate), bool), verdict, estimate)
    return with_undecided(with_exact(measured, keys, verdict.exact), verdict)


def refuse_verify(method: str, verify: int | None) -> None:
    """A ValueError if `verify` nodes cannot be patched to check this method."""
    if verify is None:
        return
    if verify < 1:
        raise ValueError(f"At least 1 node must be verified; got {verify}.")
    if method in ("exact", "activation-difference"):
        raise ValueError(f"{method} leaves nothing to verify. Choose an estimate: auto, chord-ig, ig, atp, ...")


def with_exact(measured: MeasuredNodes, keys: np.ndarray, exact: np.ndarray) -> MeasuredNodes:
    """Replace the estimates of the nodes with these keys by their exact effects; keys of other nodes are ignored."""
    order = np.argsort(keys)
    keys, exact = keys[order], exact[order]
    own = measured.effects.keys()
    place = np.searchsorted(keys, own).clip(max=max(len(keys) - 1, 0))
    known = keys[place] == own if len(keys) else np.zeros(len(own), bool)
    verdict = measured.verdict
    effect = np.where(known, exact[place], measured.effects.effect)
    effects = replace(
        measured.effects,
        method=SCREENED,
        error_mode=measured.effects.error_mode if verdict is None else verdict.exact_error_mode,
        effect=effect,
        open_effect=np.where(measured.effects.undecided, measured.effects.open_effect, effect),
        residual=None,
        residual_law="none: exact effects stand beside estimates",
    )
    return MeasuredNodes(effects, measured.exact | known, verdict, measured.estimate)


def with_undecided(measured: MeasuredNodes, verdict: Verdict) -> MeasuredNodes:
    """Give the nodes of which rounding decides the exact effect both values; they were patched, but have no rank."""
    effects, found = measured.effects, verdict.undecided
    if not found:
        return measured
    site = np.array([0 if isinstance(u.node, TokenNode) else effects.sites.index(u.node.site) for u in found])
    index = np.array([u.node.index if isinstance(u.node, FeatureNode) else -1 for u in found])
    kind, example, position = (
        np.array(column)
        for column in zip(*((KINDS.index(u.node.kind), u.example, u.node.position) for u in found), strict=True)
    )
    keys = node_keys(example, position, index, site=site, kind=kind)
    order = np.argsort(keys)
    closed, opened = (np.array([getattr(u, name) for u in found])[order] for name in ("closed", "opened"))
    decided = DecidedNodes(keys[order], closed, opened, np.ones(len(found), bool))
    marked = decided.marked(effects)
    return replace(measured, effects=marked, exact=measured.exact | marked.undecided)


def flags_of(verdict: Verdict | None, positions: Sequence[Position]) -> dict[Node, dict[str, int]]:
    """How often the verdict flags each aligned node, by flag."""
    found: dict[Node, dict[str, int]] = {}
    for node, flagged in () if verdict is None else flagged_in(positions, verdict):
        flags = found.setdefault(node, {})
        flags[flagged.flag] = flags.get(flagged.flag, 0) + 1
    return found


def checked_estimate(
    question: Question, measured: MeasuredNodes, estimate: Effects | None, progress: Progress = silent
) -> Verdict | None:
    """The verdict on `estimate` if all effects are exact, else the verdict of the screening.

    None if there are no exact effects to compare with, if there is no estimate, and if half of the pairs have no effect
    at all, so that no effect counts as large.
    """
    if measured.verdict is not None or estimate is None or not measured.exact.all():
        return measured.verdict
    if not np.median(np.abs(estimate.total_effect)) > 0:
        return None
    return check(
        question.spliced,
        question.pairs,
        question.metric,
        estimate,
        patch_value=question.patch_value,
        exact=measured.effects,
        chords=question.chords(progress_between(progress, 0.0, 0.1)),
        explained=0,
        room=question.room,
        progress=progress_between(progress, 0.1, 1.0),
    )


def worst_nodes(circuit: CircuitGraph, verdict: Verdict, most: int) -> list[NodeVerdict]:
    """The `most` nodes of the circuit with the largest errors, each in the example in which its error is largest."""
    worst = [own[0].verdict for own in findings(circuit, verdict).values()]
    return sorted(worst, key=lambda flagged: -abs(flagged.error))[:most]


def with_causes(
    verdict: Verdict,
    nodes: Sequence[NodeVerdict],
    question: Question,
    effects: Effects,
    limit: Limit,
    progress: Progress,
) -> Verdict:
    """The verdict with cause, gates and own path of some of its nodes, in this order until the time is over.

    `effects` are those of all nodes.
    """
    return with_own_paths(
        verdict,
        question.spliced,
        question.pairs,
        question.metric,
        effects,
        nodes,
        patch_value=question.patch_value,
        room=question.room,
        limit=limit,
        progress=progress,
    )
