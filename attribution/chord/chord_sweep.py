"""The sweep of chord IG: multipliers carried from the metric back to the tokens, through stretches and secant gates.

    M(y_s)  from the stretches after s          M(f) = W_dec M(y)
    M(p)    = the secants' pull-back of M(f)    M(x_s) = W_enc M(p), the seed of the stretch before s
    attribution(node) = M(node) · (patch value − clean value)

In `live` mode the splice is transparent: M(x_s) = M(y_s), and no encoder is passed. If a site's SAE normalises its
input, y = scale · r + mean + ε; the change of scale and mean flows past the site's nodes (`site_secants.py`). The
quadrature error of x -> (normalised x, scale, mean) is added to the residual of the stretch that ends at the site.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.chord.site_secants import SiteSecants
from attribution.chord.stretches import METRIC, Ends, SectionRuns, sections
from attribution.effects.quadrature import Quadrature
from attribution.splice.recording import ErrorMode
from attribution.splice.resuming import TOKENS

MOST_POINTS = 80


@dataclass(frozen=True)
class FlippedGates:
    """Gates of one site that differ between the two runs.

    `opened` is +1 or −1. `contribution` is J = M(f) v̄ Δg, and `undivided` its part that the slope cap keeps from
    flowing further upstream. Both are in units of the metric.
    """

    row: Int[Tensor, " flip"]
    pos: Int[Tensor, " flip"]
    index: Int[Tensor, " flip"]
    opened: Int[Tensor, " flip"]
    contribution: Float[Tensor, " flip"]
    undivided: Float[Tensor, " flip"]

    @classmethod
    def joined(cls, parts: "Sequence[FlippedGates]") -> "FlippedGates":
        """Those of all parts, one after the other."""
        return cls(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)})


@dataclass(frozen=True)
class SiteFlow:
    """One site in a sweep: the multiplier of its output, and the gates that flip there (none in `live` mode)."""

    multiplier: Float[Tensor, "sweep row pos width"]
    flips: FlippedGates | None


@dataclass(frozen=True)
class Sweep:
    """All multipliers, and the residual and number of points of every stretch (targets in `stretches`).

    Sweep 0 is the attribution. Sweep 1, if requested, leaves out the flow through flipped gates.
    """

    tokens: Float[Tensor, "sweep row pos d_model"] | None
    sites: Mapping[str, SiteFlow]
    stretches: tuple[str, ...]
    residual: Float[Tensor, "row stretch"]
    points: Int[Tensor, "row stretch"]


@dataclass(frozen=True)
class SweepPlan:
    """The settings of a sweep; see `chord_attribution`.

    `rtol` is the largest residual of all stretches together, as a share of the total effect. `down_to` is the first
    site whose multiplier is wanted; the sweep does not pass its gates.
    """

    points: Quadrature
    rtol: float | None
    slope_cap: float
    split: bool = False
    down_to: str = TOKENS

    def __post_init__(self) -> None:
        if self.rtol is not None and not self.rtol > 0:
            raise ValueError(f"rtol must be positive; got {self.rtol}.")
        if not self.slope_cap >= 1:
            raise ValueError(f"slope_cap must be at least 1, the slope of an open gate; got {self.slope_cap}.")

    def settings(self) -> dict[str, str | int | float]:
        """The settings that are stored with the effects."""
        tolerance = {} if self.rtol is None else {"rtol": self.rtol}
        return {**self.points.settings(), **tolerance, "slope_cap": self.slope_cap}

    def rules(self) -> tuple[Quadrature, ...]:
        """The quadrature rule of every stretch, followed by finer ones if there is a tolerance."""
        rules = [self.points]
        while self.rtol is not None and 2 * len(rules[-1].points) <= MOST_POINTS:
            rules.append(rules[-1].doubled())
        return tuple(rules)


def run_sweep(ends: Ends, error_mode: ErrorMode, plan: SweepPlan, progress: Callable[[float], None]) -> Sweep:
    """Carry multipliers from the metric back to the tokens, or to a site before which nothing changes.

    Args:
        ends: the two runs.
        error_mode: in `live` mode sites pass multipliers on unchanged, in any other mode through their encoders.
        plan: points, tolerance, slope cap, and where to stop.
        progress: is called with the share of the work that is done.
    """
    rules = plan.rules()
    through_gates = torch.tensor([True, False] if plan.split else [True], device=ends.total.device)
    parts = sections(ends.spliced.sites)
    count = 1 + len(ends.spliced.sites)
    tolerance = math.inf if plan.rtol is None else plan.rtol
    allowed = ends.total.double().abs() * tolerance / count
    output: dict[str, Tensor] = {}
    flows: dict[str, SiteFlow] = {}
    residual: dict[str, Tensor] = {}
    points: dict[str, Tensor] = {}
    for section in reversed(parts):
        runs = SectionRuns(ends, section, rules)
        for stretch in section.stretches():
            if stretch.target == plan.down_to:
                break
            if stretch.target == METRIC:
                seed, lost = None, 0.0
            else:
                flow, seed, lost = _through_site(
                    ends, stretch.target, output[stretch.target], error_mode, rules[-1], plan.slope_cap, through_gates
                )
                flows[stretch.target] = flow
            pulled = runs.pull_back(stretch, seed, allowed)
            for leaf, multiplier in pulled.multipliers.items():
                both = multiplier.expand(len(through_gates), *multiplier.shape[1:])
                output[leaf] = output[leaf] + both if leaf in output else both
            residual[stretch.target], points[stretch.target] = pulled.residual + lost, pulled.points
            progress(len(residual) / count)
        if plan.down_to in (section.start, *section.inner):
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
    """The site's flow, the multiplier of what arrives there, and the quadrature error of its normalisation."""
    lost = torch.zeros_like(ends.total, dtype=torch.float64)
    if error_mode == "live":
        return SiteFlow(multiplier, None), multiplier, lost
    arrived = torch.where(ends.clean.spliced[ends.rows][..., None], 0, multiplier)
    flips: list[FlippedGates] = []
    for secants in SiteSecants.between(ends, site, slope_cap, rule):
        row, pos = secants.row, secants.pos
        of_output = multiplier[:, row, pos].to(secants.sae.W_dec.dtype)
        of_features = secants.of_features(of_output)
        of_arrival, missing = secants.pull_back(of_output, of_features, through_gates)
        arrived[:, row, pos] = of_arrival.to(arrived.dtype)
        lost = lost.index_add(0, row, missing.double())
        flips.append(_flips(secants, of_features[0]))
    return SiteFlow(multiplier, FlippedGates.joined(flips)), arrived, lost


def _flips(secants: SiteSecants, of_features: Float[Tensor, "place d_sae"]) -> FlippedGates:
    gates = secants.gates
    place, index = torch.nonzero(gates.opened, as_tuple=True)
    return FlippedGates(
        row=secants.row[place],
        pos=secants.pos[place],
        index=index,
        opened=gates.opened[place, index],
        contribution=(of_features * gates.jump)[place, index],
        undivided=(of_features * gates.undivided)[place, index],
    )
