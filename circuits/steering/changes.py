"""Changes by name: what is done to which node, as in `blocks.2.hook_resid_post/368@subject:add=5`. At strength s:

    add=V      u + s·V               SITE/direction:add=V   the site writes s·V times the direction more
    set=V      s·V
    scale=V    (1 + s·(V − 1)) · u

Strength 1 is the change as it is written; strength 0 is no change at all, of a `set` too. With `max` behind it, V
counts maxima: `add=0.5max` adds half of the largest activation that the feature has on a given text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from attribution.splice.edits import Operation, add_along, scale
from circuits.ablation.node_names import NodeName, parts_of
from circuits.ablation.operation_names import MAKERS, finite_number
from graphs.short_repr import short_repr

DIRECTION: Final = "direction"
"""Stands where a node's name has the feature's number."""
_MAXIMUM: Final = "max"


@dataclass(frozen=True)
class ChangeName:
    """The text of a change, in parts. `node` is a node's name, that of the site's error where a direction is added."""

    node: str
    does: str
    amount: float
    of_maximum: bool
    is_direction: bool

    def of(self, node: NodeName) -> str:
        """The text of the same change with the node's whole name."""
        name = str(node)
        if self.is_direction:
            name = name.replace(f"{node.site}/error", f"{node.site}/{DIRECTION}", 1)
        return f"{name}:{self.does}={self.amount:g}{_MAXIMUM if self.of_maximum else ''}"


@dataclass(frozen=True)
class Change:
    """One change of one node.

    Attributes:
        text: as it may be written, with the node's whole name.
        node: a feature or an error; of a direction the error of its site, which it is added to.
        does: `add`, `set` or `scale`.
        amount: V.
        maximum: what V counts; None for units of the activation, or of the direction.
        direction: what is added, of the width of the site.
    """

    __repr__ = short_repr

    text: str
    node: NodeName
    does: str
    amount: float
    maximum: float | None = None
    direction: Float[Tensor, " width"] | None = None

    def at(self, strength: float) -> Operation:
        """The operation at a strength other than 0."""
        if self.does == "scale":
            return scale(1 + strength * (self.amount - 1))
        size = strength * self.amount * (1 if self.maximum is None else self.maximum)
        return MAKERS[self.does](size) if self.direction is None else add_along(self.direction, size)


def read_change(text: str) -> ChangeName:
    """The parts of a change's text; a ValueError says what is wrong with it."""
    node, colon, operation = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} says nothing to do. Write {text}:add=5, :set=0 or :scale=2.")
    does, _, number = operation.partition("=")
    of_maximum = number.endswith(_MAXIMUM)
    amount = finite_number(number.removesuffix(_MAXIMUM))
    if does not in MAKERS or amount is None:
        raise ValueError(
            f"{text!r}: no change {operation!r}. Write add=V, set=V or scale=V, with V a number, or, as in add=0.5max, "
            "a number of the feature's maxima."
        )
    before, _, position = node.partition("@")
    site, _, last = before.rpartition("/")
    is_direction = last == DIRECTION
    if is_direction:
        node = f"{site}/error{'@' if '@' in node else ''}{position}"
    _, index, _ = parts_of(node)
    if not index:
        raise ValueError(f"{text!r}: a token is no number. Steer features, errors and directions.")
    if is_direction and does != "add":
        raise ValueError(f"{text!r}: a direction can only be added, as in {site}/{DIRECTION}:add=1.")
    if index == "error" and not is_direction and does != "scale":
        raise ValueError(f"{text!r}: an error is a vector; it can only be scaled, or have a direction added to it.")
    if of_maximum and does == "scale":
        raise ValueError(f"{text!r}: a factor counts no maxima. Write scale=2, or add=1max.")
    return ChangeName(node, does, amount, of_maximum, is_direction)


def read_changes(texts: Sequence[str]) -> list[ChangeName]:
    """The parts of each; a ValueError if there are none."""
    if isinstance(texts, str) or not texts:
        raise ValueError("No changes: give a list of them, as in ['blocks.2.hook_resid_post/368@subject:add=5'].")
    return [read_change(text) for text in texts]
