"""Nodes of a circuit: features, errors, tokens and the metric. A position is a place in the graph's `positions`."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, order=True)
class FeatureNode:
    """Feature `index` of the SAE at `site`, at one position."""

    kind: ClassVar[str] = "feature"
    site: str
    position: int
    index: int


@dataclass(frozen=True, order=True)
class ErrorNode:
    """What the SAE at `site` leaves out at one position: ε = x − D(E(x))."""

    kind: ClassVar[str] = "error"
    site: str
    position: int


@dataclass(frozen=True, order=True)
class TokenNode:
    """The token at one position."""

    kind: ClassVar[str] = "token"
    position: int


@dataclass(frozen=True, order=True)
class MetricNode:
    """What effects are measured on."""

    kind: ClassVar[str] = "metric"
    name: str


Node = FeatureNode | ErrorNode | TokenNode | MetricNode
