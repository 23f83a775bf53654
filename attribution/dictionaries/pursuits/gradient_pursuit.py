"""Gradient pursuit, or inference-time optimisation (ITO): sparse positive codes by gradient steps as supports grow.

    add to the support S the direction with the largest ⟨d_i, r⟩ / |d_i|, if it is positive and not in S
    g_i = ⟨d_i, r⟩ for i in S, else 0;   v = Σ g_i d_i;   a ← max(0, a + |g|² / |v|² · g)       d of length 1

The step is of optimal length, but for the clip. k products with the decoder, for all vectors together. Equal to the
least-squares code where the chosen directions are orthogonal; near it elsewhere. Source: Blumensath & Davies 2008; for
SAEs Smith 2024.
"""

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries.pursuits.greedy import Code, greedy


def gradient_pursuit(
    x: Float[Tensor, "*batch d_in"],
    directions: Float[Tensor, "direction width"],
    *,
    k: int | Int[Tensor, "*batch"] | None = None,
    tolerance: float | None = None,
    excluded: Bool[Tensor, "*batch direction"] | None = None,
) -> Code:
    """The code of each vector x, less any bias, over the rows of a decoder.

    Args:
        k: most features of a code, or most for each vector. A coefficient that was clipped at 0 counts.
        tolerance: the search also ends where |x − Σ a_i d_i| is at most this share of |x|.
        excluded: True at directions that the code of a vector may not have.

    Raises:
        ValueError: neither k nor a tolerance, one out of range, or vectors of another width than the directions.
    """
    return greedy(x, directions, k, tolerance, _step, again=False, excluded=excluded)


def _step(
    atoms: Float[Tensor, "vector step width"],
    weight: Float[Tensor, "vector step"],
    residual: Float[Tensor, "vector width"],
) -> Float[Tensor, "vector step"]:
    slope = einsum(atoms, residual, "vector step width, vector width -> vector step")
    along = einsum(slope, atoms, "vector step, vector step width -> vector width").square().sum(-1)
    length = torch.where(along > 0, slope.square().sum(-1) / torch.where(along > 0, along, 1), 0)
    return (weight + length[:, None] * slope).relu()
