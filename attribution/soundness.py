"""Does a write at a site do what the gradient there says? A check of hooks, not of methods.

    d/dh logits(x + h r) · w   against   < d(logits · w)/dx , r >        for random r, w

x is the activation as it arrives at the hook. Where a hook sits on a side branch, the gradient at x sees more
paths than a write does (a bridge's `hook_resid_mid`: the write misses the skip path): then patching is wrong
while gradients look right, and no later test would tell.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

_STEP = 1e-2
_TOLERANCE = {torch.float64: 1e-2, torch.float32: 5e-2}
_TOLERANCE_LOW_PRECISION = 0.5


def check_soundness(
    sites: Sequence[str],
    entry: str,
    ids: Int[Tensor, "1 pos"],
    logits_with: Callable[..., Tensor],
) -> None:
    """Raise ValueError for the first site whose writes and gradients disagree.

    `logits_with(ids, functions)` runs the model with functions on the activations of sites.
    """
    generator = torch.Generator().manual_seed(0)
    arrived: dict[str, Tensor] = {}

    def leaf(site: str) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            arrived[site] = x if x.requires_grad else x.detach().requires_grad_()
            return arrived[site]

        return function

    with torch.enable_grad():
        logits = logits_with(ids, {site: leaf(site) for site in sites}, enter=lambda x: leaf(entry)(x))
        weights = torch.randn(logits.shape, generator=generator).to(logits)
        projected = (logits * weights).sum()
        gradients = torch.autograd.grad(projected, [arrived[site] for site in sites])
    for site, gradient in zip(sites, gradients, strict=True):
        x = arrived[site].detach()
        direction = torch.randn(x.shape, generator=generator).to(x) * x.std()
        with torch.no_grad():
            ends = [logits_with(ids, {site: _adder(h * direction)}) for h in (_STEP, -_STEP)]
        written = float(((ends[0] - ends[1]) * weights).sum()) / (2 * _STEP)
        predicted = float((gradient * direction).sum())
        scale = float(torch.linalg.vector_norm(gradient) * torch.linalg.vector_norm(direction)) / x.numel() ** 0.5
        tolerance = _TOLERANCE.get(x.dtype, _TOLERANCE_LOW_PRECISION)
        if abs(written - predicted) > tolerance * max(abs(written), abs(predicted), scale):
            raise ValueError(
                f"The site {site!r} is unsound: a small random write there moves the logits by {written:.4g}, its "
                f"gradient says {predicted:.4g}. Patching at this hook would be wrong. Splice another site."
            )


def _adder(amount: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x + amount
