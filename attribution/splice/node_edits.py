"""Change many nodes of one site at once, at positions that may differ from row to row.

    remove            u := its reference value (0, a mean, its value in the patch prompt)
    keep only         every other node := its reference value; what is kept stays as this very run makes it
    set, add, scale   u := V, u + V, V · u

An `Intervention` that changes nothing is an error. Of a set of nodes some may be absent from a prompt (inactive, or
at a position that it lacks): `touched` says which of them changed anything, and whoever made the set judges that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EVERYWHERE: Final = -1
"""As row and position of a node: every row, every spliced position."""

ERROR: Final = -1
"""As index of a node: the site's error."""


@dataclass(frozen=True)
class Operation:
    """From a node's value in this run and its reference value to the new one. `outside`: of all nodes but the set's.

    `for_errors` is False where the result is no sensible vector: an error is one, and a number cannot be put in.
    """

    label: str
    change: Callable[[Tensor, Tensor], Tensor]
    outside: bool = False
    for_errors: bool = True
    uses_reference: bool = False


REMOVE: Final = Operation("remove", lambda _now, reference: reference, uses_reference=True)
KEEP_ONLY: Final = Operation("keep-only", lambda _now, reference: reference, outside=True, uses_reference=True)


def set_to(value: float) -> Operation:
    """u := value."""
    return Operation(f"set={value:g}", lambda now, _: torch.full_like(now, value), for_errors=False)


def add(amount: float) -> Operation:
    """u := u + amount."""
    return Operation(f"add={amount:g}", lambda now, _: now + amount, for_errors=False)


def scale(factor: float) -> Operation:
    """u := factor · u."""
    return Operation(f"scale={factor:g}", lambda now, _: now * factor)


@dataclass(frozen=True)
class Reference:
    """Reference values of one site's features and errors, or what broadcasts to them."""

    features: Float[Tensor, "*#shape"]
    errors: Float[Tensor, "*#shape_of_errors"]

    @classmethod
    def zero(cls) -> "Reference":
        return cls(torch.zeros(()), torch.zeros(()))


@dataclass(frozen=True)
class SiteNodes:
    """Nodes of one site. Entry n is that of node `node[n]` at (row[n], pos[n]); both may be `EVERYWHERE`.

    `index` is the feature's, or `ERROR`. A node has one entry for each row that it stands in.
    """

    node: Int[Tensor, " entry"]
    row: Int[Tensor, " entry"]
    pos: Int[Tensor, " entry"]
    index: Int[Tensor, " entry"]

    @classmethod
    def of(cls, entries: Iterable[tuple[int, int, int, int]], device: torch.device | str = "cpu") -> "SiteNodes":
        """From (node, row, position, index) of each entry."""
        table = torch.tensor(list(entries), dtype=torch.long, device=device).reshape(-1, 4)
        return cls(*table.unbind(1))

    def mask(self, rows: int, positions: int, d_sae: int, start: int = 0) -> Bool[Tensor, "rows positions columns"]:
        """True at the nodes; the last column is the error's. `start` is the position of the first column."""
        mask = torch.zeros(rows, positions, d_sae + 1, dtype=torch.bool, device=self.index.device)
        mask[:, :, self.index[self.pos == EVERYWHERE]] = True
        here = self._within(positions, start)
        mask[self.row[here], self.pos[here] - start, self.index[here]] = True
        return mask

    def found_in(self, changed: Bool[Tensor, "rows positions columns"], start: int = 0) -> Int[Tensor, " node"]:
        """Numbers of the nodes that have an entry where `changed` is True."""
        free = self.pos == EVERYWHERE
        anywhere = changed.flatten(0, 1).any(0)
        here = self._within(changed.shape[1], start)
        placed = changed[self.row[here], self.pos[here] - start, self.index[here]]
        return torch.cat([self.node[free][anywhere[self.index[free]]], self.node[here][placed]]).unique()

    def _within(self, positions: int, start: int) -> Bool[Tensor, " entry"]:
        return (self.pos >= start) & (self.pos < start + positions)


@dataclass(frozen=True)
class Touched:
    """What an edit changed: the numbers of its nodes that did something, and how many values differ in all."""

    nodes: Int[Tensor, " node"]
    values: int


@dataclass(frozen=True)
class NodeEdit:
    """One operation on nodes of one site. `start`: the position of the first column of what it is applied to."""

    site: str
    nodes: SiteNodes
    operation: Operation
    reference: Reference
    start: int = 0

    def at(self, start: int) -> "NodeEdit":
        """The same edit for columns that begin at another position."""
        return replace(self, start=start)

    def applied(
        self,
        features: Float[Tensor, "row pos d_sae"],
        error: Float[Tensor, "row pos width"],
        spliced: Bool[Tensor, "row pos"],
    ) -> tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]]:
        """Features and error afterwards; only spliced positions change."""
        rows, positions, d_sae = features.shape
        named = self.nodes.mask(rows, positions, d_sae, self.start)
        chosen = (~named if self.operation.outside else named) & spliced[..., None]

        def changed(old: Tensor, reference: Tensor, where: Tensor) -> Tensor:
            if not where.any():
                return old
            like = reference.to(device=old.device, dtype=old.dtype).expand_as(old)
            return torch.where(where, self.operation.change(old, like), old)

        return (
            changed(features, self.reference.features, chosen[..., :-1]),
            changed(error, self.reference.errors, chosen[..., -1:]),
        )

    def touched(self, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Touched:
        """What differs between features and errors before and after."""
        errors = (before[1] != after[1]).any(-1, keepdim=True)
        changed = torch.cat([before[0] != after[0], errors], dim=-1)
        return Touched(self.nodes.found_in(changed, self.start), int(changed.sum()))

    def __str__(self) -> str:
        return f"{self.operation.label} (on {len(self.nodes.node.unique())} node(s) of {self.site})"
