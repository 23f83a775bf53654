"""Verdict: how far an estimate of effects can be trusted, measured against exact patching.

    error(u) = estimate(u) − exact(u)
    AtP: error = curvature + jump;   joint IG: error = jump + interaction        (the parts add up to the error)

An effect is large where |effect| >= threshold. A node has at most one flag:

    sign_flip   exact is large and the estimate has the other sign
    missed      exact is large, |estimate| is below half the threshold
    phantom     the estimate is large, |exact| is below half the threshold
    wrong_size  the error is large, and either the signs differ or one of the two is more than twice the other
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from graphs.cautions import Caution
from graphs.fields.quantities import (
    Correlation,
    Count,
    Magnitude,
    Number,
    Share,
    check_lengths,
    check_parts,
    check_rising,
)
from graphs.nodes import ErrorNode, FeatureNode, TokenNode, node_name
from graphs.notebook_display import NotebookDisplay
from graphs.short_repr import cut, short_repr
from graphs.undecided import UndecidedEffect

Flag = Literal["sign_flip", "missed", "phantom", "wrong_size"]
Cause = Literal["curvature", "jump", "interaction"]
FLAGS: Final[tuple[Flag, ...]] = ("sign_flip", "missed", "phantom", "wrong_size")
CHOSEN_BY: Final = ("all", "strongest", "at_risk", "audit", "unchanged")
"""Why a node was verified. `unchanged`: clean and patch value are equal, so the exact effect is 0 without a run."""


@dataclass(frozen=True)
class CrossedGate:
    """A gate that flips on a node's own path.

    Attributes:
        site, position, index: the gate's feature.
        opened: True where the gate opens, False where it closes.
        alpha: where on the path it flips, 0 at the clean and 1 at the patch value.
        size: the metric's jump there, in its units. Gates that flip at the same α share one jump, and each states all
            of it.
    """

    site: str
    position: Count
    index: Count
    opened: bool
    alpha: Share
    size: float

    @property
    def feature(self) -> FeatureNode:
        """The gate's feature as a node."""
        return FeatureNode(self.site, self.position, self.index)


@dataclass(frozen=True)
class NodeVerdict:
    """One flagged node in one example. Effects are in units of the metric, positive where the metric rises.

    Attributes:
        parts: the error by cause; None where it was not decomposed.
        gates: the gates that flip on the node's own path, as far as they were looked for.
    """

    __repr__ = short_repr

    node: FeatureNode | ErrorNode | TokenNode
    example: Count
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
        """The cause with the largest part of the error, by size; None where the error was not decomposed."""
        if self.parts is None:
            return None
        parts = self.parts
        return max(parts, key=lambda cause: abs(parts[cause]))


@dataclass(frozen=True)
class Agreement:
    """How well the estimate agrees with exact patching over some of the verified nodes.

    Attributes:
        scope: what the nodes have in common: a site, or a kind of SAE.
        nodes: how many there are.
        pearson, spearman: correlation of estimate and exact; None where undefined (fewer than 2 nodes, or a constant).
        top, top_overlap: the share of the `top` nodes with the largest |exact| that are also among the `top` nodes with
            the largest |estimate|; None where there are no nodes.
        large, sign_flips: nodes with |exact| >= threshold, and how many of them have an estimate of the other sign.
        flagged: how many nodes are flagged.
        jump_share: Σ |jump part| / Σ (|jump part| + |smooth part|) of chord IG over all nodes of the scope; None where
            effects meet no gate or chord IG was not run.
    """

    __repr__ = short_repr

    scope: str
    nodes: Count
    pearson: Correlation | None
    spearman: Correlation | None
    top: Count
    top_overlap: Share | None
    large: Count
    sign_flips: Count
    flagged: Count
    jump_share: Share | None

    def __post_init__(self) -> None:
        check_parts(self, "sign_flips", "large", "nodes")
        check_parts(self, "flagged", "nodes")

    @property
    def sign_flip_rate(self) -> float | None:
        """Sign flips as a share of the large nodes; None where no node is large."""
        return self.sign_flips / self.large if self.large else None


@dataclass(frozen=True)
class MissedBound:
    """What a random audit says about the nodes that were not verified.

    With probability `confidence`, at most `most_large` of the `unverified` nodes have |exact| >= threshold. This is the
    Clopper-Pearson upper limit, given `audited_large` such nodes among `audited` drawn without replacement.
    """

    confidence: Share
    audited: Count
    audited_large: Count
    unverified: Count
    most_large: Count

    def __post_init__(self) -> None:
        check_parts(self, "audited_large", "audited")
        check_parts(self, "most_large", "unverified")

    @property
    def share(self) -> float:
        """The bound as a share of the unverified nodes."""
        return self.most_large / self.unverified


@dataclass(frozen=True)
class PathTrace:
    """A flagged node's own path: at each α the metric, its slope dm/dα, and the margins of the gates that flip, by
    name.

    Metric and slope are in units of the metric. A gate is open where its margin is positive.
    """

    __repr__ = short_repr

    node: FeatureNode | ErrorNode | TokenNode
    example: Count
    alpha: tuple[Share, ...]
    metric: tuple[float, ...]
    slope: tuple[float, ...]
    margins: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        check_lengths(self, "alpha", "metric", "slope")
        check_rising(self, "alpha")
        if any(len(own) != len(self.alpha) for own in self.margins.values()):
            raise ValueError("a PathTrace has a gate with another number of margins than of points.")


@dataclass(frozen=True)
class ResidualCurve:
    """Completeness of a path method by number of points.

    Attributes:
        method: the method in words.
        points: numbers of points on the path.
        median, largest: over examples, of |total effect − Σ sources| / |total effect|, one entry per number of points.
    """

    __repr__ = short_repr

    method: str
    points: tuple[Number, ...]
    median: tuple[Magnitude, ...]
    largest: tuple[Magnitude, ...]

    def __post_init__(self) -> None:
        check_lengths(self, "points", "median", "largest")
        check_rising(self, "points")


@dataclass(frozen=True)
class Verdict(NotebookDisplay):
    """The conclusion of a check: how far one estimate agrees with exact patching.

    Attributes:
        estimate_name: the method in words, such as "IG (10 points)".
        method, settings: as in the effects that were checked.
        error_mode, exact_error_mode: how the estimate and exact patching treat SAE errors. In `live` mode effects meet
            no gate.
        metric, unit, patch_value, examples: what was measured.
        threshold: an effect of at least this size is large, in `unit`.
        seed: of the audit's random draw.
        sites, encoders: sites in the order of the forward pass (the first is that of the tokens), and the kind of SAE
            at each spliced site.
        nodes: how many nodes the estimate has, counted once per example.
        example, site, position, kind, index, estimate, exact, chosen_by: arrays of the verified nodes, one entry per
            node and example. `site` counts into `sites`, `kind` into ("feature", "error", "token"), and `chosen_by`
            into `CHOSEN_BY`.
        flagged: the flagged nodes, largest |error| first.
        overall, by_site, by_encoder: agreement over all verified nodes, and over parts of them.
        bound: on the nodes that were not verified; None where every node was.
        total_effect: m(patch) − m(clean) per example.
        flips: number of gates that differ between the clean and the patch run, over all examples; None in live mode.
        residuals: completeness of path methods.
        traces: own paths of some flagged nodes.
        tokens: per example, what to show at each position, such as " cat → dogs"; empty where unknown.
        names: per example, the name of each position, as a circuit's columns are named; empty where unknown.
        gates_at_threshold: gates that stand at their threshold in the clean runs, within rounding, over all examples:
            they count as closed until their margin moves. 0 in live mode.
        undecided: nodes that were to be verified, but whose exact effect rounding decides. They are in no other number.
        unwalked: flagged nodes that were to be explained, but whose path was not walked: the time was over.
        warnings: what is no error, but makes less sense than it looks.
    """

    estimate_name: str
    method: str
    settings: Mapping[str, str | int | float]
    error_mode: str
    exact_error_mode: str
    metric: str
    unit: str
    patch_value: str
    examples: Count
    threshold: Magnitude
    seed: int
    sites: tuple[str, ...]
    encoders: Mapping[str, str]
    nodes: Count
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
    flips: Count | None
    residuals: tuple[ResidualCurve, ...] = ()
    traces: tuple[PathTrace, ...] = ()
    tokens: tuple[tuple[str, ...], ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    gates_at_threshold: Count = 0
    undecided: tuple[UndecidedEffect, ...] = ()
    unwalked: Count = 0
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self, "verified", "nodes")

    def __repr__(self) -> str:
        return cut(f"Verdict({self.sentence})")

    @property
    def verified(self) -> int:
        """How many nodes were verified."""
        return len(self.exact)

    def count(self, flag: Flag) -> int:
        """How many nodes have this flag."""
        return sum(v.flag == flag for v in self.flagged)

    def caused_by(self, cause: Cause) -> int:
        """How many flagged nodes have this as the largest part of their error."""
        return sum(v.cause == cause for v in self.flagged)

    def name(self, node: FeatureNode | ErrorNode | TokenNode, example: int) -> str:
        """The node's name with that of its position, as circuits have it; with its index where that is unknown."""
        own = self.names[example] if 0 <= example < len(self.names) else ()
        return node_name(node, own[node.position] if 0 <= node.position < len(own) else None)

    def name_of_margin(self, name: str, example: int) -> str:
        """The name of a gate in `PathTrace.margins` with that of its position."""
        gate, _, position = name.rpartition("@")
        own = self.names[example] if 0 <= example < len(self.names) else ()
        return f"{gate}@{own[int(position)]}" if position.isdecimal() and int(position) < len(own) else name

    def token(self, node: FeatureNode | ErrorNode | TokenNode, example: int) -> str:
        """The token to show at a node's position; empty where unknown."""
        own = self.tokens[example] if 0 <= example < len(self.tokens) else ()
        return own[node.position] if 0 <= node.position < len(own) else ""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence: agreement, causes, wrong signs, and what is known about unverified nodes."""
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
                them = "them" if explained == len(self.flagged) else f"the {explained} explained nodes"
                parts.append(f"{self.caused_by('jump')} of {them} because gates flip")
            if self.unwalked:
                them = "one more was" if self.unwalked == 1 else f"{self.unwalked} more were"
                parts.append(f"{them} not explained: their time was over")
            wrong = self.count("sign_flip")
            parts.append(f"{wrong or 'none'} {'have' if wrong > 1 else 'has'} the wrong sign")
        if self.bound is not None and self.bound.unverified:
            share, sure = self.bound.share, self.bound.confidence
            parts.append(f"at most {share:.1%} of unverified nodes exceed {self.threshold:.3g} ({sure:.0%} confidence)")
        return "; ".join(parts) + "."


def flag_of(estimate: float, exact: float, threshold: float) -> Flag | None:
    """The flag of one node, by the rules at the top of this file; None where it deserves none."""
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
