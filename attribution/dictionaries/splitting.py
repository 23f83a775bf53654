"""The splitting test: which features are composites of others, by their decoder directions alone.

    u_i ≈ Σ a_j v_j      at most `parts` of the v_j, a_j > 0, none with cos(u_i, v_j) > .95

u_i are a dictionary's directions and v_j those of a larger dictionary, or of the same one, all of length 1; the code is
that of gradient pursuit. A feature for "a and b" splits into the features for a and for b where the larger dictionary
has both. Where an atom never occurs alone, as a child without its parent, no dictionary has it, and nothing splits.

One product with the larger decoder for each part and batch of features. Source: this project; in the spirit of the
meta-SAEs of Bussmann et al. 2024.
"""

from dataclasses import dataclass
from typing import Final

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.pursuits.gradient_pursuit import gradient_pursuit
from attribution.dictionaries.pursuits.greedy import NONE, unit_directions
from graphs.short_repr import short_repr

SAME: Final = 0.95
"""Directions with a larger cosine are one feature, and no part of each other."""
_AT_ONCE: Final = 256


@dataclass(frozen=True, eq=False)
class Splitting:
    """What the directions of features split into.

    Attributes:
        residual: |u − Σ a v| of each feature, between 0 and 1.
        parts: the features of the larger dictionary in each code, in the order they were chosen; −1 for none.
    """

    __repr__ = short_repr

    residual: Float[Tensor, " feature"]
    parts: Int[Tensor, "feature part"]

    def composites(self, residual: float = 0.3) -> Bool[Tensor, " feature"]:
        """Features that are at least two others together, but for a residual of at most this size."""
        return (self.residual <= residual) & ((self.parts != NONE).sum(1) >= 2)


def splitting(sae: SAE, larger: SAE | None = None, *, parts: int = 2) -> Splitting:
    """Split every feature's decoder direction over those of a larger dictionary, by default over the others of its own.

    Raises:
        ValueError: fewer than two parts, or dictionaries of activations of different width.

    Examples:
        >>> found = splitting(sae)
        >>> found.parts[found.composites()].shape[1]
        2
    """
    if parts < 2:
        raise ValueError(f"A composite has at least two parts; got parts={parts}.")
    larger = sae if larger is None else larger
    if larger.d_in != sae.d_in:
        raise ValueError(
            f"The dictionaries hold directions of width {sae.d_in} and {larger.d_in}: give two of the same site."
        )
    own, others = unit_directions(sae.W_dec), unit_directions(larger.W_dec)
    residual, chosen = [], []
    for directions in own.split(_AT_ONCE):
        code = gradient_pursuit(directions, others, k=parts, excluded=directions @ others.T > SAME)
        written = einsum(code.coefficients, others, "feature direction, direction d_in -> feature d_in")
        residual.append((directions - written).norm(dim=-1))
        steps = torch.full((len(directions), parts), NONE, device=own.device)
        steps[:, : code.chosen.shape[1]] = code.chosen
        chosen.append(steps)
    return Splitting(torch.cat(residual), torch.cat(chosen))
