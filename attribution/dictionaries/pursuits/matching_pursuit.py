"""Matching pursuit: a sparse positive code, one coefficient at a time.

    a_i ← a_i + ⟨d_i, r⟩ / |d_i|²      of the direction with the largest ⟨d_i, r⟩ / |d_i|, if that is positive

A direction may be chosen again, so that a code of k steps has at most k features. k products with the decoder, for all
vectors together; |r| never grows. Source: Mallat & Zhang 1993.
"""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries.pursuits.greedy import Code, greedy


def matching_pursuit(
    x: Float[Tensor, "*batch d_in"],
    directions: Float[Tensor, "direction width"],
    *,
    k: int | Int[Tensor, "*batch"] | None = None,
    tolerance: float | None = None,
) -> Code:
    """The code of each vector x, less any bias, over the rows of a decoder; arguments as in `gradient_pursuit`.

    With a tolerance alone there are no more steps than directions.

    Raises:
        ValueError: neither k nor a tolerance, one out of range, or vectors of another width than the directions.
    """
    return greedy(x, directions, k, tolerance, _step, again=True)


def _step(
    atoms: Float[Tensor, "vector step width"],
    weight: Float[Tensor, "vector step"],
    residual: Float[Tensor, "vector width"],
) -> Float[Tensor, "vector step"]:
    newest = einsum(atoms[:, -1], residual, "vector width, vector width -> vector")
    return torch.cat([weight[:, :-1], newest[:, None]], 1)
