"""Slow twin of keeping only some nodes: one prompt, one plain forward, a loop over positions.

A feature alone writes the decoder's output with it minus the decoder's output without any feature. The error node is
the rest of the activation. Each part comes from this run or from the reference run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.dictionaries import SAE
from tests.worlds.tiny_models import World

Node = tuple[str, str, int, int]
"""Site, kind, position, index."""


@dataclass(frozen=True)
class Parts:
    """One activation as parts: `features` [feature width] sum with `rest` [width] to x."""

    features: Tensor
    rest: Tensor


def parts_of(sae: SAE, x: Tensor) -> Parts:
    """x [width] as what each feature writes, and the rest."""
    encoding = sae.encode(x[None])
    base = sae.decode(torch.zeros_like(encoding.features), encoding.frame)
    features = sae.decode(torch.diag(encoding.features[0]), encoding.frame) - base
    return Parts(features, x - features.sum(0))


def zero_parts(sae: SAE, x: Tensor) -> Parts:
    """No feature and no error; the decoder's offset is that of the frame of x."""
    encoding = sae.encode(x[None])
    nothing = torch.zeros_like(encoding.features)
    return Parts(0 * parts_of(sae, x).features, sae.decode(nothing, encoding.frame)[0])


def bare_run(world: World, ids: Sequence[int]) -> dict[str, Tensor]:
    """What reaches every site [pos width] in the bare model."""
    seen: dict[str, Tensor] = {}

    def keep(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            seen[site] = x.flatten(2)[0]
            return x

        return function

    with torch.no_grad():
        world.model.module.run_with_hooks(torch.tensor([ids]), fwd_hooks=[(site, keep(site)) for site in world.saes])
    return seen


Reference = Callable[[str, int, Tensor], Parts]
"""Site, position, what arrives there -> the parts that the nodes outside take."""


def of_run(world: World, run: Mapping[str, Tensor]) -> Reference:
    """The parts of another run's activations."""
    return lambda site, pos, x: parts_of(world.saes[site], run[site][pos])


def zeros(world: World) -> Reference:
    """No feature and no error anywhere."""
    return lambda site, pos, x: zero_parts(world.saes[site], x)


def twin_logits(world: World, ids: Sequence[int], kept: Callable[[Node], float], reference: Reference) -> Tensor:
    """Logits at the last position when `kept` gives each node its mask λ: 1 (True) for what it computes in this run."""
    first = int(ids[0] == world.model.bos_id and not world.splice_bos)

    def splice(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            y = x.flatten(2).clone()
            for pos in range(first, len(ids)):
                own = parts_of(world.saes[site], y[0, pos])
                other = reference(site, pos, y[0, pos])
                inside = [[float(kept((site, "feature", pos, index)))] for index in range(len(own.features))]
                λ, λ_error = torch.tensor(inside).to(own.features), float(kept((site, "error", pos, -1)))
                y[0, pos] = λ_error * own.rest + (1 - λ_error) * other.rest
                y[0, pos] += (λ * own.features + (1 - λ) * other.features).sum(0)
            return y.reshape(x.shape)

        return function

    with torch.no_grad():
        logits = world.model.module.run_with_hooks(
            torch.tensor([ids]), fwd_hooks=[(site, splice(site)) for site in world.saes]
        )
    return logits[0, -1]
