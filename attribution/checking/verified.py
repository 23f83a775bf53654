"""The verified part of an estimate, and its flagged nodes."""

from dataclasses import dataclass

import numpy as np

from attribution.checking.verification import Chosen
from attribution.effects.effects import Effects
from graphs import ErrorNode, FeatureNode, NodeVerdict, TokenNode
from graphs.verdict import CHOSEN_BY, flag_of


@dataclass(frozen=True)
class Verified:
    """The verified part of an estimate, the exact effect of each node, and why it was chosen."""

    estimate: Effects
    exact: np.ndarray
    chosen_by: np.ndarray

    @classmethod
    def of(cls, estimate: Effects, truth: Effects, chosen: Chosen) -> "Verified":
        exact_of = dict(zip(truth.keys().tolist(), truth.effect.tolist(), strict=True))
        still = chosen.keys[chosen.reason == CHOSEN_BY.index("unchanged")]
        exact_of |= dict.fromkeys(still.tolist(), 0.0)
        # A gate within rounding of its threshold may differ between two batch sizes: such a node stays unverified.
        known = np.array([key for key in chosen.keys.tolist() if key in exact_of], dtype=np.int64)
        part = estimate.subset(np.isin(estimate.keys(), known))
        reason_of = dict(zip(chosen.keys.tolist(), chosen.reason.tolist(), strict=True))
        keys = part.keys().tolist()
        exact = np.array([exact_of[key] for key in keys], dtype=np.float64)
        return cls(part, exact, np.array([reason_of[key] for key in keys], dtype=np.int8))

    def node(self, number: int) -> FeatureNode | ErrorNode | TokenNode:
        """The node of one entry."""
        e = self.estimate
        site, position, index = e.sites[e.site[number]], int(e.position[number]), int(e.index[number])
        if e.kind[number] == 2:
            return TokenNode(position)
        return FeatureNode(site, position, index) if index >= 0 else ErrorNode(site, position)


def flagged_nodes(verified: Verified, threshold: float) -> dict[int, NodeVerdict]:
    """The flagged ones, by their number among the verified."""
    found: dict[int, NodeVerdict] = {}
    for n, (estimate, exact) in enumerate(zip(verified.estimate.effect.tolist(), verified.exact.tolist(), strict=True)):
        flag = flag_of(estimate, exact, threshold)
        if flag is not None:
            found[n] = NodeVerdict(verified.node(n), int(verified.estimate.example[n]), estimate, exact, flag)
    return found
