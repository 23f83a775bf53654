"""Hard-concrete gates: random masks that are 0 or 1 most of the time and still have gradients.

    s = σ((log u − log(1 − u) + log α) / β)        λ = min(1, max(0, s · (ζ − γ) + γ))        u uniform on (0, 1)
    P(λ > 0) = σ(log α − β · log(−γ / ζ))          Σ P(λ > 0) is the expected size of the set

β = 2/3, γ = −0.1, ζ = 1.1. A large log α holds a gate open. Source: Louizos et al. 2018, eqs. 10 to 12.
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURE: Final = 2 / 3
LOWEST, HIGHEST = -0.1, 1.1
"""γ and ζ: the range of the stretched gate before it is cut off at 0 and 1."""


def gates(log_alpha: Float[Tensor, " node"], uniform: Float[Tensor, " node"]) -> Float[Tensor, " node"]:
    """λ of each node for its own draw u from (0, 1)."""
    s = torch.sigmoid((torch.logit(uniform) + log_alpha) / TEMPERATURE)
    return (s * (HIGHEST - LOWEST) + LOWEST).clamp(0, 1)


def chance_open(log_alpha: Float[Tensor, " node"]) -> Float[Tensor, " node"]:
    """P(λ > 0) of each node."""
    return torch.sigmoid(log_alpha - TEMPERATURE * math.log(-LOWEST / HIGHEST))
