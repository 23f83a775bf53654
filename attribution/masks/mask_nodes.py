"""The nodes that carry masks: a feature, or an error, of one site in one column of positions.

A *column* gathers positions of prompts: those with one role, those at one distance from the end, or all of them. A node
has one mask, wherever in its column it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.splice.edits import ERROR


@dataclass(frozen=True)
class MaskNodes:
    """Node n is feature `index[n]` (or the error, where it is `ERROR`) of `sites[site[n]]` in column `column[n]`."""

    sites: tuple[str, ...]
    site: Int[np.ndarray, " node"]
    column: Int[np.ndarray, " node"]
    index: Int[np.ndarray, " node"]

    def __len__(self) -> int:
        return len(self.site)

    @classmethod
    def of(cls, sites: Sequence[str], nodes: Sequence[tuple[str, int, int]]) -> "MaskNodes":
        """From the site, column and index of each node.

        Raises:
            ValueError: a node occurs twice.
            LookupError: a node of a site that is not among `sites`.
        """
        place = {site: n for n, site in enumerate(sites)}
        if unknown := sorted({site for site, _, _ in nodes} - set(place)):
            raise LookupError(f"No SAE is spliced in at {unknown[0]!r}. Spliced sites: {', '.join(sites)}.")
        if len(set(nodes)) != len(nodes):
            raise ValueError("A node occurs twice among the nodes that carry masks.")
        table = np.array([(place[site], column, index) for site, column, index in nodes], np.int64).reshape(-1, 3)
        return cls(tuple(sites), *table.T)


@dataclass(frozen=True)
class NodeAddresses:
    """Where the nodes of one site stand in a batch.

    `address` = column · (d_sae + 1) + index is sorted, with d_sae as the index of an error; `number[n]` is the node at
    address[n]. `column` is that of each position, −1 where it has none.
    """

    address: Int[Tensor, " node"]
    number: Int[Tensor, " node"]
    column: Int[Tensor, "row pos"]
    d_sae: int

    @classmethod
    def of(cls, nodes: MaskNodes, site: str, column: Int[Tensor, "row pos"], d_sae: int) -> "NodeAddresses":
        """The nodes of one site, for a batch whose positions lie in the given columns."""
        numbers = np.flatnonzero(nodes.site == nodes.sites.index(site))
        index = np.where(nodes.index[numbers] == ERROR, d_sae, nodes.index[numbers])
        address = nodes.column[numbers] * (d_sae + 1) + index
        order = np.argsort(address)
        sorted_address, sorted_number = (torch.from_numpy(a[order]).to(column.device) for a in (address, numbers))
        return cls(sorted_address, sorted_number, column, d_sae)

    def numbers(self, place: Int[Tensor, " entry"], index: Int[Tensor, " entry"]) -> Int[Tensor, " entry"]:
        """The node of each entry at a position (numbered through the rows) and index; −1 where there is none."""
        column = self.column.flatten()[place]
        if len(self.address) == 0:
            return torch.full_like(place, -1)
        wanted = column * (self.d_sae + 1) + index
        found = torch.searchsorted(self.address, wanted).clamp(max=len(self.address) - 1)
        return torch.where((self.address[found] == wanted) & (column >= 0), self.number[found], -1)


@dataclass(frozen=True)
class NodeMask:
    """The λ of one site's nodes, from one mask for each node, or for each row and node; others have λ = 0.

    `mask` has one entry more than there are nodes: the last is 0.
    """

    mask: Float[Tensor, "row_or_one node_and_none"]
    addresses: NodeAddresses

    def of_features(self, key: Int[Tensor, " entry"]) -> Float[Tensor, " entry"]:
        """λ of the features at these entries of [row, position, feature]."""
        place = key.div(self.addresses.d_sae, rounding_mode="floor")
        return self._at(place, key - place * self.addresses.d_sae)

    def of_errors(self) -> Float[Tensor, "row pos"]:
        """λ of the error at each position."""
        places = torch.arange(self.addresses.column.numel(), device=self.mask.device)
        found = self._at(places, torch.full_like(places, self.addresses.d_sae))
        return found.view_as(self.addresses.column)

    def _at(self, place: Int[Tensor, " entry"], index: Int[Tensor, " entry"]) -> Float[Tensor, " entry"]:
        """By `index_select`, whose gradient is summed in one order, whatever the number of threads."""
        columns = self.mask.shape[1]
        number = self.addresses.numbers(place, index) % columns  # none: −1, the last
        if len(self.mask) == 1:
            return self.mask[0].index_select(0, number)
        row = place.div(self.addresses.column.shape[1], rounding_mode="floor")
        return self.mask.flatten().index_select(0, row * columns + number)
