"""Soundness of a site: a write there must do what the gradient there says. A check of hooks, not of methods.

    the hook returns x + δ, δ = 0:      ∂(logits · w)/∂δ  must equal  ∂(logits · w)/∂x        for random w

x is the activation as it arrives at the hook. If a hook sits on a side branch, the gradient at x follows more paths
than a write does (on a bridge's `hook_resid_mid` the write misses the skip path). Patching is then wrong while
gradients look right, and no later test would tell.

In float32 and float64 a small random write must also move the logits by what the gradient predicts. A write that
crosses a bend of the network (a ReLU's) or sends a token to another expert moves them by something else, so writes of
several sizes and directions are tried, and a site is refused only if none of them does what the gradient says. Half of
them leave the first position alone: a BOS whose embedding is 0 or huge bends norms at every step. A write so small that
rounding hides it is no evidence either way. In float64 all writes start a little away from x: in compiled
programs x itself can lie on a bend.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_STEPS: Final = {torch.float64: (1e-2, 1e-4, 1e-6), torch.float32: (1e-2, 1e-3, 1e-4)}
"""Sizes of the random write, in standard deviations of x: bends spoil large writes, rounding spoils small ones."""
_DIRECTIONS: Final = 4
"""Random writes that are tried at each size before a site is refused."""
_ROUNDINGS: Final = 4.0
"""Roundings that the sum of logits · w may be off by."""
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


def overwritten_sites(sites: Sequence[str], ids: Int[Tensor, "1 pos"], logits_with: LogitsWith) -> frozenset[str]:
    """Sites whose activation the model changes in place once it has passed there, as Falcon's `mlp += attention` does.

    What a hook returns there must be a copy, or the model overwrites what was recorded.
    """
    passed: dict[str, tuple[Tensor, int]] = {}

    def watcher(site: str) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            passed[site] = x, x._version
            return x

        return function

    with torch.no_grad():
        logits_with(ids, {site: watcher(site) for site in sites})
    return frozenset(site for site, (x, version) in passed.items() if x._version != version)


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
            size = _spread(arrived[site])
            directions = [
                size * torch.randn(at_arrival.shape, generator=generator).to(at_arrival) for _ in range(_DIRECTIONS)
            ]
            if at_arrival.shape[1] > 1:
                for direction in directions[1::2]:
                    direction[:, 0] = 0
            offsets = {name: write.detach() for name, write in written.items()}
            _compare_with_writes(site, directions, of_write, ids, weights, logits_with, offsets)


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


def _compare_with_writes(
    site: str,
    directions: Sequence[Float[Tensor, "1 pos width"]],
    gradient: Float[Tensor, "1 pos width"],
    ids: Tensor,
    weights: Float[Tensor, "1 pos vocab"],
    logits_with: LogitsWith,
    offsets: Mapping[str, Tensor],
) -> None:
    """Try writes of each size, the largest first, until one moves the logits by what the gradient says."""

    def weighed(direction: Tensor, size: float) -> Tensor:
        moves = {s: _adder(o + size * direction if s == site else o) for s, o in offsets.items()}
        return logits_with(ids, moves) * weights

    tolerance, eps = _TOLERANCE[gradient.dtype], torch.finfo(gradient.dtype).eps
    seen: list[tuple[float, float]] = []
    with torch.no_grad():
        for step in _STEPS[gradient.dtype]:
            for direction in directions:
                predicted, scale = _predicted(gradient, direction)
                up, down = weighed(direction, step), weighed(direction, -step)
                moved = float((up.double() - down.double()).sum()) / (2 * step)
                rounding = _ROUNDINGS * eps * float(up.norm()) / step
                if rounding > max(abs(predicted), scale) and seen:
                    break
                if abs(moved - predicted) <= tolerance * max(abs(moved), abs(predicted), scale) + rounding:
                    return
                seen.append((moved, predicted))
    raise ValueError(
        f"The site {site!r} is unsound: a small random write there moves the logits by {seen[-1][0]:.4g}, its gradient "
        f"says {seen[-1][1]:.4g}. Patching at this hook would be wrong. Splice another site."
    )


def _predicted(gradient: Tensor, direction: Tensor) -> tuple[float, float]:
    """What the gradient says of a write, and the size that this has for a random direction."""
    there = direction != 0
    written = torch.linalg.vector_norm(gradient[there]) * torch.linalg.vector_norm(direction)
    return float((gradient * direction).sum()), float(written) / int(there.sum()) ** 0.5


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of activations; 1 for those that are all equal, as in a layer that does nothing."""
    spread = x.detach().std(correction=0)
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _displacement(x: Tensor, generator: torch.Generator) -> Tensor:
    """A small random displacement if rounding allows one, else zeros."""
    size = _DISPLACEMENT.get(x.dtype, 0.0) * _spread(x)
    return size * torch.randn(x.shape, generator=generator).to(x)


def _adder(amount: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x + amount
