"""Nodes at risk: those that may flip an important gate downstream, a jump that gradients do not see.

    risk(u) = Σ over gates d with |predicted Δμ_d(u)| > |μ_d| of |jump_d · ∂m/∂f_d|
    predicted Δμ_d(u) = ∂μ_d/∂u · (p_u − c_u)         first order, at the clean run, through all paths
    jump_d = the value of f_d at its threshold

Risks are in units of the metric. Nothing is patched; each gate costs one backward pass. Gates are taken in the order of
|jump_d · ∂m/∂f_d| / |μ_d|: first those that matter most and are nearest to their thresholds. Source: METHODS of this
project.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.effects.measurement import Situation
from attribution.effects.patches import Patches
from attribution.splice.recording import SiteRecord
from attribution.splice.spliced_model import TOKENS


def gate_risks(situation: Situation, patches: list[Patches], gates: int) -> list[Float[Tensor, " patch"]]:
    """risk(u) of every patch, from the `gates` most dangerous gates of each row.

    `situation` must be prepared with gradients, in `frozen` or `zero` mode.
    """
    found = _dangerous_gates(situation, gates)
    record = situation.clean.sites
    outputs = {TOKENS: situation.clean.entry} | {site: r.output for site, r in record.items()}
    amounts = [patch.amount(torch.arange(len(patch), device=patch.row.device)) for patch in patches]
    result = [torch.zeros_like(amount[:, 0]) for amount in amounts]
    for number in range(found.site.shape[1]):
        margin = _margins(situation, found, number)
        gradients = torch.autograd.grad(
            margin.sum(), list(outputs.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        by_site = dict(zip(outputs, gradients, strict=True))
        for patch, amount, risk in zip(patches, amounts, result, strict=True):
            slope = by_site[patch.site][patch.row, patch.pos].to(amount.dtype)
            moved = (slope * amount).sum(-1).abs()
            away = torch.maximum(margin.detach().abs(), found.least[:, number].to(margin.dtype))
            reach = moved > away[patch.row].to(moved.dtype)
            risk += torch.where(reach, found.weight[patch.row, number].to(moved.dtype), 0)
    return result


@dataclass(frozen=True)
class _Gates:
    """Gates by row, the most dangerous first: number of the site, position, feature, and weight |jump · ∂m/∂f|.

    `least` is the smallest movement of the margin that counts: the tolerance for a gate at its threshold, otherwise 0.
    """

    site: Int[Tensor, "row gate"]
    pos: Int[Tensor, "row gate"]
    index: Int[Tensor, "row gate"]
    weight: Float[Tensor, "row gate"]
    least: Float[Tensor, "row gate"]


def _dangerous_gates(situation: Situation, count: int) -> _Gates:
    clean, sites = situation.clean, situation.spliced.sites
    outputs = [clean.sites[site].output for site in sites]
    gradients = torch.autograd.grad(situation.clean_metric.sum(), outputs, retain_graph=True)
    where = clean.spliced & situation.batch.reached
    best: list[tuple[Tensor, ...]] = []
    for number, (site, gradient) in enumerate(zip(sites, gradients, strict=True)):
        weight, margin = _weight_and_margin(situation.spliced.saes[site], clean.sites[site], gradient)
        if margin is None:
            continue
        least, gates = torch.zeros_like(margin), clean.sites[site].at_threshold
        if gates is not None:
            least = gates.tolerances(margin)
        danger = weight / torch.maximum(margin.abs(), least).clamp(min=torch.finfo(margin.dtype).tiny)
        danger, weight = (torch.where(where[..., None], v, 0) for v in (danger, weight))
        danger = danger.flatten(1)
        top = danger.topk(min(count, danger.shape[1]), dim=1)
        d_sae = weight.shape[-1]
        best.append(
            (
                top.values,
                torch.full_like(top.indices, number),
                top.indices // d_sae,
                top.indices % d_sae,
                weight.flatten(1).gather(1, top.indices),
                least.flatten(1).gather(1, top.indices),
            )
        )
    if not best:
        nothing = torch.zeros(len(clean.last), 0, dtype=torch.int64, device=clean.last.device)
        return _Gates(nothing, nothing, nothing, *(nothing.to(clean.logits.dtype),) * 2)
    danger, site, pos, index, weight, least = (torch.cat(column, dim=1) for column in zip(*best, strict=True))
    chosen = danger.topk(min(count, danger.shape[1]), dim=1).indices
    return _Gates(*(column.gather(1, chosen) for column in (site, pos, index, weight, least)))


@torch.no_grad()
def _weight_and_margin(
    sae: SAE, record: SiteRecord, gradient: Float[Tensor, "row pos width"]
) -> tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos d_sae"] | None]:
    """|value at the threshold · ∂m/∂f|, and the margin; the margin is None if the encoder has no gates."""
    normalised, _ = normalise(record.arrival.to(sae.W_enc.dtype), sae.normalisation)
    projection = sae.project(normalised)
    value, margin = sae.value_and_margin(projection)
    if margin is None:
        return value, None
    # A margin moves one to one with its own projection, so this is the projection at which the margin is 0.
    at_threshold, _ = sae.value_and_margin(projection - margin)
    of_feature = gradient.to(sae.W_dec.dtype) @ sae.W_dec.T
    if record.frame is not None:
        of_feature = of_feature * record.frame.scale
    return (at_threshold * of_feature).abs(), margin


def _margins(situation: Situation, gates: _Gates, number: int) -> Float[Tensor, " row"]:
    """The margin of gate `number` of each row, with its gradient graph."""
    result = situation.clean.logits.new_zeros(len(gates.site))
    for place in gates.site[:, number].unique().tolist():
        site = situation.spliced.sites[place]
        sae = situation.spliced.saes[site]
        (row,) = torch.nonzero(gates.site[:, number] == place, as_tuple=True)
        with torch.enable_grad():
            x = situation.clean.sites[site].arrival[row, gates.pos[row, number]]
            margin = sae.encode(x).margin
            assert margin is not None
            here = margin.gather(1, gates.index[row, number][:, None])[:, 0]
            result = result.index_add(0, row, here.to(result.dtype))
    return result
