"""Nodes of a circuit: features, errors, tokens and the metric, and their names.

`position` is an index: into the tokens of one prompt, or into the `positions` of a circuit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from graphs.fields.quantities import Count

EVERYWHERE: Final = "everywhere"
"""The name of the one column of a circuit without positions: a node is wherever its feature is active."""

VARIOUS: Final = "various"
"""Stands for the tokens of a column of which none makes up half."""


@dataclass(frozen=True, order=True, slots=True)
class FeatureNode:
    """Feature `index` of the SAE at `site`, at one position."""

    kind: ClassVar[str] = "feature"
    site: str
    position: Count
    index: Count


@dataclass(frozen=True, order=True, slots=True)
class ErrorNode:
    """The reconstruction error of the SAE at `site`, at one position: ε = x − D(E(x))."""

    kind: ClassVar[str] = "error"
    site: str
    position: Count


@dataclass(frozen=True, order=True, slots=True)
class TokenNode:
    """The token at one position."""

    kind: ClassVar[str] = "token"
    position: Count


@dataclass(frozen=True, order=True, slots=True)
class MetricNode:
    """The metric that effects are measured on."""

    kind: ClassVar[str] = "metric"
    name: str


Node = FeatureNode | ErrorNode | TokenNode | MetricNode


def short_site(name: str) -> str:
    """`L3 mlp_out` for `blocks.3.hook_mlp_out`, also where a node's name starts with the site."""
    return re.sub(r"^blocks\.(\d+)\.(?:(?:attn\.|mlp\.)?hook_|(?=mlp\b))", r"L\1 ", name)


def node_name(node: FeatureNode | ErrorNode | TokenNode, position: str | None = None) -> str:
    """A node's name, such as `blocks.3.hook_mlp_out/117@verb`; without a name of the position, its index: `...@4`."""
    at = node.position if position is None else position
    if isinstance(node, TokenNode):
        return f"token@{at}"
    return f"{node.site}/{node.index if isinstance(node, FeatureNode) else 'error'}@{at}"


def labels_at(names: Sequence[str], position: int) -> tuple[str, str, str]:
    """Every name by which a circuit may know a position of a prompt whose positions have these names.

    Its own name, its distance from the end (−1 is the last position), and `EVERYWHERE`.
    """
    return names[position], str(position - len(names)), EVERYWHERE
