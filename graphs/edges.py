"""A directed, weighted edge of a circuit."""

from dataclasses import dataclass

from graphs.fields.quantities import Count, Magnitude, Share
from graphs.nodes import Node


@dataclass(frozen=True)
class Edge:
    """The direct effect of one node on another, over all examples.

    Attributes:
        weight: signed mean over all examples: how much the metric gains through this edge when the source takes its
            patch value, in units of the metric. An example without the edge counts as 0.
        mean_absolute: mean of |weight| over all examples; larger than |weight| where signs differ between examples.
            None if unknown.
        standard_error: of the mean; None for a single example, or if unknown.
        count: number of examples that have the edge; None if unknown.
        inclusion, inclusion_templates: as in `WeightedNode`.
    """

    source: Node
    target: Node
    weight: float
    mean_absolute: Magnitude | None = None
    standard_error: Magnitude | None = None
    count: Count | None = None
    inclusion: Share | None = None
    inclusion_templates: Share | None = None
