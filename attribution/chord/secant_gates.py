"""Secant gates: what an encoder did between two runs, as slopes that account for gates that flip.

    Δf = Δ(v g) = ḡ Δv + v̄ Δg          bars: mean of the two runs;  p: projection before the encoder's biases
    value slope a = ḡ Δv / Δp           gate slope b = v̄ Δg / Δμ, at most s_max · (slope of v where open) − a
    Δf = a Δp + b Δμ + undivided        undivided: what the cap leaves of v̄ Δg

Where Δp = 0 and no gate flips, the derivative takes the place of Δv / Δp, so that inputs whose changes cancel are each
credited. μ moves with p, and for TopK also with a threshold that all features move: Δμ_d = Δp_d − Σ_j share_j Δp_j,
exactly. Slopes are never negative. Source: METHODS of this project (chord IG); the secant of a nonlinearity as its
multiplier is DeepLIFT's rescale rule [Shrikumar 2017].
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries import SAE


@dataclass(frozen=True)
class SecantGates:
    """The secants of one site at some places; a place is a (row, position) of the batch.

    `opened` is +1 where a gate opened, −1 where it closed, and 0 elsewhere. `jump` is v̄ Δg, and `undivided` its part
    beyond the slope cap. `threshold_shares` say how a moving threshold follows p; None if thresholds are fixed.
    """

    value_slope: Float[Tensor, "place d_sae"]
    gate_slope: Float[Tensor, "place d_sae"]
    opened: Int[Tensor, "place d_sae"]
    jump: Float[Tensor, "place d_sae"]
    undivided: Float[Tensor, "place d_sae"]
    threshold_shares: Float[Tensor, "place d_sae"] | None

    def pull_back(
        self, multiplier: Float[Tensor, "*sweep place d_sae"], through_gates: Bool[Tensor, "*sweep 1 1"]
    ) -> Float[Tensor, "*sweep place d_sae"]:
        """Multipliers of p from multipliers of features; sweeps whose `through_gates` is False leave Δg out."""
        of_margin = multiplier * self.gate_slope * through_gates
        total = multiplier * self.value_slope + of_margin
        if self.threshold_shares is None:
            return total
        return total - of_margin.sum(-1, keepdim=True) * self.threshold_shares


def secant_gates(
    sae: SAE,
    clean: Float[Tensor, "place d_sae"],
    patch: Float[Tensor, "place d_sae"],
    clean_features: Float[Tensor, "place d_sae"],
    patch_features: Float[Tensor, "place d_sae"],
    slope_cap: float,
) -> SecantGates:
    """Secants between the projections p (see `SAE.project`) and the features of two runs.

    The features decide which gates were open, because a margin within rounding of 0 cannot.
    """
    (value_c, margin_c), (value_p, margin_p) = sae.value_and_margin(clean), sae.value_and_margin(patch)
    moved = patch - clean
    if margin_c is None or margin_p is None:
        gate_c = gate_p = torch.ones_like(clean)
    else:
        gate_c = _gate(clean_features, value_c, margin_c)
        gate_p = _gate(patch_features, value_p, margin_p)
    open_slope = sae.open_slope()
    at_rest = open_slope * ((value_c > 0) & (gate_c == gate_p))
    secant = torch.where(moved != 0, (value_p - value_c) / torch.where(moved != 0, moved, 1), at_rest)
    value_slope = (gate_c + gate_p) / 2 * torch.minimum(secant.clamp(min=0), open_slope)
    opened = gate_p - gate_c
    jump = (value_c + value_p) / 2 * opened
    if margin_c is None or margin_p is None:
        nothing = torch.zeros_like(clean)
        return SecantGates(value_slope, nothing, opened.int(), nothing, nothing, None)
    margin_moved = margin_p - margin_c
    smallest = torch.finfo(clean.dtype).tiny
    steep = jump.abs() / margin_moved.abs().clamp(min=smallest)
    gate_slope = torch.minimum(steep, (slope_cap * open_slope - value_slope).clamp(min=0))
    shares = sae.threshold_shares(clean, patch)
    return SecantGates(value_slope, gate_slope, opened.int(), jump, jump - gate_slope * margin_moved, shares)


def _gate(features: Tensor, value: Tensor, margin: Tensor) -> Tensor:
    """1 where the gate is open: decided by the features where the value is not 0, elsewhere by the margin."""
    return torch.where(value > 0, features > 0, margin > 0).to(value.dtype)
