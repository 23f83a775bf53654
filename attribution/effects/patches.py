"""Patches of single nodes: what setting one node to its patch value adds to its site's output.

    do(u = p_u):  y_s at u's position  +=  (p_u − c_u) · W_dec[u]     for a feature, under the clean run's frame
                                       +=  ε_patch − ε_clean          for an error
    residual stream into block 0       +=  patch embedding − clean    for a token

Nodes whose two values are equal have no patch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation, numpy_of
from attribution.splice.node_keys import node_keys
from attribution.splice.recording import FeatureChange
from attribution.splice.spliced_model import TOKENS


@dataclass(frozen=True)
class Patches:
    """Patches of one kind at one site: patch n adds `amount(n)` to the site's output at (row[n], pos[n]).

    `index` is the feature's, −1 for errors and tokens. `number` counts the site's patches of that kind.
    """

    site: str
    kind: str
    row: Int[Tensor, " patch"]
    pos: Int[Tensor, " patch"]
    index: Int[Tensor, " patch"]
    number: Int[Tensor, " patch"]
    amount: Callable[[Int[Tensor, " chosen"]], Float[Tensor, "chosen width"]]

    def __len__(self) -> int:
        return len(self.row)

    def keys(self, situation: Situation) -> np.ndarray:
        """The nodes' keys, as in `Effects.keys`."""
        return keys_of(situation, self.site, self.kind, self.row, self.pos, self.index)

    def only(self, chosen: Bool[Tensor, " patch"]) -> "Patches":
        """Some of the patches."""
        (place,) = torch.nonzero(chosen, as_tuple=True)
        return replace(
            self,
            row=self.row[place],
            pos=self.pos[place],
            index=self.index[place],
            number=self.number[place],
            amount=lambda n: self.amount(place[n]),
        )

    def outputs(
        self, situation: Situation, chosen: Int[Tensor, " chosen"], share: Float[Tensor, " chosen"] | float = 1.0
    ) -> Float[Tensor, "chosen pos width"]:
        """The site's clean output with each chosen patch made, or that share of it."""
        row = self.row[chosen]
        output = self._recorded(situation)[row]
        output[torch.arange(len(row), device=row.device), self.pos[chosen]] = self.written(situation, chosen, share)
        return output

    def written(
        self, situation: Situation, chosen: Int[Tensor, " chosen"], share: Float[Tensor, " chosen"] | float = 1.0
    ) -> Float[Tensor, "chosen width"]:
        """What `outputs` holds at each patch's own position."""
        clean, amount = self._recorded(situation)[self.row[chosen], self.pos[chosen]], self.amount(chosen)
        amount = amount * torch.as_tensor(share, dtype=amount.dtype, device=amount.device).reshape(-1, 1)
        return (clean.to(amount.dtype) + amount).to(clean.dtype)

    def _recorded(self, situation: Situation) -> Float[Tensor, "row pos width"]:
        clean = situation.clean
        return (clean.entry if self.site == TOKENS else clean.sites[self.site].output).detach()


def all_patches(situation: Situation, only: np.ndarray | None = None) -> list[Patches]:
    """Patches of every node whose clean and patch values differ, or of those whose keys are in `only`."""
    found: list[Patches] = []
    if situation.changes.entry is not None:
        found.append(_whole_vectors(TOKENS, "token", situation.changes.entry - situation.clean.entry.detach()))
    for site, change in situation.changes.features.items():
        found.append(feature_patches(situation, site, change))
        error = situation.error_change(site)
        if error is not None:
            found.append(_whole_vectors(site, "error", error))
    if only is not None:
        found = [p.only(torch.from_numpy(np.isin(p.keys(situation), only)).to(p.row.device)) for p in found]
    return [p for p in found if len(p)]


def feature_patches(situation: Situation, site: str, change: FeatureChange) -> Patches:
    """Patches that give features of a site new values."""
    number = torch.arange(len(change.row), device=change.row.device)

    def amount(chosen: Tensor) -> Tensor:
        return situation.feature_writes(site, change.only(chosen))

    return Patches(site, "feature", change.row, change.pos, change.index, number, amount)


def keys_of(
    situation: Situation,
    site: str,
    kind: str,
    row: Int[Tensor, " node"],
    pos: Int[Tensor, " node"],
    index: Int[Tensor, " node"],
) -> np.ndarray:
    """Keys, as in `Effects.keys`, of nodes of one kind at one site; `index` is −1 for errors and tokens."""
    place = (TOKENS, *situation.spliced.sites).index(site)
    columns = (numpy_of(c) for c in (situation.batch.example[row], pos, index))
    return node_keys(*columns, site=place, kind=kind)


def _whole_vectors(site: str, kind: str, difference: Float[Tensor, "row pos width"]) -> Patches:
    row, pos = torch.nonzero((difference != 0).any(-1), as_tuple=True)
    number = torch.arange(len(row), device=row.device)
    return Patches(site, kind, row, pos, torch.full_like(row, -1), number, lambda n: difference[row[n], pos[n]])
