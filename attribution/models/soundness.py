"""Soundness of a site: a write there must do what the gradient there says. A check of hooks, not of methods.

    the hook returns x + δ, δ = 0:      ∂(logits · w)/∂δ  must equal  ∂(logits · w)/∂x        for random w

x is the activation as it arrives at the hook. If a hook sits on a side branch, the gradient at x follows more paths
than a write does (on a bridge's `hook_resid_mid` the write misses the skip path). Patching is then wrong while
gradients look right, and no later test would tell.

In float32 and float64 a small random write must also move the logits by what the gradient predicts. A write that
crosses a bend of the network (a ReLU's) moves them by something else, so in float64 smaller writes are tried too, and
all of them start a little away from x: in compiled programs x itself can lie on a bend.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_STEPS: Final = {torch.float64: (1e-2, 1e-4, 1e-6), torch.float32: (1e-2,)}
"""Sizes of the random write, in standard deviations of x: bends spoil large writes, rounding spoils small ones."""
_DISPLACEMENT: Final = {torch.float64: 1e-3}
"""Distance of the tested point from x, in standard deviations of x; 0 for other dtypes."""
_TOLERANCE: Final = {torch.float64: 1e-2, torch.float32: 5e-2}
_TOLERANCE_LOW_PRECISION: Final = 0.3


@runtime_checkable
class LogitsWith(Protocol):
    """Runs the model with functions on the activations of sites; `enter` acts on the stream that enters block 0."""

    def __call__(
        self,
        ids: Tensor,
        functions: Mapping[str, Callable[[Tensor], Tensor]],
        *,
        enter: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor: ...


def activation_widths(sites: Sequence[str], ids: Int[Tensor, "1 pos"], logits_with: LogitsWith) -> dict[str, int]:
    """The width of each site's activation, in the order in which a forward pass reaches the sites.

    Raises:
        ValueError: a hook that does not fire exactly once, or an activation that is not [batch, position, ...].
    """
    reached: list[tuple[str, tuple[int, ...]]] = []

    def recorder(site: str) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            reached.append((site, tuple(x.shape)))
            return x

        return function

    with torch.no_grad():
        logits_with(ids, {site: recorder(site) for site in sites})
    for site in sites:
        shapes = [shape for name, shape in reached if name == site]
        if len(shapes) != 1:
            raise ValueError(
                f"The hook {site!r} fires {len(shapes)} times in a forward pass; it must fire once. Some hooks "
                "need a flag of the model, such as set_use_attn_result(True)."
            )
        if shapes[0][:2] != tuple(ids.shape):
            raise ValueError(
                f"The activation at {site!r} has shape {shapes[0]}, which is not [batch, position, ...]. "
                "Splice another site."
            )
    return {site: shape[2] for site, shape in reached}


def check_soundness(sites: Sequence[str], ids: Int[Tensor, "1 pos"], logits_with: LogitsWith) -> None:
    """Check that writes and gradients agree at every site.

    Raises:
        ValueError: the first site at which they do not, or whose writes do not reach the logits.
    """
    generator = torch.Generator().manual_seed(0)
    arrived: dict[str, Tensor] = {}
    written: dict[str, Tensor] = {}

    def writer(site: str) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            arrived[site] = x if x.requires_grad else x.detach().requires_grad_()
            written[site] = _displacement(x, generator).requires_grad_()
            return arrived[site] + written[site]

        return function

    with torch.enable_grad():
        functions = {site: writer(site) for site in sites}
        logits = logits_with(ids, functions, enter=lambda x: x.detach().requires_grad_())
        weights = torch.randn(logits.shape, generator=generator).to(logits)
        both = [tensors[site] for site in sites for tensors in (arrived, written)]
        gradients = torch.autograd.grad((logits * weights).sum(), both, allow_unused=True, materialize_grads=True)
    for site, at_arrival, of_write in zip(sites, gradients[::2], gradients[1::2], strict=True):
        if not of_write.any():
            raise ValueError(f"A write at the site {site!r} does not reach the logits. Splice another site.")
        _compare_gradients(site, at_arrival, of_write)
        if at_arrival.dtype in _TOLERANCE:
            direction = torch.randn(at_arrival.shape, generator=generator).to(at_arrival) * arrived[site].std().detach()
            offsets = {name: write.detach() for name, write in written.items()}
            _compare_with_a_write(site, direction, of_write, ids, weights, logits_with, offsets)


def _compare_gradients(
    site: str, at_arrival: Float[Tensor, "1 pos width"], of_write: Float[Tensor, "1 pos width"]
) -> None:
    size = torch.linalg.vector_norm(at_arrival.float())
    difference = torch.linalg.vector_norm(at_arrival.float() - of_write.float())
    if difference > _TOLERANCE.get(at_arrival.dtype, _TOLERANCE_LOW_PRECISION) * size:
        raise ValueError(
            f"The site {site!r} is unsound: a write there misses paths that its gradient sees (they differ by "
            f"{float(difference / size):.0%}). Patching at this hook would be wrong. Splice another site."
        )


def _compare_with_a_write(
    site: str,
    direction: Float[Tensor, "1 pos width"],
    gradient: Float[Tensor, "1 pos width"],
    ids: Tensor,
    weights: Float[Tensor, "1 pos vocab"],
    logits_with: LogitsWith,
    offsets: Mapping[str, Tensor],
) -> None:
    predicted = float((gradient * direction).sum())
    scale = float(torch.linalg.vector_norm(gradient) * torch.linalg.vector_norm(direction)) / direction.numel() ** 0.5

    def moved_by(size: float) -> float:
        moves = {s: _adder(o + size * direction if s == site else o) for s, o in offsets.items()}
        return float((logits_with(ids, moves) * weights).sum())

    moved: list[float] = []
    with torch.no_grad():
        for step in _STEPS[direction.dtype]:
            moved.append((moved_by(step) - moved_by(-step)) / (2 * step))
            if abs(moved[-1] - predicted) <= _TOLERANCE[direction.dtype] * max(abs(moved[-1]), abs(predicted), scale):
                return
    raise ValueError(
        f"The site {site!r} is unsound: a small random write there moves the logits by {moved[0]:.4g}, its gradient "
        f"says {predicted:.4g}. Patching at this hook would be wrong. Splice another site."
    )


def _displacement(x: Tensor, generator: torch.Generator) -> Tensor:
    """A small random displacement if rounding allows one, else zeros."""
    size = _DISPLACEMENT.get(x.dtype, 0.0) * x.detach().std()
    return size * torch.randn(x.shape, generator=generator).to(x)


def _adder(amount: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x + amount
