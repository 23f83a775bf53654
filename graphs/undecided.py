"""Effects that rounding decides: a gate is so close to its threshold that float64 does not say which way it falls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphs.fields.quantities import Count
from graphs.nodes import ErrorNode, FeatureNode, TokenNode
from graphs.plain_data import dataclass_from_plain, node_from_plain
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class UndecidedEffect:
    """The two values of one node's effect in one example, in units of the metric.

    Attributes:
        closed, opened: with gates within rounding closed, and open.
    """

    node: FeatureNode | ErrorNode | TokenNode
    example: Count
    closed: float
    opened: float


@dataclass(frozen=True)
class EffectsInRounding:
    """Exact effects that rounding could have decided, counted once per example.

    Attributes:
        repeated: how many were measured again in float64.
        undecided: how many of these float64 does not decide either: they are in no ranking.
        listed: some of the undecided ones, those whose two values are furthest apart first.
        near: how many, weaker ones, were not measured again: so many repeats would have cost too much.
    """

    __repr__ = short_repr

    repeated: Count
    undecided: Count
    listed: tuple[UndecidedEffect, ...] = ()
    near: Count = 0

    def __post_init__(self) -> None:
        if len(self.listed) > self.undecided:
            raise ValueError(f"{len(self.listed)} undecided effects are listed, of {self.undecided}.")


def undecided_from_plain(content: Mapping[str, Any]) -> UndecidedEffect:
    """The inverse of `as_plain_data`; fields that do not fit are a ValueError."""
    return dataclass_from_plain(UndecidedEffect, content, node=node_from_plain)


def in_rounding_from_plain(content: Mapping[str, Any]) -> EffectsInRounding:
    """The inverse of `as_plain_data`; fields that do not fit are a ValueError."""
    return dataclass_from_plain(EffectsInRounding, content, listed=undecided_from_plain)
