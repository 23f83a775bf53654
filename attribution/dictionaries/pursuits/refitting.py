"""The best positive coefficients on a given support: least squares with a >= 0.

    minimise |x − Σ_{i ∈ S} a_i d_i|² over a >= 0;   g_i = ⟨d_i, r⟩
    F = S;   solve for a on F, with a = 0 elsewhere;   wrong: i of F with a_i < 0, i of S − F with g_i > 0
    move what is wrong to the other side, all of it, or after three rounds without progress only the last;   repeat

Block principal pivoting: ends at the minimum, which is unique where the directions of S are independent. All vectors at
once, in float64, with 1e-6 on the diagonal for those that are not. A coefficient may end at 0.
Source: Júdice & Pires 1994; Kim & Park 2011.
"""

from typing import Final

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries.pursuits.greedy import unit_directions

ROUNDS: Final = 5000
PATIENCE: Final = 3
RIDGE: Final = 1e-6
SMALL: Final = 1e-8
"""Of |x|: coefficients and slopes below are 0."""


@torch.no_grad()
def refitted(
    x: Float[Tensor, "*batch d_in"],
    directions: Float[Tensor, "direction width"],
    support: Bool[Tensor, "*batch direction"],
) -> Float[Tensor, "*batch direction"]:
    """The coefficients, in units of the directions; 0 outside the support.

    Raises:
        RuntimeError: the search for a vector's coefficients did not end.
    """
    flat, within = x.reshape(-1, x.shape[-1]).double(), support.reshape(-1, support.shape[-1])
    most = int(within.sum(1).max()) if len(within) else 0
    index = within.to(torch.uint8).topk(most, dim=1).indices
    held = within.gather(1, index)
    atoms = unit_directions(directions.double())[index] * held[..., None]
    gram = einsum(atoms, atoms, "vector step width, vector other width -> vector step other")
    fit = einsum(atoms, flat, "vector step width, vector width -> vector step")
    weight = _positive_least_squares(gram, fit, held, SMALL * flat.norm(dim=1, keepdim=True))
    lengths = directions.double().norm(dim=1).clamp(min=torch.finfo(directions.dtype).tiny)
    found = torch.zeros_like(within, dtype=weight.dtype).scatter(1, index, weight / lengths[index])
    return found.to(directions.dtype).reshape(support.shape)


def _positive_least_squares(
    gram: Float[Tensor, "vector step other"],
    fit: Float[Tensor, "vector step"],
    held: Bool[Tensor, "vector step"],
    small: Float[Tensor, "vector 1"],
) -> Float[Tensor, "vector step"]:
    """The a >= 0 that minimises a·G a / 2 − fit · a, of what is held."""
    found, rest = torch.zeros_like(fit), torch.arange(len(fit), device=fit.device)
    free, steps = held.clone(), torch.arange(held.shape[1], device=held.device)
    fewest, patience = held.sum(1) + 1, torch.full_like(rest, PATIENCE)
    eye = torch.eye(held.shape[1], dtype=gram.dtype, device=gram.device)
    for _ in range(ROUNDS):
        both = (free[:, :, None] & free[:, None]).to(gram.dtype)
        weight = torch.linalg.solve(gram * both + eye * (RIDGE + (~free)[:, None]), fit * free)
        slope = fit - einsum(gram, weight, "vector step other, vector other -> vector step")
        wrong = held & torch.where(free, weight < -small, slope > small)
        number = wrong.sum(1)
        found[rest] = weight.relu()
        if not number.any():
            return found
        progress = number < fewest
        every = progress | (patience > 0)
        patience = torch.where(progress, PATIENCE, patience - 1)
        fewest = torch.minimum(fewest, number)
        last = steps == torch.where(wrong, steps, -1).amax(1, keepdim=True)
        free = free ^ (wrong & (every[:, None] | last))
        going = number > 0
        gram, fit, held, small, rest = (own[going] for own in (gram, fit, held, small, rest))
        free, fewest, patience = (own[going] for own in (free, fewest, patience))
    raise RuntimeError(f"No best coefficients of {len(rest)} vectors after {ROUNDS} rounds.")
