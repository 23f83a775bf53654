"""One site between two runs: its gates as secants, and multipliers pulled back from its output to its input.

    y = scale · r + mean + ε,   r = W_dec f + b_dec,   p = encoder's projection of the normalised x
    M(f) = scale̅ · W_dec M(y);  M(p) by the secants (`secant_gates.py`);  M(x) = ∂x_n/∂x ᵀ W_enc M(p)

Without normalisation, scale = 1 and x_n = x. With it, the change of scale and mean flows past the site's nodes. The
products scale · r are divided between their factors by the means of both runs (bars), and ∂/∂x is averaged over the
straight line from x_c to x_p.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.chord.secant_gates import SecantGates, secant_gates
from attribution.chord.stretches import Ends
from attribution.dictionaries import SAE
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.effects.quadrature import Quadrature

_ENTRIES_AT_ONCE: Final = 2**19
_FEWEST_PLACES: Final = 64


def places_at_once(sae: SAE) -> int:
    """Places whose secants are held at a time: about twenty numbers for each feature of each place."""
    return max(_FEWEST_PLACES, _ENTRIES_AT_ONCE // sae.d_sae)


@dataclass(frozen=True)
class SiteSecants:
    """The places (row, position) at which the site is spliced and its activation can differ between the runs.

    `scale` is the mean of both runs' scales, 1 without normalisation; `features` and `arrival` are those of the two
    runs; `rule` is the quadrature along the line through the normalisation.
    """

    sae: SAE
    row: Int[Tensor, " place"]
    pos: Int[Tensor, " place"]
    gates: SecantGates
    scale: Float[Tensor, "#place 1"]
    features: tuple[Float[Tensor, "place d_sae"], Float[Tensor, "place d_sae"]]
    arrival: tuple[Float[Tensor, "place width"], Float[Tensor, "place width"]]
    rule: Quadrature

    @classmethod
    def between(cls, ends: Ends, site: str, slope_cap: float, rule: Quadrature) -> "Iterator[SiteSecants]":
        """The secants of a site, some places at a time.

        Where the runs were recorded without projections, its encoder runs again.
        """
        row, pos = torch.nonzero(ends.clean.spliced[ends.rows] & ends.reached, as_tuple=True)
        for number in torch.arange(len(row), device=row.device).split(places_at_once(ends.spliced.saes[site])):
            yield cls._at(ends, site, slope_cap, rule, row[number], pos[number], number)

    @classmethod
    def at(
        cls,
        ends: Ends,
        site: str,
        slope_cap: float,
        rule: Quadrature,
        wanted: tuple[Int[Tensor, " node"], Int[Tensor, " node"]],
    ) -> tuple["SiteSecants", Int[Tensor, " node"]]:
        """The secants at the places of some nodes, and the number of each node's place."""
        here, width = ends.clean.spliced[ends.rows] & ends.reached, ends.reached.shape[1]
        row, pos = torch.nonzero(here, as_tuple=True)
        every, own = row * width + pos, wanted[0] * width + wanted[1]
        places, place = torch.unique(own, return_inverse=True)
        number = torch.searchsorted(every, places)
        return cls._at(ends, site, slope_cap, rule, row[number], pos[number], number), place

    @classmethod
    def _at(
        cls, ends: Ends, site: str, slope_cap: float, rule: Quadrature, row: Tensor, pos: Tensor, number: Tensor
    ) -> "SiteSecants":
        """The secants of some places; `number` counts them among all places of the site."""
        sae, records = ends.spliced.saes[site], (ends.clean_sites[site], ends.patch_sites[site])
        x_c, x_p = (record.arrival[row, pos].to(sae.W_enc.dtype) for record in records)
        f_c, f_p = (record.features.dense_at(row, pos) for record in records)
        p_c, p_p = (
            sae.project(normalise(x, sae.normalisation)[0])
            if record.projections is None
            else record.projections[number]
            for record, x in zip(records, (x_c, x_p), strict=True)
        )
        gates = secant_gates(sae, p_c, p_p, f_c, f_p, slope_cap)
        frame = ends.mean_frame(site)
        scale = x_c.new_ones(1, 1) if frame is None else frame.scale[row, pos]
        return cls(sae, row, pos, gates, scale, (f_c, f_p), (x_c, x_p), rule)

    def of_features(self, of_output: Float[Tensor, "*sweep place width"]) -> Float[Tensor, "*sweep place d_sae"]:
        """M(f) from M(y)."""
        return self.scale * (of_output @ self.sae.W_dec.T)

    def pull_back(
        self,
        of_output: Float[Tensor, "sweep place width"],
        of_features: Float[Tensor, "sweep place d_sae"],
        through_gates: Bool[Tensor, " sweep"],
    ) -> tuple[Float[Tensor, "sweep place width"], Float[Tensor, " place"]]:
        """M(x) from M(y) and M(f), and the quadrature error of the normalisation."""
        of_projection = self.gates.pull_back(of_features, rearrange(through_gates, "sweep -> sweep 1 1"))
        of_normalised = of_projection @ self.sae.W_enc.T
        if self.sae.normalisation == "none":
            return of_normalised, torch.zeros_like(of_normalised[0, :, 0])
        decoded = (self.features[0] + self.features[1]) / 2 @ self.sae.W_dec + self.sae.b_dec
        of_scale = einsum(of_output, decoded, "sweep place width, place width -> sweep place")[..., None]
        of_mean = of_output.sum(-1, keepdim=True)
        return _through_normalisation(self.sae, self.arrival, self.rule, of_normalised, of_scale, of_mean)

    def seeds(
        self, place: Int[Tensor, " target"], index: Int[Tensor, " target"], of_feature: Float[Tensor, " target"]
    ) -> Float[Tensor, "target width"]:
        """M(x) at each target's place, from the multiplier of one feature alone: the seed of its edges."""
        gates = self.gates
        of_margin = of_feature * gates.gate_slope[place, index]
        of_projection = of_feature * gates.value_slope[place, index] + of_margin
        of_normalised = of_projection[:, None] * self.sae.W_enc.T[index]
        if gates.threshold_shares is not None:
            of_normalised = of_normalised - of_margin[:, None] * (gates.threshold_shares[place] @ self.sae.W_enc.T)
        if self.sae.normalisation == "none":
            return of_normalised
        nothing = torch.zeros_like(of_normalised[None, :, :1])
        arrival = self.arrival[0][place], self.arrival[1][place]
        return _through_normalisation(self.sae, arrival, self.rule, of_normalised[None], nothing, nothing)[0][0]


def _through_normalisation(
    sae: SAE,
    arrival: tuple[Float[Tensor, "place width"], Float[Tensor, "place width"]],
    rule: Quadrature,
    of_normalised: Float[Tensor, "sweep place width"],
    of_scale: Float[Tensor, "sweep place 1"],
    of_mean: Float[Tensor, "sweep place 1"],
) -> tuple[Float[Tensor, "sweep place width"], Float[Tensor, " place"]]:
    """Multipliers pulled back through x -> (normalised x, scale, mean), averaged along the line, and their residual."""
    x_c, x_p = arrival
    total = torch.zeros_like(of_normalised)
    for alpha, weight in zip(rule.points, rule.weights, strict=True):
        x = (x_c + alpha * (x_p - x_c)).requires_grad_()
        with torch.enable_grad():
            outputs = _normalised(sae, x)
        for n in range(len(total)):
            seeds = (of_normalised[n], of_scale[n], of_mean[n])
            used = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
            (gradient,) = torch.autograd.grad([o for o, _ in used], x, [s for _, s in used], retain_graph=True)
            total[n] += weight * gradient
    inflow = torch.zeros_like(of_normalised[0, :, 0])
    for seed, clean, patch in zip(
        (of_normalised, of_scale, of_mean), _normalised(sae, x_c), _normalised(sae, x_p), strict=True
    ):
        inflow = inflow + (seed[0] * (patch - clean)).sum(-1)
    return total, inflow - (total[0] * (x_p - x_c)).sum(-1)


def _normalised(sae: SAE, x: Float[Tensor, "place width"]) -> tuple[Tensor, Tensor, Tensor]:
    normalised, frame = normalise(x, sae.normalisation)
    assert frame is not None
    return normalised, frame.scale, frame.mean
