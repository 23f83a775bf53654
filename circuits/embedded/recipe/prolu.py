"""Train a ProLU SAE: the encoder's bias is a gate, not a shift.

    m = (x - b_dec) @ W_enc,  f = relu(m) * gate,  gate = (m + b_enc > 0),  rows of W_dec of length 1
    loss = mean |x - x_hat|^2 + l0_penalty * mean sum gate

The encoder is that of Taggart 2024. The gate has no derivative. In place of d gate / d b_enc stands a rectangle of
width BANDWIDTH around the margin m + b_enc = 0, as Rajamanoharan et al. 2024 do for JumpReLU. The penalty is steered to
the wanted L0.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from circuits.embedded.recipe.sparsity import steered_penalty

BANDWIDTH = 0.5
FIRST_BIAS = -1.0
"""BANDWIDTH and FIRST_BIAS are in units in which activations have a mean length of sqrt(d_model)."""


class _Gate(torch.autograd.Function):
    """1 where m > 0 and m + bias > 0. The gradient reaches the bias only."""

    @staticmethod
    def forward(ctx: FunctionCtx, m: Tensor, bias: Tensor) -> Tensor:
        margin = m + bias
        ctx.save_for_backward((m > 0) & (margin.abs() < BANDWIDTH / 2))
        return ((m > 0) & (margin > 0)).to(m.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, Tensor]:
        (near,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return None, (grads[0] * near).sum(0) / BANDWIDTH


def train_prolu(
    batches: Iterator[Float[Tensor, "batch d_model"]],
    d_sae: int,
    steps: int,
    l0: float,
    learning_rate: float,
    warm_up: int,
    decay: int,
) -> dict[str, Tensor]:
    """Train one SAE. Returns W_enc, b_enc, W_dec and b_dec, in the units of the activations."""
    first = next(batches)
    d_model = first.shape[1]
    scale = math.sqrt(d_model) / float(first.norm(dim=1).mean())
    w_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_model), dim=1)
    weights = {
        "W_enc": w_dec.T.clone(),
        "b_enc": torch.full((d_sae,), FIRST_BIAS),
        "W_dec": w_dec,
        "b_dec": first.mean(0) * scale,
    }
    parameters = [p.requires_grad_() for p in weights.values()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm_up, (steps - step) / decay)
    )
    penalty = 0.1
    for step in range(steps):
        x = next(batches) * scale
        m = (x - weights["b_dec"]) @ weights["W_enc"]
        gate: Tensor = _Gate.apply(m, weights["b_enc"])
        x_hat = (m.relu() * gate) @ weights["W_dec"] + weights["b_dec"]
        l0_now = gate.sum(1).mean()
        loss = (x - x_hat).square().sum(1).mean() + penalty * min(1.0, (step + 1) / warm_up) * l0_now
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
        penalty = steered_penalty(penalty, float(l0_now.detach()), l0, step, warm_up, steps)
    in_units = {"W_enc": 1.0, "b_enc": 1 / scale, "W_dec": 1.0, "b_dec": 1 / scale}
    return {name: weights[name].detach() * factor for name, factor in in_units.items()}
