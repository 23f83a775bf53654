"""A directed, weighted edge of a circuit."""

from dataclasses import dataclass

from graphs.nodes import Node


@dataclass(frozen=True)
class Edge:
    """The direct effect of one node on another, over all examples.

    Attributes:
        weight: signed mean over all examples, in units of the metric: what the metric gains through this edge when the
            source takes its patch value. 0 counts where an example lacks the edge.
        mean_absolute: mean of |weight|; above |weight| where signs differ between examples. None if not known.
        standard_error: of the mean; None with one example, or if not known.
        count: examples that have the edge; None if not known.
    """

    source: Node
    target: Node
    weight: float
    mean_absolute: float | None = None
    standard_error: float | None = None
    count: int | None = None
