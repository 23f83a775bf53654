"""Nodes of a circuit: features, errors, tokens and the metric. A position is a place in the graph's `positions`."""

import re
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


def short_site(name: str) -> str:
    """`blocks.3.hook_mlp_out` as `L3 mlp_out`; also at the start of a node's name."""
    return re.sub(r"^blocks\.(\d+)\.(?:(?:attn\.|mlp\.)?hook_|(?=mlp\b))", r"L\1 ", name)


def node_name(node: FeatureNode | ErrorNode | TokenNode, position: str | None = None) -> str:
    """`blocks.3.hook_mlp_out/117@verb` at a position of that name; without one its number stands there."""
    at = node.position if position is None else position
    if isinstance(node, TokenNode):
        return f"token@{at}"
    return f"{node.site}/{node.index if isinstance(node, FeatureNode) else 'error'}@{at}"
