"""Slow, plain twins of every method, written from the formulas: one prompt, dense, no padding, no resuming.

They share with the code under test only the SAE classes and the model. Every result is a mapping from
(site, kind) to a dense array: features [pos, d_sae], errors and tokens [pos].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.worlds.tiny_models import World

TOKENS, ENTRY = "hook_embed", "blocks.0.hook_resid_pre"
OnLogits = Callable[[Tensor], Tensor]
Edit = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
Dense = dict[tuple[str, str], Tensor]


@dataclass
class Run:
    """Logits at the last position; what reached each site; its features, errors and block 0's input before any edit."""

    logits: Tensor
    x: dict[str, Tensor] = field(default_factory=dict)
    f: dict[str, Tensor] = field(default_factory=dict)
    e: dict[str, Tensor] = field(default_factory=dict)
    entry: Tensor = field(default_factory=lambda: torch.empty(0))


def keep(_site: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    return f, e


def forward(
    world: World,
    ids: Sequence[int],
    mode: str,
    *,
    edit: Edit = keep,
    errors: dict[str, Tensor] | None = None,
    entry: Tensor | None = None,
    rows: int = 1,
) -> Run:
    """y = D(f) + e at every site, with f = E(x) and e as the error mode says, both edited on the way."""
    here = torch.ones(1, len(ids), 1, dtype=torch.bool)
    if world.model.bos_id is not None and not world.splice_bos:
        here[0, 0] = ids[0] != world.model.bos_id
    run = Run(torch.empty(0))

    def enter(x: Tensor, hook: object = None) -> Tensor:
        run.entry = x if entry is None else entry
        return run.entry

    def splice(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            flat, sae = x.flatten(2), world.saes[site]
            encoding = sae.encode(flat)
            f = encoding.features * here
            e = (flat - sae.decode(encoding.features, encoding.frame)) * here
            if mode == "zero":
                e = 0 * e
            elif mode != "live":
                assert errors is not None
                e = errors[site]
            run.x[site], run.f[site], run.e[site] = flat, f, e
            f, e = edit(site, f, e)
            return torch.where(here, sae.decode(f, encoding.frame) + e, flat).reshape(x.shape)

        return function

    hooks = [(ENTRY, enter), *((site, splice(site)) for site in world.saes)]
    run.logits = world.model.module.run_with_hooks(torch.tensor([ids] * rows), fwd_hooks=hooks)[:, -1]
    return run


def ends(world: World, clean: Sequence[int], patch: Sequence[int] | Run, mode: str) -> tuple[Run, Run]:
    """The clean and the patch run: on reconstructions in `zero` mode, else with their own errors.

    A `Run` given as patch holds the patch values themselves.
    """
    with torch.no_grad():
        own = "zero" if mode == "zero" else "live"
        c = forward(world, clean, own)
        return c, patch if isinstance(patch, Run) else forward(world, patch, own)


def slopes(
    world: World,
    ids: Sequence[int],
    m: OnLogits,
    mode: str,
    errors: dict[str, Tensor],
    entry: Tensor,
    at: Run,
) -> Dense:
    """∂m/∂u of every node: a leaf 0 is added to every feature, error and embedding, then differentiated."""
    df = {s: torch.zeros_like(f).requires_grad_() for s, f in at.f.items()}
    de = {s: torch.zeros_like(e).requires_grad_() for s, e in at.e.items()}
    dt = torch.zeros_like(entry).requires_grad_()
    run = forward(world, ids, mode, errors=errors, entry=entry + dt, edit=lambda s, f, e: (f + df[s], e + de[s]))
    leaves = [*df.values(), *de.values(), dt]
    found = list(torch.autograd.grad(m(run.logits).sum(), leaves))
    slope: Dense = {(s, "feature"): found.pop(0)[0] for s in df}
    slope |= {(s, "error"): found.pop(0)[0] for s in de}
    return slope | {(TOKENS, "token"): found.pop(0)[0]}


def change(old: Run, new: Run) -> Dense:
    """new − old of every node."""
    both: Dense = {(s, "feature"): (new.f[s] - old.f[s])[0] for s in old.f}
    both |= {(s, "error"): (new.e[s] - old.e[s])[0] for s in old.e}
    return both | {(TOKENS, "token"): (new.entry - old.entry)[0]}


def times(slope: Dense, moved: Dense) -> Dense:
    """Product feature by feature, and inner product for errors and tokens, which are vectors."""
    product = {node: slope[node] * moved[node] for node in slope}
    return {node: v if node[1] == "feature" else v.sum(-1) for node, v in product.items()}


def attribution_patching(
    world: World, clean: Sequence[int], patch: Sequence[int] | Run, m: OnLogits, mode: str
) -> Dense:
    c, p = ends(world, clean, patch, mode)
    return times(slopes(world, clean, m, mode, c.e, c.entry, c), change(c, p))


def integrated_gradients(
    world: World,
    clean: Sequence[int],
    patch: Sequence[int] | Run,
    m: OnLogits,
    mode: str,
    rule: Sequence[tuple[float, float]],
) -> Dense:
    """Site path; row k of a batch stands at the rule's k-th (point, weight)."""
    c, p = ends(world, clean, patch, mode)
    moved = change(c, p)
    mean: Dense = {}
    alpha, weight = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in zip(*rule, strict=True))
    for site in (*c.f, TOKENS):
        if site == TOKENS:
            entry = (c.entry + alpha * (p.entry - c.entry)).requires_grad_()
            leaves = {(TOKENS, "token"): entry}
            run = forward(world, clean, mode, errors=c.e, entry=entry, rows=len(rule))
        else:
            f = (c.f[site] + alpha * (p.f[site] - c.f[site])).requires_grad_()
            e = (c.e[site] + alpha * (p.e[site] - c.e[site])).requires_grad_()
            leaves = {(site, "feature"): f, (site, "error"): e}

            def edit(s: str, f0: Tensor, e0: Tensor, site: str = site, f: Tensor = f, e: Tensor = e):
                return (f, e) if s == site else (f0, e0)

            run = forward(world, clean, mode, errors=c.e, edit=edit, rows=len(rule))
        found = torch.autograd.grad(m(run.logits).sum(), list(leaves.values()))
        for node, gradient in zip(leaves, found, strict=True):
            mean[node] = (weight * gradient).sum(0)
    return times(mean, moved)


def input_path_integrated_gradients(
    world: World,
    clean: Sequence[int],
    patch: Sequence[int],
    m: OnLogits,
    mode: str,
    rule: Sequence[tuple[float, float]],
) -> tuple[Dense, Dense]:
    """Effects, and for every node whether it moved on any step."""
    c, p = ends(world, clean, patch, mode)

    def path(alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        return c.entry + alpha * (p.entry - c.entry), {s: c.e[s] + alpha * (p.e[s] - c.e[s]) for s in c.e}

    effect: Dense = {}
    moves: Dense = {}
    before, reached = c, 0.0
    for step, (alpha, weight) in enumerate(rule):
        reached += weight
        entry, errors = path(reached)
        with torch.no_grad():
            after = forward(world, clean, mode, errors=errors, entry=entry) if step < len(rule) - 1 else p
        entry, errors = path(alpha)
        for node, part in times(slopes(world, clean, m, mode, errors, entry, c), change(before, after)).items():
            effect[node] = effect.get(node, 0) + part
        for node, d in change(before, after).items():
            moved = d != 0 if node[1] == "feature" else (d != 0).any(-1)
            moves[node] = moves.get(node, torch.zeros_like(moved)) | moved
        before = after
    return effect, moves


def exact_patching(world: World, clean: Sequence[int], patch: Sequence[int] | Run, m: OnLogits, mode: str) -> Dense:
    """One node at a time: row n of a batch of clean runs has node n, and nothing else, at its patch value."""
    c, p = ends(world, clean, patch, mode)
    with torch.no_grad():
        start = m(forward(world, clean, mode, errors=c.e).logits)
    effect: Dense = {}
    for (site, kind), d in change(c, p).items():
        places = torch.nonzero(d if kind == "feature" else (d != 0).any(-1))
        effect[site, kind] = torch.zeros(d.shape if kind == "feature" else d.shape[:1], dtype=d.dtype)
        if len(places) == 0:
            continue
        old, new = {"feature": (c.f, p.f), "error": (c.e, p.e)}.get(kind, ({TOKENS: c.entry}, {TOKENS: p.entry}))
        value = old[site].repeat(len(places), 1, 1)
        for n, place in enumerate(places.tolist()):
            value[(n, *place)] = new[site][(0, *place)]

        def edit(s: str, f: Tensor, e: Tensor, site: str = site, kind: str = kind, value: Tensor = value):
            if s != site:
                return f, e
            return (value, e) if kind == "feature" else (f, value)

        entry = value if kind == "token" else None
        with torch.no_grad():
            run = forward(world, clean, mode, errors=c.e, edit=edit, entry=entry, rows=len(places))
        effect[site, kind][tuple(places.T)] = m(run.logits) - start
    return effect
