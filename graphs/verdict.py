"""Verdict: how far an estimate of effects can be trusted, measured against exact patching.

    error(u) = estimate(u) − exact(u)
    AtP: error = curvature + jump;   joint IG: error = jump + interaction        (parts add up to the error)

A node is large where |effect| >= threshold. Flags, at most one a node:

    sign_flip   exact is large and the estimate has the other sign
    missed      exact is large, the estimate below half the threshold
    phantom     the estimate is large, exact below half the threshold
    wrong_size  the error is large, and the signs differ or one of the two is more than twice the other
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from graphs.nodes import ErrorNode, FeatureNode, TokenNode

Flag = Literal["sign_flip", "missed", "phantom", "wrong_size"]
Cause = Literal["curvature", "jump", "interaction"]
FLAGS: Final[tuple[Flag, ...]] = ("sign_flip", "missed", "phantom", "wrong_size")
CHOSEN_BY: Final = ("all", "strongest", "at_risk", "audit", "unchanged")
"""Why a node was verified. `unchanged`: both values are equal, so exact is 0 without a run."""


@dataclass(frozen=True)
class CrossedGate:
    """A gate that flips on a node's own path: where, at which α, and by how much the metric jumps there.

    Gates that flip at the same α share one jump; `size` is the whole of it.
    """

    site: str
    position: int
    index: int
    opened: bool
    alpha: float
    size: float


@dataclass(frozen=True)
class NodeVerdict:
    """One flagged node of one example. Effects in units of the metric, positive where the metric rises.

    `parts` splits the error by cause and is None where it was not decomposed; `cause` is the largest part.
    """

    node: FeatureNode | ErrorNode | TokenNode
    example: int
    estimate: float
    exact: float
    flag: Flag
    parts: Mapping[Cause, float] | None = None
    gates: tuple[CrossedGate, ...] = ()

    @property
    def error(self) -> float:
        """Estimate minus exact."""
        return self.estimate - self.exact

    @property
    def cause(self) -> Cause | None:
        """The largest part of the error."""
        if self.parts is None:
            return None
        parts = self.parts
        return max(parts, key=lambda cause: abs(parts[cause]))


@dataclass(frozen=True)
class Agreement:
    """How well the estimate agrees with exact over some verified nodes.

    pearson, spearman: None where undefined (fewer than 2 nodes, or one side constant). top_overlap: share of the
    `top` nodes largest by |exact| that are among those largest by |estimate|. sign_flips: of the `large` nodes
    (|exact| >= threshold), how many have an estimate of the other sign. jump_share: Σ |jump part| / Σ (|jump part| +
    |smooth part|) of chord IG over all nodes there; None where no gate can be met or chord IG was not run.
    """

    scope: str
    nodes: int
    pearson: float | None
    spearman: float | None
    top: int
    top_overlap: float | None
    large: int
    sign_flips: int
    flagged: int
    jump_share: float | None

    @property
    def sign_flip_rate(self) -> float | None:
        """Sign flips as a share of the large nodes; None where there are none."""
        return self.sign_flips / self.large if self.large else None


@dataclass(frozen=True)
class MissedBound:
    """What a random audit says of the nodes that were not verified.

    With `confidence`, at most `most_large` of the `unverified` nodes have |exact| >= threshold: the Clopper-Pearson
    upper limit for `audited_large` found among `audited` nodes drawn without replacement.
    """

    confidence: float
    audited: int
    audited_large: int
    unverified: int
    most_large: int

    @property
    def share(self) -> float:
        """The bound as a share of the unverified nodes."""
        return self.most_large / self.unverified


@dataclass(frozen=True)
class PathTrace:
    """A flagged node's own path: metric and slope dm/dα at each α, and margins of the gates that flip, by name."""

    node: FeatureNode | ErrorNode | TokenNode
    example: int
    alpha: tuple[float, ...]
    metric: tuple[float, ...]
    slope: tuple[float, ...]
    margins: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class ResidualCurve:
    """Completeness of a path method by number of points: |total effect − Σ sources| / |total effect|."""

    method: str
    points: tuple[int, ...]
    median: tuple[float, ...]
    largest: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """The checker's conclusion about one estimate.

    Attributes:
        estimate_name: the method in words, such as "IG (10 points)"; method, settings: as in the effects.
        error_mode, exact_error_mode: of the estimate and of exact patching. In `live` mode no gate is met.
        metric, unit, patch_value, examples: what was measured.
        threshold: an effect is large from here on, in `unit`. seed: of the audit.
        sites, encoders: sites in order (the first one is the tokens'), and the SAE kind at each spliced site.
        nodes: how many nodes the estimate has. The arrays hold those verified, one entry per example and node:
            site and kind are places in `sites` and in ("feature", "error", "token"), chosen_by in `CHOSEN_BY`.
        flagged: the flagged ones, largest |error| first.
        overall, by_site, by_encoder: agreement.
        bound: None where every node is verified.
        total_effect: per example. flips: gates that differ between the two runs, over all examples; None in live mode.
        tokens: per example, what to show at each position, such as " cat → dogs"; empty where unknown.
        names: per example, what each position is called, as the columns of a circuit are; empty where unknown.
        gates_at_threshold: gates that stand at their threshold in the clean runs, within rounding, over all examples:
            they count as closed until their margin moves. 0 in live mode.
    """

    estimate_name: str
    method: str
    settings: Mapping[str, str | int | float]
    error_mode: str
    exact_error_mode: str
    metric: str
    unit: str
    patch_value: str
    examples: int
    threshold: float
    seed: int
    sites: tuple[str, ...]
    encoders: Mapping[str, str]
    nodes: int
    example: np.ndarray
    site: np.ndarray
    position: np.ndarray
    kind: np.ndarray
    index: np.ndarray
    estimate: np.ndarray
    exact: np.ndarray
    chosen_by: np.ndarray
    flagged: tuple[NodeVerdict, ...]
    overall: Agreement
    by_site: tuple[Agreement, ...]
    by_encoder: tuple[Agreement, ...]
    bound: MissedBound | None
    total_effect: tuple[float, ...]
    flips: int | None
    residuals: tuple[ResidualCurve, ...] = ()
    traces: tuple[PathTrace, ...] = ()
    tokens: tuple[tuple[str, ...], ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    gates_at_threshold: int = 0

    @property
    def verified(self) -> int:
        """How many nodes were verified."""
        return len(self.exact)

    def count(self, flag: Flag) -> int:
        """How many nodes carry a flag."""
        return sum(v.flag == flag for v in self.flagged)

    def caused_by(self, cause: Cause) -> int:
        """How many flagged nodes have this as the largest part of their error."""
        return sum(v.cause == cause for v in self.flagged)

    def token(self, node: FeatureNode | ErrorNode | TokenNode, example: int) -> str:
        """What stands at a node's position; empty where unknown."""
        return self.tokens[example][node.position] if self.tokens else ""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What a notebook shows in place of the fields: tables, and plain text."""
        from graphs.words.notebook_view import verdict_view  # the view knows this type

        return verdict_view(self)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence that a person understands in ten seconds."""
        of = f"{self.verified} node{'' if self.verified == 1 else 's'}"
        if self.verified < self.nodes:
            of += f" checked (of {self.nodes})"
        if not self.flagged:
            everywhere = "the one node" + of.removeprefix("1 node") if self.verified == 1 else f"all {of}"
            parts = [f"{self.estimate_name} agrees with patching on {everywhere}"]
        else:
            parts = [f"{self.estimate_name} disagrees with patching on {len(self.flagged)} of {of}"]
            explained = sum(v.parts is not None for v in self.flagged)
            if explained:
                them = "them" if explained == len(self.flagged) else f"the {explained} explained"
                parts.append(f"{self.caused_by('jump')} of {them} because gates flip")
            wrong = self.count("sign_flip")
            parts.append(f"{wrong or 'none'} {'have' if wrong > 1 else 'has'} the wrong sign")
        if self.bound is not None and self.bound.unverified:
            share, sure = self.bound.share, self.bound.confidence
            parts.append(f"at most {share:.1%} of unverified nodes exceed {self.threshold:.3g} ({sure:.0%})")
        return "; ".join(parts) + "."


def flag_of(estimate: float, exact: float, threshold: float) -> Flag | None:
    """The flag of one node; see the top of this file."""
    size, true = abs(estimate), abs(exact)
    if max(size, true) < threshold:
        return None
    if true >= threshold and estimate * exact < 0:
        return "sign_flip"
    if true < threshold / 2:
        return "phantom"
    if size < threshold / 2:
        return "missed"
    far = estimate * exact < 0 or max(size, true) > 2 * min(size, true)
    return "wrong_size" if far and abs(estimate - exact) >= threshold else None
