"""Two circuits held against each other: what they share, and how well each does the other's task.

    Jaccard            |A ∩ B| / |A ∪ B|
    weighted Jaccard   Σ min(a_u, b_u) / Σ max(a_u, b_u)

a_u is |effect of u| as a share of Σ |effect| of circuit A, and 0 where A lacks u; b_u the same of B. Both numbers are 1
for equal circuits and 0 for circuits without a common node. Features and errors count, tokens and the metric do not:
they belong to the prompts. Source: Jaccard 1912; Ružička 1958.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from graphs.faithfulness import Faithfulness
from graphs.fields.quantities import Correlation, Count, Share
from graphs.short_repr import short_repr

Which = Literal["a", "b"]
"""The first or the second of two circuits."""


@dataclass(frozen=True)
class ComparedNode:
    """A feature or an error of one circuit or of both.

    Attributes:
        a, b: its name in each circuit; None where the circuit lacks it. They differ where SAEs differ.
        kind, site, position: of the node; `position` is the label of its column.
        effect_a, effect_b: its effect in each circuit, in that circuit's unit.
        twin: the feature of the other circuit's SAE that it is matched to, as `site/index`, whether or not the other
            circuit has it; None where the SAEs are the same, and where none matches.
        cosine, correlation: with its twin, of decoder directions and of activations.
    """

    a: str | None
    b: str | None
    kind: str
    site: str
    position: str
    effect_a: float | None
    effect_b: float | None
    twin: str | None = None
    cosine: Correlation | None = None
    correlation: Correlation | None = None


@dataclass(frozen=True)
class ComparedEdge:
    """An edge of one circuit or of both: names of its source and target, and its weight, in each circuit."""

    a: tuple[str, str] | None
    b: tuple[str, str] | None
    weight_a: float | None
    weight_b: float | None


@dataclass(frozen=True)
class Overlap:
    """How much two sets share.

    Attributes:
        shared, only_a, only_b: numbers of members.
        jaccard: None where both sets are empty.
        weighted_jaccard: None where a circuit has no |effect| at all, or where effects cannot be compared.
    """

    shared: Count
    only_a: Count
    only_b: Count
    jaccard: Share | None
    weighted_jaccard: Share | None

    @classmethod
    def of(cls, members: Iterable[tuple[float | None, float | None]], *, weighted: bool = True) -> "Overlap":
        """From the effect of each member in A and in B, None where a circuit lacks it."""
        rows = list(members)
        shared = sum(a is not None and b is not None for a, b in rows)
        only_a, only_b = (sum(row[other] is None for row in rows) for other in (1, 0))
        sums = [sum(abs(row[n] or 0.0) for row in rows) for n in (0, 1)]
        return cls(
            shared=shared,
            only_a=only_a,
            only_b=only_b,
            jaccard=shared / len(rows) if rows else None,
            weighted_jaccard=_ruzicka(rows, sums) if weighted and all(sums) else None,
        )


def _ruzicka(rows: list[tuple[float | None, float | None]], sums: list[float]) -> float:
    shares = [(abs(a or 0.0) / sums[0], abs(b or 0.0) / sums[1]) for a, b in rows]
    return sum(map(min, shares)) / sum(map(max, shares))


@dataclass(frozen=True)
class TaskFaithfulness:
    """F of one circuit on one task: the task's pairs with its metric and its reference.

    `model` is the model that the circuit was kept in: its own, or the other's where both have the same SAEs.
    """

    circuit: Which
    model: Which
    task: Which
    measured: Faithfulness


@dataclass(frozen=True)
class Comparison:
    """What two circuits share.

    Attributes:
        names: of the two circuits.
        metrics, units: of each one's effects.
        nodes: features and errors of either, the shared ones first, by falling |effect|.
        edges: edges of either, in the same order; tokens and the metric may be their ends.
        node_overlap, edge_overlap: of `nodes` and `edges`.
        spearman: rank correlation of the shared nodes' effects with their signs; None where effects cannot be compared,
            for fewer than 2 shared nodes, or where one circuit's effects are all equal.
        same_sign: share of the shared nodes whose effects have the same sign; None where effects cannot be compared or
            none is shared.
        faithfulness: each circuit on each task, for which both must be given with their model and pairs.
        merged: whether the positions of each circuit were merged to compare it with one that has none in common.
        other_saes: sites at which the circuits have different SAEs, so that features were matched.
        least_cosine, least_correlation: what a match must have; None where nothing was matched.
        notes: how the circuits were compared, in sentences.
        missing: what could not be measured, and why.
    """

    __repr__ = short_repr

    names: tuple[str, str]
    metrics: tuple[str, str]
    units: tuple[str, str]
    nodes: tuple[ComparedNode, ...]
    edges: tuple[ComparedEdge, ...]
    node_overlap: Overlap
    edge_overlap: Overlap
    spearman: Correlation | None
    same_sign: Share | None
    faithfulness: tuple[TaskFaithfulness, ...] = ()
    merged: tuple[bool, bool] = (False, False)
    other_saes: tuple[str, ...] = ()
    least_cosine: Correlation | None = None
    least_correlation: Correlation | None = None
    notes: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict, hash=False)

    def name(self, which: Which) -> str:
        """The name of one of the two."""
        return self.names["ab".index(which)]
