"""Greedy search for a sparse positive code x ≈ Σ a_i d_i: what all pursuits share.

    r = x − Σ a_i d_i;   c_i = ⟨d_i, r⟩ / |d_i|          a = 0 at the start
    choose                the direction with the largest c_i > 0; of those within 2e-6 · |x| of it, the first
    update                the coefficients of what was chosen, by the pursuit's own rule
    stop                  after k choices, where no c_i is positive, or where |r| <= tolerance · |x|

One product with the decoder for each choice, all vectors at once. A code does not change when a direction changes its
length, but for a_i · |d_i|, which stays. The choice jumps where a direction's lead over another passes 2e-6 · |x|, and
where |r| passes the tolerance; `slack` says how near that is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from graphs.short_repr import short_repr

TIE: Final = 2e-6
"""Directions whose correlations with the residual are closer, as a share of |x|, are the same: more than rounding in
float32 does, so that of equal directions it is always the first that is chosen."""

NONE: Final = -1
"""Stands for no direction, in a step that a vector did not take."""


@dataclass(frozen=True, eq=False)
class Code:
    """A sparse code of vectors.

    Attributes:
        coefficients: of every direction, in units of the direction; none is negative.
        chosen: the direction chosen in each step, in order; −1 where the search had stopped.
        slack: how far c and |r| were from another choice, at the closest; in units of x, 2e-6 · |x| where no choice
            was nearer, and ∞ where there was none.
    """

    __repr__ = short_repr

    coefficients: Float[Tensor, "*batch direction"]
    chosen: Int[Tensor, "*batch step"]
    slack: Float[Tensor, "*batch"]


Update = Callable[
    [Float[Tensor, "vector step width"], Float[Tensor, "vector step"], Float[Tensor, "vector width"]],
    Float[Tensor, "vector step"],
]
"""New coefficients of the unit directions chosen so far, the newest last, from the old ones and the residual."""


@torch.no_grad()
def greedy(
    x: Float[Tensor, "*batch d_in"],
    directions: Float[Tensor, "direction width"],
    k: int | Int[Tensor, "*batch"] | None,
    tolerance: float | None,
    update: Update,
    *,
    again: bool,
    excluded: Bool[Tensor, "*batch direction"] | None = None,
) -> Code:
    """Search for the codes of all vectors; `again`: a direction may be chosen more than once.

    Directions that are `excluded` for a vector are not chosen for it.

    Raises:
        ValueError: neither k nor a tolerance, one out of range, or vectors of another width than the directions.
    """
    refuse_endless(k, tolerance)
    if x.shape[-1] != directions.shape[1]:
        raise ValueError(
            f"The directions are {directions.shape[1]} wide, and the vectors {x.shape[-1]}: give vectors of the "
            "decoder's width."
        )
    flat, unit, lengths = (
        x.reshape(-1, x.shape[-1]).to(directions.dtype),
        unit_directions(directions),
        directions.norm(dim=1),
    )
    most = torch.as_tensor(len(directions) if k is None else k, device=x.device).expand(x.shape[:-1]).flatten()
    size, residual = flat.norm(dim=-1), flat
    going, slack = torch.ones_like(most, dtype=torch.bool), torch.full_like(size, torch.inf)
    chosen = torch.zeros(len(flat), 0, dtype=torch.int64, device=x.device)
    weight, taken = flat.new_zeros(len(flat), 0), torch.zeros_like(chosen, dtype=torch.bool)
    for step in range(int(most.max()) if len(most) else 0):
        correlation = residual @ unit.T
        if excluded is not None:
            correlation = correlation.masked_fill(excluded.reshape(correlation.shape), -torch.inf)
        if not again:
            correlation = correlation.scatter(1, chosen, -torch.inf)
        index, positive, lead = _choice(correlation, TIE * size)
        rest = residual.norm(dim=-1) - (tolerance or 0.0) * size
        going = going & (step < most) & (size > 0)
        slack = torch.where(going & (tolerance is not None), torch.minimum(slack, rest.abs()), slack)
        going = going & positive & (rest > 0)
        slack = torch.where(going, torch.minimum(slack, lead), slack)
        if not going.any():
            break
        chosen = torch.cat([chosen, index[:, None]], 1)
        taken, weight = torch.cat([taken, going[:, None]], 1), torch.cat([weight, weight.new_zeros(len(flat), 1)], 1)
        atoms = unit[chosen] * taken[..., None]
        weight = torch.where(going[:, None], update(atoms, weight, residual), weight)
        residual = flat - einsum(weight, atoms, "vector step, vector step width -> vector width")
    found = weight / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)[chosen]
    dense = flat.new_zeros(len(flat), len(directions)).scatter_add(1, chosen, found)
    chosen = torch.where(taken, chosen, NONE)
    return Code(dense.reshape(*x.shape[:-1], -1), chosen.reshape(*x.shape[:-1], -1), slack.reshape(x.shape[:-1]))


def unit_directions(directions: Float[Tensor, "direction width"]) -> Float[Tensor, "direction width"]:
    """The directions with length 1; one of length 0 stays, and is never chosen."""
    return normalize(directions, dim=1, eps=torch.finfo(directions.dtype).tiny)


def _choice(
    correlation: Float[Tensor, "vector direction"], tie: Float[Tensor, " vector"]
) -> tuple[Int[Tensor, " vector"], Bool[Tensor, " vector"], Float[Tensor, " vector"]]:
    """The direction chosen, whether it correlates positively, and how far from another choice the vector is.

    A choice between directions that hardly correlate is none that matters: their coefficients are next to 0.
    """
    largest = correlation.amax(1)
    behind = correlation - (largest - tie)[:, None]
    nearest = torch.where(largest > 2 * tie, behind.abs().amin(1), torch.inf)
    alike = (behind >= 0) & (correlation > 0)
    return alike.to(torch.uint8).argmax(1), largest > 0, nearest


def refuse_endless(k: int | Tensor | None, tolerance: float | None) -> None:
    """Refuse a pursuit whose end is not given, or out of range.

    Raises:
        ValueError: neither k nor a tolerance; k below 0; a tolerance that is no share.
    """
    if k is None and tolerance is None:
        raise ValueError("A pursuit needs an end: give k, the most features, or a tolerance, the share of |x| left.")
    if k is not None and not bool((torch.as_tensor(k) >= 0).all()):
        raise ValueError(f"k is the most features of a code, at least 0; got {k}.")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise ValueError(f"tolerance is the share of |x| that may be left, 0 or more and below 1; got {tolerance}.")
