"""Linear probes: logistic regression of a label on an activation.

    minimise over w, b:   mean log(1 + exp(−± (w · z + b))) + weight_decay / 2 · |w|²      z = (x − mean) / spread
    logit(x) = (w / spread) · x + b − (w / spread) · mean

The objective is strictly convex, so the data determine the probe and no seed is needed. It is minimised by full-batch
L-BFGS in float64, from zero. Inputs are standardised for the fit, so that weight decay treats every direction alike;
the probe that is returned reads activations as they are.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GRADIENT_AT_OPTIMUM = 1e-6
"""A fit has reached its optimum when no entry of the gradient is larger than this."""


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """logit = weight · x + bias. If it is positive, the probe predicts class 1 (True)."""

    weight: Float[Tensor, " width"]
    bias: Float[Tensor, ""]

    def logit(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
        """The log odds of class 1, in nats."""
        return x.to(self.weight.dtype) @ self.weight + self.bias

    def predict(self, x: Float[Tensor, "*batch width"]) -> Bool[Tensor, "*batch"]:
        """True where class 1 is more likely."""
        return self.logit(x) > 0


def fit_probe(
    x: Float[Tensor, "text width"], labels: Bool[Tensor, " text"], *, weight_decay: float = 0.01
) -> LinearProbe:
    """The probe at the optimum of the objective above.

    Raises:
        ValueError: not one label for each activation, labels of one class only, a weight decay that is not positive,
            activations that are not finite, or a fit that does not reach its optimum.
    """
    if len(x) != len(labels):
        raise ValueError(f"{len(x)} activations but {len(labels)} labels: give one label for each.")
    if not weight_decay > 0:
        raise ValueError(
            f"weight_decay must be above 0; got {weight_decay}. Without it a probe of separable labels has no optimum."
        )
    if labels.all() or not labels.any():
        raise ValueError(
            f"All {len(labels)} labels are {bool(labels[:1].all())}: a probe needs texts of both classes to separate."
        )
    x = x.detach().double()
    if not x.isfinite().all():
        raise ValueError(
            "Some activations are not finite numbers. A probe cannot be fitted to them: leave their texts out."
        )
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1)
    z, sign = (x - mean) / spread, torch.where(labels, 1.0, -1.0).to(x)
    parameters = _minimise(z, sign, weight_decay)
    weight = parameters[:-1] / spread
    return LinearProbe(weight, parameters[-1] - weight @ mean)


def _minimise(
    z: Float[Tensor, "text width"], sign: Float[Tensor, " text"], weight_decay: float
) -> Float[Tensor, " parameters"]:
    """Weight and bias in one vector, at the optimum."""
    parameters = z.new_zeros(z.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=1000,
        tolerance_grad=GRADIENT_AT_OPTIMUM / 10,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        weight, bias = parameters[:-1], parameters[-1]
        loss = torch.nn.functional.softplus(-sign * (z @ weight + bias)).mean() + weight_decay / 2 * weight @ weight
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(objective)
        objective()
    assert parameters.grad is not None
    if not float(parameters.grad.abs().max()) <= GRADIENT_AT_OPTIMUM:
        raise ValueError("The probe's fit did not reach its optimum in 1000 steps. Raise weight_decay.")
    return parameters.detach()
