"""Edges by autograd, one target at a time: one prompt, dense, every spliced output a leaf of its own."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from attribution.effects.quadrature import Quadrature
from tests.twins.method_twins import ENTRY, TOKENS, Run
from tests.worlds.tiny_models import World

Node = tuple[str, str, int, int]
"""Site, kind, position, feature (−1 for errors and tokens)."""
Metric = Callable[[Tensor], Tensor]


def held(
    world: World, ids: Sequence[int], entry: Tensor, outputs: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """What arrives at each site, and the last logits, when every site writes the given output."""
    arrived: dict[str, Tensor] = {}

    def hold(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            arrived[site] = x.flatten(2)
            return outputs[site].reshape(x.shape)

        return function

    hooks = [(ENTRY, lambda x, hook=None: entry), *((site, hold(site)) for site in world.saes)]
    logits = world.model.module.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[:, -1]
    return arrived, logits


def written(world: World, ids: Sequence[int], run: Run, site: str) -> Tensor:
    """y = D(f) + e; x at a BOS, which is not spliced."""
    y = world.saes[site].decode(run.f[site], None) + run.e[site]
    if ids[0] == world.model.bos_id:
        y[:, 0] = run.x[site][:, 0]
    return y


def edges_by_autograd(
    world: World, ids: Sequence[int], ends: tuple[Run, Run], rule: Quadrature, metric: Metric, seeds: dict[Node, Tensor]
) -> dict[tuple[Node, Node | None], float]:
    """Edges into the nodes of `seeds`, each given as the vector it sends to its site, and into the metric (None)."""
    clean, patch = ends
    found: dict[tuple[Node, Node | None], float] = {}
    for alpha, weight in zip(rule.points, rule.weights, strict=True):
        leaves = {TOKENS: (clean.entry + alpha * (patch.entry - clean.entry)).detach().requires_grad_()}
        for site in world.saes:
            start, end = (written(world, ids, run, site) for run in ends)
            leaves[site] = (start + alpha * (end - start)).detach().requires_grad_()
        arrived, logits = held(world, ids, leaves[TOKENS], {s: leaves[s] for s in world.saes})
        goals: dict[Node | None, Tensor] = {None: metric(logits)}
        goals |= {d: (arrived[d[0]][0, d[2]] * seed).sum() for d, seed in seeds.items()}
        for target, goal in goals.items():
            gradients = torch.autograd.grad(
                goal, list(leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for leaf, gradient in zip(leaves, gradients, strict=True):
                for source, change in changes(world, ends, leaf):
                    value = weight * float((gradient[0, source[2]] * change).sum())
                    found[source, target] = found.get((source, target), 0.0) + value
    return found


def changes(world: World, ends: tuple[Run, Run], leaf: str) -> Iterator[tuple[Node, Tensor]]:
    """Every node at a leaf, with what its patch value adds to the leaf."""
    clean, patch = ends
    if leaf == TOKENS:
        difference = (patch.entry - clean.entry)[0]
        yield from (((leaf, "token", p, -1), difference[p]) for p in range(len(difference)))
        return
    moved = (patch.f[leaf] - clean.f[leaf])[0]
    for p, d in torch.nonzero(moved).tolist():
        yield (leaf, "feature", p, d), moved[p, d] * world.saes[leaf].W_dec[d]
    difference = (patch.e[leaf] - clean.e[leaf])[0]
    yield from (((leaf, "error", p, -1), difference[p]) for p in range(len(difference)))
