"""Slow, plain twin of chord IG, written from the formulas: one prompt, dense, one full forward for every point.

    y_s(α) = (1−α) y_c + α y_p  at every site and at the token embeddings
    M(y_s) = Σ over later targets t, Σ_k w_k ∂(M(x_t) · x_t)/∂y_s (α_k),     M(metric) = 1
    M(f) = W_dec M(y);   M(p) = slope · M(f), the slope of `slopes_of`;   M(x) = W_enc M(p)

It shares with the code under test only the tensors of the SAEs. Encoders, gates, secants, the sharing of a moving
threshold and the normalisations are written out again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import World

TOKENS, ENTRY = twins.TOKENS, twins.ENTRY
Rule = Sequence[tuple[float, float]]
Metric = Callable[[Tensor], Tensor]


@dataclass
class State:
    """One run: the activation at each site in the order of the forward pass, and its encoding by the site's SAE."""

    entry: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    x: dict[str, Tensor] = field(default_factory=dict)
    y: dict[str, Tensor] = field(default_factory=dict)
    p: dict[str, Tensor] = field(default_factory=dict)
    f: dict[str, Tensor] = field(default_factory=dict)
    e: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Chord:
    """Effects by (site, kind); by site, dense: the ledger's columns and what flows into each feature."""

    effect: twins.Dense
    smooth: twins.Dense
    opened: dict[str, Tensor]
    contribution: dict[str, Tensor]
    undivided: dict[str, Tensor]
    inflow: dict[str, Tensor]
    total: float

    def residual(self, mode: str) -> float:
        """Total effect minus all sources."""
        tokens = self.effect[TOKENS, "token"].sum()
        errors = sum(float(v.sum()) for (_, kind), v in self.effect.items() if kind == "error" and mode == "path")
        return self.total - float(tokens) - errors - sum(float(v.sum()) for v in self.undivided.values())


def run(
    world: World,
    ids: Sequence[int],
    written: Callable[[str, Tensor], Tensor],
    entry: Tensor | None = None,
) -> State:
    """One forward in which every site passes through `written`; arrivals and outputs are [pos, width]."""
    state = State()

    def enter(x: Tensor, hook: object = None) -> Tensor:
        state.entry = x[0] if entry is None else entry
        return state.entry[None]

    def splice(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            state.x[site] = x.flatten(2)[0]
            state.y[site] = written(site, state.x[site])
            return state.y[site].reshape(x.shape)

        return function

    hooks = [(ENTRY, enter), *((site, splice(site)) for site in world.saes)]
    state.logits = world.model.module.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[:, -1]
    return state


def frame_of(sae: SAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised x, and the scale and mean that undo it."""
    nothing = torch.zeros(len(x), 1, dtype=x.dtype)
    if sae.normalisation == "layer_norm":
        mean = x.sum(-1, keepdim=True) / x.shape[1]
        std = (((x - mean) ** 2).sum(-1, keepdim=True) / (x.shape[1] - 1)).sqrt()
        return (x - mean) / (std + 1e-5), std, mean
    if sae.normalisation == "constant_norm_rescale":
        scale = ((x**2).sum(-1, keepdim=True) / x.shape[1]).sqrt()
        return x / scale, scale, nothing
    return x, nothing + 1, nothing


def projected(sae: SAE, x: Tensor) -> Tensor:
    x_n = frame_of(sae, x)[0]
    return (x_n - sae.b_dec if sae.apply_b_dec_to_input else x_n) @ sae.W_enc


def value_and_gate(sae: SAE, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """v, g and margin of every encoder kind, from the table of gates."""
    if isinstance(sae, Gated):
        v, margin = (p * torch.exp(sae.r_mag) + sae.b_mag).clamp(min=0), p + sae.b_gate
    elif isinstance(sae, ProLU):
        v, margin = p.clamp(min=0), p + sae.b_enc
    elif isinstance(sae, TopK):
        z = p + sae.b_enc
        ranked = z.sort(dim=-1, descending=True).values
        v, margin = z.clamp(min=0), z - (ranked[:, sae.k - 1] + ranked[:, sae.k])[:, None] / 2
    elif isinstance(sae, JumpReLU | BatchTopK):
        z = p + sae.b_enc
        v, margin = z.clamp(min=0), z - sae.threshold
    else:
        assert isinstance(sae, ReLU)
        v, margin = (p + sae.b_enc).clamp(min=0), torch.ones_like(p)
    return v, (margin > 0).to(p.dtype), margin


def threshold_moves(z_c: Tensor, z_p: Tensor, k: int) -> Tensor:
    """∫ ∂t/∂z_j dα for t = midpoint of k-th and (k+1)-th largest, order by order between all crossings of lines."""
    shares = torch.zeros_like(z_c)
    for place, (start, move) in enumerate(zip(z_c, z_p - z_c, strict=True)):
        gap, drift = start[:, None] - start[None], move[:, None] - move[None]
        crossings = -gap[drift != 0] / drift[drift != 0]
        inside = crossings[(crossings > 0) & (crossings < 1)].sort().values
        edges = torch.cat([torch.zeros(1).to(inside), inside, torch.ones(1).to(inside)])
        for left, right in pairwise(edges):
            order = (start + (left + right) / 2 * move).argsort(descending=True)
            shares[place, order[k - 1]] += (right - left) / 2
            shares[place, order[k]] += (right - left) / 2
    return shares


@dataclass
class Slopes:
    """Δf = value · Δp + gate · Δμ + undivided."""

    value: Tensor
    gate: Tensor
    shares: Tensor | None
    opened: Tensor
    jump: Tensor
    undivided: Tensor


def slopes_of(sae: SAE, p_c: Tensor, p_p: Tensor, cap: float) -> Slopes:
    """Secants. If the threshold is fixed, value + gate is Δf/Δp itself, or the cap."""
    (v_c, g_c, margin_c), (v_p, g_p, margin_p) = value_and_gate(sae, p_c), value_and_gate(sae, p_p)
    moved = p_p - p_c
    one = torch.exp(sae.r_mag) if isinstance(sae, Gated) else torch.ones_like(sae.W_dec[:, 0])
    slope_of_v = torch.where(
        moved == 0, one * ((v_c > 0) & (g_c == g_p)), (v_p - v_c) / torch.where(moved == 0, 1, moved)
    )
    value = (g_c + g_p) / 2 * slope_of_v
    opened = g_p - g_c
    jump = (v_c + v_p) / 2 * opened
    if isinstance(sae, TopK):
        shares = threshold_moves(p_c + sae.b_enc, p_p + sae.b_enc, sae.k)
        by_margin = margin_p - margin_c
        steep = torch.where(opened == 0, 0, jump / torch.where(opened == 0, 1, by_margin))
        gate = torch.minimum(steep, cap * one - value)
        return Slopes(value, gate, shares, opened, jump, jump - gate * by_margin)
    change = g_p * v_p - g_c * v_c
    secant = torch.where(moved == 0, value, change / torch.where(moved == 0, 1, moved))
    slope = torch.where(opened == 0, secant, torch.minimum(secant, cap * one))
    return Slopes(value, slope - value, None, opened, jump, change - slope * moved)


def chord_integrated_gradients(
    world: World,
    clean: Sequence[int],
    patch: Sequence[int],
    metric: Metric,
    mode: str,
    rule: Rule,
    cap: float = 4.0,
) -> Chord:
    c, p = (ends_of(world, ids, mode) for ids in (clean, patch))
    here = spliced_positions(world, clean)
    points = [at(world, clean, c, p, alpha, weight) for alpha, weight in rule]
    total = (metric(p.logits) - metric(c.logits)).item()
    found = Chord({}, {}, {}, {}, {}, {}, total)
    for smooth in (False, True):
        effect = found.smooth if smooth else found.effect
        multiplier = pulled(points, lambda state: metric(state.logits))
        for site in reversed(list(c.x)):
            sae = world.saes[site]
            of_y = multiplier[site]
            scale = (frame_of(sae, c.x[site])[1] + frame_of(sae, p.x[site])[1]) / 2
            of_f = (scale * of_y) @ sae.W_dec.T
            effect[site, "feature"] = of_f * (p.f[site] - c.f[site])
            effect[site, "error"] = (of_y * (p.e[site] - c.e[site])).sum(-1)
            if mode == "live":
                seed = of_y
            else:
                slopes = slopes_of(sae, c.p[site], p.p[site], cap)
                of_gate = of_f * slopes.gate * (not smooth)
                of_p = of_f * slopes.value + of_gate
                if slopes.shares is not None:
                    of_p = of_p - of_gate.sum(-1, keepdim=True) * slopes.shares
                seed = torch.where(here, through_encoder(sae, of_p, of_y, c, p, site, rule), of_y)
                if not smooth:
                    found.opened[site] = torch.where(here, slopes.opened, 0)
                    found.contribution[site] = torch.where(here, of_f * slopes.jump, 0)
                    found.undivided[site] = torch.where(here, of_f * slopes.undivided, 0)
                    found.inflow[site] = torch.where(here, of_p * (p.p[site] - c.p[site]), 0)
            part = pulled(points, lambda state, site=site, seed=seed: (seed * state.x[site]).sum())
            multiplier = {leaf: m + part[leaf] for leaf, m in multiplier.items()}
        effect[TOKENS, "token"] = (multiplier[TOKENS] * (p.entry - c.entry)).sum(-1)
    return found


def spliced_positions(world: World, ids: Sequence[int]) -> Tensor:
    here = torch.ones(len(ids), 1, dtype=torch.bool)
    if world.model.bos_id is not None and not world.splice_bos:
        here[0] = ids[0] != world.model.bos_id
    return here


def ends_of(world: World, ids: Sequence[int], mode: str) -> State:
    """A run as one end of the lines: on reconstructions in `zero` mode, else the bare model's."""
    here = spliced_positions(world, ids)
    parts: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def written(site: str, x: Tensor) -> Tensor:
        sae = world.saes[site]
        _, scale, mean = frame_of(sae, x)
        p = projected(sae, x)
        v, g, _ = value_and_gate(sae, p)
        decoded = (v * g @ sae.W_dec + sae.b_dec) * scale + mean
        parts[site] = p, torch.where(here, v * g, 0), torch.where(here, x - decoded, 0)
        return torch.where(here, decoded, x) if mode == "zero" else x

    with torch.no_grad():
        state = run(world, ids, written)
    for site, (p, f, e) in parts.items():
        state.p[site], state.f[site], state.e[site] = p, f, e
    return state


@dataclass
class Point:
    """One forward with every site's output, and the embeddings, at a leaf on its line."""

    weight: float
    leaves: dict[str, Tensor]
    state: State


def at(world: World, ids: Sequence[int], c: State, p: State, alpha: float, weight: float) -> Point:
    leaves = {s: (c.y[s] + alpha * (p.y[s] - c.y[s])).requires_grad_() for s in c.y}
    entry = (c.entry + alpha * (p.entry - c.entry)).requires_grad_()
    state = run(world, ids, lambda site, _x: leaves[site], entry)
    return Point(weight, leaves | {TOKENS: entry}, state)


def pulled(points: Sequence[Point], number: Callable[[State], Tensor]) -> dict[str, Tensor]:
    """Σ_k w_k ∂ number/∂ leaf at point k, for every leaf; 0 where the number does not depend on it."""
    mean = {name: torch.zeros_like(leaf) for name, leaf in points[0].leaves.items()}
    for point in points:
        gradients = torch.autograd.grad(
            number(point.state).sum(),
            list(point.leaves.values()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        for name, gradient in zip(point.leaves, gradients, strict=True):
            mean[name] += point.weight * gradient
    return mean


def through_encoder(sae: SAE, of_p: Tensor, of_y: Tensor, c: State, p: State, site: str, rule: Rule) -> Tensor:
    """M(x): y = scale · r + mean + ε, r = f W_dec + b_dec, and p = (normalised x) W_enc, along the line from x_c."""
    r = (c.f[site] + p.f[site]) / 2 @ sae.W_dec + sae.b_dec
    total = torch.zeros_like(of_y)
    for alpha, weight in rule:
        x = (c.x[site] + alpha * (p.x[site] - c.x[site])).requires_grad_()
        _, scale, mean = frame_of(sae, x)
        passed = (of_p * projected(sae, x)).sum()
        if sae.normalisation != "none":
            passed = passed + (of_y * (scale * r + mean)).sum()
        total += weight * torch.autograd.grad(passed, x)[0]
    return total
