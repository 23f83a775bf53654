"""Edits: which nodes of a site change, where, and to what.

    NodeEdit   the named nodes change:   remove            u := its reference value
                                         set, add, scale   u := V, u + V, V · u
    KeepOnly   all other nodes change:   u := its reference value; kept nodes stay as this run computes them

The positions of the nodes may differ from row to row. `writing.py` turns edits into what the splice writes back. Some
nodes of an edit may be absent from a prompt (inactive, or at a position that the prompt lacks): `Touched` reports which
of them changed, and the caller decides whether that is an error. An `Intervention` (`interventions.py`) that changes
nothing is always an error.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graphs.short_repr import short_repr

EVERYWHERE: Final = -1
"""As position of a node: every spliced position of its row. As row, with that position: every row."""

ERROR: Final = -1
"""As index of a node: the site's error."""


@dataclass(frozen=True)
class Operation:
    """Maps a node's value in this run and its reference value to its new value.

    `for_errors` is False where the operation sets or adds a number: an error is a vector, so a number has no meaning.
    """

    __repr__ = short_repr

    label: str
    change: Callable[[Tensor, Tensor], Tensor]
    for_errors: bool = True
    uses_reference: bool = False


REMOVE: Final = Operation("remove", lambda _now, reference: reference, uses_reference=True)
KEEP_ONLY: Final = Operation("keep-only", lambda _now, reference: reference, uses_reference=True)
"""Acts on all nodes except the named ones: `edit_of` makes it a `KeepOnly`."""


def set_to(value: float) -> Operation:
    """u := value."""
    return Operation(f"set={value:g}", lambda now, _: torch.full_like(now, value), for_errors=False)


def add(amount: float) -> Operation:
    """u := u + amount."""
    return Operation(f"add={amount:g}", lambda now, _: now + amount, for_errors=False)


def add_along(direction: Float[Tensor, " width"], amount: float) -> Operation:
    """e := e + amount · direction, of an error: the site then writes that much more along the direction."""
    return Operation(f"add={amount:g}", lambda now, _: now + amount * direction.to(now))


def scale(factor: float) -> Operation:
    """u := factor · u."""
    return Operation(f"scale={factor:g}", lambda now, _: now * factor)


@dataclass(frozen=True)
class ReferenceValues:
    """Reference values of one site's features and errors, dense, or tensors that broadcast to them.

    Attributes:
        features: activations in the frame of the edited run; where `offset` is given, what each feature writes along
            its decoder direction (scale · f, with the scale of the reference's own frame).
        errors: x − D(f).
        offset: scale · b_dec + mean of the reference's own frame; None where the edited run's offset stays.
    """

    features: Float[Tensor, "*#shape"]
    errors: Float[Tensor, "*#shape_of_errors"]
    offset: Float[Tensor, "*#shape_of_errors"] | None = None

    @classmethod
    def zero(cls) -> "ReferenceValues":
        """0 for every feature and error."""
        return cls(torch.zeros(()), torch.zeros(()))

    def repeated(self, count: int) -> "ReferenceValues":
        """The values of a batch that holds every row `count` times, one copy of all rows after the other."""

        def each(values: Tensor) -> Tensor:
            return values.repeat(count, 1, 1) if values.ndim == 3 and len(values) > 1 else values

        return ReferenceValues(
            each(self.features), each(self.errors), None if self.offset is None else each(self.offset)
        )


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
        everywhere = self.pos == EVERYWHERE
        mask[:, :, self.index[everywhere & (self.row == EVERYWHERE)]] = True
        in_row = everywhere & (self.row != EVERYWHERE)
        mask[self.row[in_row], :, self.index[in_row]] = True
        here = self._within(positions, start)
        mask[self.row[here], self.pos[here] - start, self.index[here]] = True
        return mask

    def found_in(self, changed: Bool[Tensor, "rows positions columns"], start: int = 0) -> Int[Tensor, " node"]:
        """Numbers of the nodes that have an entry where `changed` is True."""
        free = self.pos == EVERYWHERE
        in_rows = changed.any(1)
        row, index = self.row[free], self.index[free]
        anywhere = torch.where(row == EVERYWHERE, in_rows.any(0)[index], in_rows[row.clamp(min=0), index])
        here = self._within(changed.shape[1], start)
        placed = changed[self.row[here], self.pos[here] - start, self.index[here]]
        return torch.cat([self.node[free][anywhere], self.node[here][placed]]).unique()

    def _within(self, positions: int, start: int) -> Bool[Tensor, " entry"]:
        return (self.pos >= start) & (self.pos < start + positions)


@dataclass(frozen=True)
class Touched:
    """What an edit changed: the numbers of its nodes that did something, and how many values differ in all."""

    nodes: Int[Tensor, " node"]
    values: int


def changed_values(
    before: tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]],
    after: tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]],
) -> Bool[Tensor, "row pos columns"]:
    """Where features differ between before and after, and in the last column where errors do."""
    errors = (before[1] != after[1]).any(-1, keepdim=True)
    return torch.cat([before[0] != after[0], errors], dim=-1)


@dataclass(frozen=True)
class NodeEdit:
    """One operation on the named nodes of a site.

    `reference` is in the frame of the edited run. `start` is the position of the first column of the activations that
    the edit is applied to (above 0 where a cache holds the positions before).
    """

    site: str
    nodes: SiteNodes
    operation: Operation
    reference: ReferenceValues
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
        chosen = self.nodes.mask(rows, positions, d_sae, self.start) & spliced[..., None]

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
        changed = changed_values(before, after)
        return Touched(self.nodes.found_in(changed, self.start), int(changed.sum()))

    def __str__(self) -> str:
        return f"{self.operation.label} (on {len(self.nodes.node.unique())} node(s) of {self.site})"


@dataclass(frozen=True)
class KeepOnly:
    """Every feature and error of a site takes its reference value, except those kept.

    Attributes:
        nodes: the nodes that are kept; with `complement`, the only ones that are not.
        all_errors: True keeps every error and False none, whatever `nodes` says; None goes by `nodes`.
        start: as for `NodeEdit`.
    """

    site: str
    nodes: SiteNodes
    reference: ReferenceValues
    complement: bool = False
    all_errors: bool | None = None
    start: int = 0

    def at(self, start: int) -> "KeepOnly":
        """The same edit for columns that begin at another position."""
        return replace(self, start=start)

    def kept(self, rows: int, positions: int, d_sae: int) -> Bool[Tensor, "rows positions columns"]:
        """True at the nodes that keep what this run computes; the last column is the error's."""
        kept = self.nodes.mask(rows, positions, d_sae, self.start) ^ self.complement
        if self.all_errors is not None:
            kept[..., -1] = self.all_errors
        return kept

    def __str__(self) -> str:
        return f"keep-only (all of {self.site} but {len(self.nodes.node.unique())} node(s))"


def edit_of(operation: Operation, site: str, nodes: SiteNodes, reference: ReferenceValues) -> NodeEdit | KeepOnly:
    """The edit that applies an operation to nodes of a site."""
    if operation is KEEP_ONLY:
        return KeepOnly(site, nodes, reference)
    return NodeEdit(site, nodes, operation, reference)
