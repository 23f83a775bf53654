"""The best positive coefficients on a given support: least squares with a >= 0.

    minimise |x − Σ_{i ∈ S} a_i d_i|² over a >= 0
    in turn for each i of S: a_i ← max(0, a_i + ⟨d_i, r⟩ / |d_i|²), until no change exceeds 1e-5 · |x|

Coordinate descent on the support's Gram matrix, all vectors at once; it converges to the minimum, which is unique where
the directions of S are independent. A coefficient may end at 0.
"""

from typing import Final

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries.pursuits.greedy import unit_directions

SWEEPS: Final = 1000
"""Most sweeps over the support."""
SETTLED: Final = 1e-5


@torch.no_grad()
def refitted(
    x: Float[Tensor, "*batch width"],
    directions: Float[Tensor, "direction width"],
    support: Bool[Tensor, "*batch direction"],
) -> Float[Tensor, "*batch direction"]:
    """The coefficients, in units of the directions; 0 outside the support."""
    flat, within = x.reshape(-1, x.shape[-1]).to(directions.dtype), support.reshape(-1, support.shape[-1])
    most = int(within.sum(1).max()) if len(within) else 0
    index = within.to(torch.uint8).topk(most, dim=1).indices
    held, unit, size = within.gather(1, index), unit_directions(directions), flat.norm(dim=-1, keepdim=True)
    atoms = unit[index] * held[..., None]
    gram = einsum(atoms, atoms, "vector step width, vector other width -> vector step other")
    fit, weight = einsum(atoms, flat, "vector step width, vector width -> vector step"), flat.new_zeros(index.shape)
    for _ in range(SWEEPS):
        before = weight.clone()
        for step in range(most):
            slope = fit[:, step] - einsum(gram[:, step], weight, "vector step, vector step -> vector")
            weight[:, step] = (weight[:, step] + slope).relu()
        if ((weight - before).abs() <= SETTLED * size).all():
            break
    lengths = directions.norm(dim=1).clamp(min=torch.finfo(directions.dtype).tiny)
    return directions.new_zeros(within.shape).scatter(1, index, weight / lengths[index]).reshape(support.shape)
