"""Activations made of known atoms that occur together: in pairs of equals, or as a parent and its child.

    x = Σ_i s_i e_i        e_i orthonormal, s_i = 0 or 1 + .2 · normal noise

Atoms come in couples (a, b), each couple present with probability `rate`, independently. Where it is present:

    pairs          both with probability p; otherwise only a or only b, equally likely
    hierarchies    a always (the parent); b as well (the child) with probability p

A composite is the direction (e_a + e_b) / √2 of a couple. Its cosine with either atom is .71.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

Kind = Literal["pairs", "hierarchies"]


@dataclass(frozen=True)
class AtomWorld:
    """Couples of atoms. `together` is p; `seed` draws the directions."""

    kind: Kind
    together: float
    couples: int = 6
    rate: float = 0.15
    d_in: int = 16
    seed: int = 0

    @cached_property
    def basis(self) -> Float[Tensor, "d_in d_in"]:
        """Orthonormal directions, the atoms first."""
        draw = torch.randn(self.d_in, self.d_in, generator=torch.Generator().manual_seed(self.seed))
        return torch.linalg.qr(draw)[0]

    @property
    def atoms(self) -> Float[Tensor, "atom d_in"]:
        """Their directions; those of couple n are rows 2n and 2n + 1."""
        return self.basis[: 2 * self.couples]

    @property
    def composites(self) -> Float[Tensor, "couple d_in"]:
        """The direction of both atoms of each couple, of length 1."""
        return rearrange(self.atoms, "(couple two) d_in -> couple two d_in", two=2).sum(1) / 2**0.5

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "sample d_in"]:
        """Activations."""
        present = torch.rand(count, self.couples, generator=generator) < self.rate
        chance = torch.rand(count, self.couples, generator=generator)
        both = chance < self.together
        only_a = ~both if self.kind == "hierarchies" else ~both & (chance < (1 + self.together) / 2)
        only_b = ~both & ~only_a
        on = torch.stack([(both | only_a) & present, (both | only_b) & present], -1).flatten(1)
        size = 1 + 0.2 * torch.randn(on.shape, generator=generator)
        return (on * size) @ self.atoms
