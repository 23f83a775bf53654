"""Which nodes of an estimate are verified, and their exact effects.

Either all nodes are verified, or a given number of them: the strongest by |estimate|, those that put a gate downstream
at risk, and a random audit of the rest. A node whose clean and patch values are equal needs no run, because its exact
effect is 0.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from attribution.checking.gates_at_risk import gate_risks
from attribution.effects.effects import Effects
from attribution.effects.measurement import numpy_of, prepare
from attribution.effects.patches import all_patches
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, silent
from attribution.splice.node_keys import shifted_keys
from attribution.splice.patch_values import PatchValue
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import ErrorNode, FeatureNode, NodeVerdict, TokenNode
from graphs.verdict import CHOSEN_BY, flag_of

STAGE: Final = "gates_at_risk"
_GATES_PER_ROW = 64
"""Gates of a clean run for which the risk that a node flips them is estimated: the most dangerous ones."""


@dataclass(frozen=True)
class ChosenNodes:
    """The nodes to verify: the key of each, and the reason for which it was chosen, as an index into `CHOSEN_BY`.

    `population` is the number of nodes that the audit was drawn from; 0 if all nodes are verified.
    """

    keys: np.ndarray
    reason: np.ndarray
    population: int


def choose_nodes(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    *,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    verify: int | None,
    seed: int,
    batch_size: int = 16,
    progress: Progress = silent,
) -> ChosenNodes:
    """Choose `verify` nodes, or all nodes if it is None.

    Half of them are the strongest, a quarter are at risk, and the audit draws the others. If fewer nodes are at risk
    (in `live` mode none is), the audit draws more. Nodes whose two values are equal are chosen in addition, because
    they cost nothing.
    """
    unchanged = estimate.of_kind("feature") & (estimate.clean == estimate.patch)
    keys = estimate.keys()
    changed, still = keys[~unchanged], keys[unchanged]
    if verify is None or verify >= len(changed):
        reason = np.full(len(keys), CHOSEN_BY.index("all"))
        reason[len(changed) :] = CHOSEN_BY.index("unchanged")
        return ChosenNodes(np.concatenate([changed, still]), reason, 0)
    strongest = changed[np.argsort(-np.abs(estimate.effect[~unchanged]), kind="stable")[: verify // 2]]
    rest = np.setdiff1d(changed, strongest)
    at_risk = np.empty(0, keys.dtype)
    if error_mode != "live":
        risk_of = _risks(spliced, pairs, metric, error_mode, patch_value, batch_size, progress)
        risk = np.array([risk_of.get(int(key), 0.0) for key in rest])
        order = np.argsort(-risk, kind="stable")[: verify // 4]
        at_risk = rest[order[risk[order] > 0]]
        rest = np.setdiff1d(rest, at_risk)
    audit = np.random.default_rng(seed).choice(rest, verify - len(strongest) - len(at_risk), replace=False)
    parts = {"strongest": strongest, "at_risk": at_risk, "audit": audit, "unchanged": still}
    return ChosenNodes(
        np.concatenate(list(parts.values())),
        np.concatenate([np.full(len(part), CHOSEN_BY.index(name)) for name, part in parts.items()]),
        len(rest),
    )


def _risks(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    batch_size: int,
    progress: Progress,
) -> dict[int, float]:
    found: dict[int, float] = {}

    def measured(examples: range) -> Arrays:
        batch = pairs.batch(examples, spliced.model.device, metric.positions)
        situation = prepare(spliced, batch, metric, error_mode, patch_value, with_gradients=True)
        patches = all_patches(situation)
        risk = [numpy_of(of) for of in gate_risks(situation, patches, _GATES_PER_ROW)]
        keys = np.concatenate([np.zeros(0, np.int64), *(patch.keys(situation) for patch in patches)])
        return {"key": shifted_keys(keys, -examples.start), "risk": np.concatenate([np.zeros(0), *risk])}

    def key(examples: range, store: ChunkStore) -> str:
        about = {"name": STAGE, "error_mode": error_mode, "gates": _GATES_PER_ROW}
        return chunk_keys(store, spliced, metric, patch_value, **about).key(pairs, examples)

    with spliced.model.frozen():
        for examples in pairs.cut(batch_size, spliced.model.lengths):
            chunk = kept_chunk(STAGE, partial(key, examples), lambda _, e=examples: measured(e))
            found |= dict(zip(shifted_keys(chunk["key"], examples.start).tolist(), chunk["risk"].tolist(), strict=True))
            progress(examples.stop / len(pairs))
    return found


@dataclass(frozen=True)
class VerifiedNodes:
    """The verified part of an estimate, the exact effect of each node, and the reason for which it was chosen."""

    estimate: Effects
    exact: np.ndarray
    chosen_by: np.ndarray

    @classmethod
    def of(cls, estimate: Effects, truth: Effects, chosen: ChosenNodes) -> "VerifiedNodes":
        """The chosen nodes of an estimate with their exact effects from `truth`."""
        decided = ~truth.undecided
        exact_of = dict(zip(truth.keys()[decided].tolist(), truth.effect[decided].tolist(), strict=True))
        still = chosen.keys[chosen.reason == CHOSEN_BY.index("unchanged")]
        exact_of |= dict.fromkeys(still.tolist(), 0.0)
        # A feature whose gate is within rounding of its threshold may be a node at one batch size and not at another.
        # If exact patching did not meet it, or rounding decides its effect, it stays unverified.
        known = np.array([key for key in chosen.keys.tolist() if key in exact_of], dtype=np.int64)
        part = estimate.subset(np.isin(estimate.keys(), known))
        reason_of = dict(zip(chosen.keys.tolist(), chosen.reason.tolist(), strict=True))
        keys = part.keys().tolist()
        exact = np.array([exact_of[key] for key in keys], dtype=np.float64)
        return cls(part, exact, np.array([reason_of[key] for key in keys], dtype=np.int8))

    def node(self, number: int) -> FeatureNode | ErrorNode | TokenNode:
        """The node at an index of the arrays."""
        e = self.estimate
        site, position, index = e.sites[e.site[number]], int(e.position[number]), int(e.index[number])
        if e.kind[number] == 2:
            return TokenNode(position)
        return FeatureNode(site, position, index) if index >= 0 else ErrorNode(site, position)


def flagged_nodes(verified: VerifiedNodes, threshold: float) -> dict[int, NodeVerdict]:
    """The verdicts on the flagged nodes, by their number among the verified."""
    found: dict[int, NodeVerdict] = {}
    for n, (estimate, exact) in enumerate(zip(verified.estimate.effect.tolist(), verified.exact.tolist(), strict=True)):
        flag = flag_of(estimate, exact, threshold)
        if flag is not None:
            found[n] = NodeVerdict(verified.node(n), int(verified.estimate.example[n]), estimate, exact, flag)
    return found
