"""How new each chosen direction is: its part that those chosen before do not span.

    novelty_n = |d_n − P_{n−1} d_n| / |d_n|       P: projection on the span of d_1, ..., d_{n−1}

The sine of the angle to that span: 1 for an orthogonal choice, and for the first; 0 for one that adds nothing.
"""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries.pursuits.greedy import unit_directions


@torch.no_grad()
def novelty(
    directions: Float[Tensor, "direction width"], chosen: Int[Tensor, "*batch step"]
) -> Float[Tensor, "*batch step"]:
    """The novelty of each choice, −1 standing for none, which has 0 (see `Code.chosen`)."""
    flat = chosen.reshape(-1, chosen.shape[-1])
    atoms = unit_directions(directions.double())[flat] * (flat >= 0)[..., None]
    basis, found = torch.zeros_like(atoms), torch.zeros_like(atoms[..., 0])
    for step in range(flat.shape[1]):
        part = atoms[:, step]
        for _ in range(2):  # once more, because rounding leaves some of the span
            part = part - einsum(
                einsum(basis, part, "vector step width, vector width -> vector step"),
                basis,
                "vector step, vector step width -> vector width",
            )
        found[:, step] = part.norm(dim=-1)
        basis[:, step] = torch.where(found[:, step, None] > 1e-9, part / found[:, step, None].clamp(min=1e-9), 0)
    return found.to(directions.dtype).reshape(chosen.shape)
