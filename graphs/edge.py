"""A directed, weighted edge of a circuit."""

from dataclasses import dataclass

from graphs.node import Node


@dataclass(frozen=True)
class Edge:
    """`weight`: what the target (the metric: in its units) gains through this edge at the source's patch value."""

    source: Node
    target: Node
    weight: float
