"""The sweep of chord IG: multipliers carried from the metric back to the tokens, through stretches and secant gates.

    M(y_s)  from the stretches after s          M(f) = W_dec M(y)
    M(p)    = the secants' pull-back of M(f)    M(x_s) = W_enc M(p), the seed of the stretch before s
    attribution(node) = M(node) · (patch value − clean value)

In `live` mode the splice is transparent: M(x_s) = M(y_s), and no gate is met. Where a site's SAE normalises its input,
y = scale · r + mean + ε: the change of scale and mean flows past the site's nodes, shared out by means of both runs.
What the quadrature of x -> (normalised x, scale, mean) leaves counts to the residual of the stretch that ends there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.quadrature import Quadrature
from attribution.recording import ErrorMode, SiteRecord
from attribution.resuming import TOKENS
from attribution.saes import SAE
from attribution.saes.normalisation import normalise
from attribution.secant_gates import secant_gates
from attribution.stretches import METRIC, Ends, SectionRuns, sections


@dataclass(frozen=True)
class Flips:
    """Gates of one site that differ between the two runs.

    `opened` is +1 or −1. `contribution` is J = M(f) v̄ Δg, `undivided` the part of it that the slope cap keeps from
    flowing on: both in units of the metric.
    """

    row: Int[Tensor, " flip"]
    pos: Int[Tensor, " flip"]
    index: Int[Tensor, " flip"]
    opened: Int[Tensor, " flip"]
    contribution: Float[Tensor, " flip"]
    undivided: Float[Tensor, " flip"]


@dataclass(frozen=True)
class SiteFlow:
    """One site in a sweep: the multiplier of its output, and the gates that flip there (none in `live` mode)."""

    multiplier: Float[Tensor, "sweep row pos width"]
    flips: Flips | None


@dataclass(frozen=True)
class Sweep:
    """All multipliers, and the residual and number of points of every stretch (targets in `stretches`).

    Sweep 0 is the attribution; sweep 1, where asked for, leaves out what flows through flipped gates.
    """

    tokens: Float[Tensor, "sweep row pos d_model"] | None
    sites: Mapping[str, SiteFlow]
    stretches: tuple[str, ...]
    residual: Float[Tensor, "row stretch"]
    points: Int[Tensor, "row stretch"]


def sweep(
    ends: Ends,
    error_mode: ErrorMode,
    rules: tuple[Quadrature, ...],
    *,
    tolerance: float,
    slope_cap: float,
    split: bool,
    progress: Callable[[float], None],
    down_to: str = TOKENS,
) -> Sweep:
    """Sweep from the metric to the tokens, or to a site below which nothing changes.

    Args:
        ends: the two runs.
        error_mode: `live` passes sites by identity; any other mode through their encoders.
        rules: the quadrature of every stretch, and finer ones for rows that miss the tolerance.
        tolerance: the largest residual of all stretches together, as a share of the total effect.
        slope_cap: s_max, the steepest secant of a flip, in slopes of an open gate.
        split: also sweep with what flows through flipped gates left out.
        progress: told the share of work done.
        down_to: the first site whose multiplier is wanted.
    """
    through_gates = torch.tensor([True, False] if split else [True], device=ends.total.device)
    parts = sections(ends.spliced.sites)
    count = 1 + len(ends.spliced.sites)
    allowed = ends.total.double().abs() * tolerance / count
    output: dict[str, Tensor] = {}
    flows: dict[str, SiteFlow] = {}
    residual: dict[str, Tensor] = {}
    points: dict[str, Tensor] = {}
    for section in reversed(parts):
        runs = SectionRuns(ends, section, rules)
        for stretch in section.stretches():
            if stretch.target == METRIC:
                seed, lost = None, 0.0
            else:
                flow, seed, lost = _through_site(
                    ends, stretch.target, output[stretch.target], error_mode, rules[-1], slope_cap, through_gates
                )
                flows[stretch.target] = flow
            pulled = runs.pull_back(stretch, seed, allowed)
            for leaf, multiplier in pulled.multipliers.items():
                both = multiplier.expand(len(through_gates), *multiplier.shape[1:])
                output[leaf] = output[leaf] + both if leaf in output else both
            residual[stretch.target], points[stretch.target] = pulled.residual + lost, pulled.points
            progress(len(residual) / count)
        if down_to in (section.start, *section.inner):
            break
    flows |= {site: SiteFlow(output[site], None) for site in output if site not in (*flows, TOKENS)}
    order = tuple(target for target in (*ends.spliced.sites, METRIC) if target in residual)
    return Sweep(
        tokens=output.get(TOKENS),
        sites=flows,
        stretches=order,
        residual=torch.stack([residual[target] for target in order], dim=1),
        points=torch.stack([points[target] for target in order], dim=1),
    )


def _through_site(
    ends: Ends,
    site: str,
    multiplier: Float[Tensor, "sweep row pos width"],
    error_mode: ErrorMode,
    rule: Quadrature,
    slope_cap: float,
    through_gates: Bool[Tensor, " sweep"],
) -> tuple[SiteFlow, Float[Tensor, "sweep row pos width"], Float[Tensor, " row"]]:
    """The site's flow, the multiplier of what arrives there, and what the normalisation's own quadrature loses."""
    lost = torch.zeros_like(ends.total, dtype=torch.float64)
    if error_mode == "live":
        return SiteFlow(multiplier, None), multiplier, lost
    sae, clean, patch = ends.spliced.saes[site], ends.clean_sites[site], ends.patch_sites[site]
    here = ends.clean.spliced[ends.rows]
    row, pos = torch.nonzero(here & ends.reached, as_tuple=True)
    x_c, x_p = (record.arrival[row, pos].to(sae.W_enc.dtype) for record in (clean, patch))
    f_c, f_p = (record.features.dense()[row, pos] for record in (clean, patch))
    p_c, p_p = (sae.project(normalise(x, sae.normalisation)[0]) for x in (x_c, x_p))
    gates = secant_gates(sae, p_c, p_p, f_c, f_p, slope_cap)
    of_output = multiplier[:, row, pos].to(sae.W_dec.dtype)
    of_features = _mean_scale(clean, patch, row, pos) * (of_output @ sae.W_dec.T)
    of_projection = gates.pull_back(of_features, rearrange(through_gates, "sweep -> sweep 1 1"))
    of_normalised = of_projection @ sae.W_enc.T
    if sae.normalisation == "none":
        of_arrival = of_normalised
    else:
        of_arrival, missing = _through_normalisation(sae, of_normalised, of_output, x_c, x_p, (f_c, f_p), rule)
        lost = lost.index_add(0, row, missing.double())
    arrived = torch.where(here[..., None], 0, multiplier)
    arrived[:, row, pos] = of_arrival.to(arrived.dtype)
    place, index = torch.nonzero(gates.opened, as_tuple=True)
    flips = Flips(
        row=row[place],
        pos=pos[place],
        index=index,
        opened=gates.opened[place, index],
        contribution=(of_features[0] * gates.jump)[place, index],
        undivided=(of_features[0] * gates.undivided)[place, index],
    )
    return SiteFlow(multiplier, flips), arrived, lost


def _mean_scale(clean: SiteRecord, patch: SiteRecord, row: Tensor, pos: Tensor) -> Float[Tensor, "#place 1"]:
    """Mean of both runs' scale, by which a feature's change reaches the output; 1 without normalisation."""
    if clean.frame is None or patch.frame is None:
        return clean.arrival.new_ones(1, 1)
    return (clean.frame.scale[row, pos] + patch.frame.scale[row, pos]) / 2


def _through_normalisation(
    sae: SAE,
    of_normalised: Float[Tensor, "sweep place width"],
    of_output: Float[Tensor, "sweep place width"],
    x_c: Float[Tensor, "place width"],
    x_p: Float[Tensor, "place width"],
    features: tuple[Tensor, Tensor],
    rule: Quadrature,
) -> tuple[Float[Tensor, "sweep place width"], Float[Tensor, " place"]]:
    """Pull back through x -> (normalised x, scale, mean), averaged along the line from x_c to x_p; and its residual."""
    decoded = (features[0] + features[1]) / 2 @ sae.W_dec + sae.b_dec
    of_scale = einsum(of_output, decoded, "sweep place width, place width -> sweep place")[..., None]
    of_mean = of_output.sum(-1, keepdim=True)

    def parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalised, frame = normalise(x, sae.normalisation)
        assert frame is not None
        return normalised, frame.scale, frame.mean

    total = torch.zeros_like(of_normalised)
    for alpha, weight in zip(rule.points, rule.weights, strict=True):
        x = (x_c + alpha * (x_p - x_c)).requires_grad_()
        with torch.enable_grad():
            outputs = parts(x)
        for n in range(len(total)):
            seeds = (of_normalised[n], of_scale[n], of_mean[n])
            used = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
            (gradient,) = torch.autograd.grad([o for o, _ in used], x, [s for _, s in used], retain_graph=True)
            total[n] += weight * gradient
    inflow = sum(
        (seed[0] * (patch - clean)).sum(-1)
        for seed, clean, patch in zip((of_normalised, of_scale, of_mean), parts(x_c), parts(x_p), strict=True)
    )
    return total, inflow - (total[0] * (x_p - x_c)).sum(-1)
