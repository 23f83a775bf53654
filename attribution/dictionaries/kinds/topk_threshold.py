"""The moving threshold of TopK: how much each pre-activation moves it along a straight line.

    S_m(α)   = sum of the m largest of z(α) = z_c + α (z_p − z_c)          convex and piecewise linear
    time_m(j) = share of α in [0, 1] during which j is among the m largest = ∫ ∂S_m/∂z_j dα
    t(α)     = (k-th + (k+1)-th largest of z(α)) / 2 = (S_{k+1} − S_{k−1}) / 2
    share(j) = ∫ ∂t/∂z_j dα = (time_{k+1}(j) − time_{k−1}(j)) / 2

so that Σ_j share(j) · (z_p − z_c)_j = t(1) − t(0). Exact, even with ties. The pieces of S_m are found by intersecting
its supporting lines at both ends of an interval until S_m passes through the intersection (Eisner & Severance 1976).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def threshold_shares(
    clean: Float[Tensor, "place d_sae"], patch: Float[Tensor, "place d_sae"], k: int
) -> Float[Tensor, "place d_sae"]:
    """The average of ∂t/∂z_j along the line, for 1 <= k < d_sae. Rows sum to 1."""
    above, below = (_time_among_largest(clean.double(), patch.double(), m) for m in (k + 1, k - 1))
    return ((above - below) / 2).to(clean.dtype)


def _time_among_largest(
    clean: Float[Tensor, "place d_sae"], patch: Float[Tensor, "place d_sae"], m: int
) -> Float[Tensor, "place d_sae"]:
    time = torch.zeros_like(clean)
    if m == 0:
        return time
    place = torch.arange(len(clean), device=clean.device)
    left, right = clean.new_zeros(len(clean)), clean.new_ones(len(clean))
    at_left, at_right = _largest(clean, m), _largest(patch, m)
    while len(place):
        z, change = clean[place], patch[place] - clean[place]
        height = [torch.where(chosen, z, 0).sum(-1) for chosen in (at_left, at_right)]
        slope = [torch.where(chosen, change, 0).sum(-1) for chosen in (at_left, at_right)]
        steeper = slope[1] - slope[0]
        meeting = torch.where(steeper > 0, (height[0] - height[1]) / torch.where(steeper > 0, steeper, 1), right)
        meeting = meeting.clamp(left, right)
        there = _largest(z + meeting[:, None] * change, m)
        top = torch.where(there, z + meeting[:, None] * change, 0).sum(-1)
        scale = z.abs().amax(-1) + change.abs().amax(-1)
        split = (steeper > 0) & (top - (height[0] + meeting * slope[0]) > 1e-12 * m * scale)
        whole = ~split
        for chosen, duration in ((at_left, meeting - left), (at_right, right - meeting)):
            time.index_add_(0, place[whole], chosen[whole] * duration[whole, None])
        place = place[split].repeat(2)
        left, right = torch.cat([left[split], meeting[split]]), torch.cat([meeting[split], right[split]])
        at_left, at_right = torch.cat([at_left[split], there[split]]), torch.cat([there[split], at_right[split]])
    return time


def _largest(z: Float[Tensor, "place d_sae"], m: int) -> Bool[Tensor, "place d_sae"]:
    indices = torch.topk(z, m, dim=-1, sorted=False).indices
    return torch.zeros_like(z, dtype=torch.bool).scatter(-1, indices, True)
