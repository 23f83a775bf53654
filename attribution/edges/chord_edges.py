"""Chord edges: the flow of chord IG from node to node.

    e(u→d) = Δu · Σ_k w_k ∂/∂u [M(x_d) · x_d](α_k)        M(x_d): the seed of d alone, from the sweep of chord IG

For every feature d, and for the metric,

    Σ_u e(u→d) + undivided(d) = attribution(d),        Σ_u e(u→metric) = total effect

over all direct upstream features, errors and tokens, up to the quadrature of d's stretch. If an upstream SAE normalises
its input, the change of its scale and mean is a source without a node (`passing`). One sweep of chord IG, then one
backward of one section for one target of every pair of a batch. Source: METHODS of this project, section 4.
"""

from dataclasses import asdict, dataclass
from typing import Final

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from attribution.chord.chord_integrated_gradients import chord_ends
from attribution.chord.chord_sweep import Sweep, SweepPlan, run_sweep
from attribution.chord.site_secants import SiteSecants
from attribution.chord.stretches import Ends
from attribution.edges.collect_edges import collect_edges
from attribution.edges.edges import Edges
from attribution.edges.flow_edges import CarriedFlow
from attribution.effects.effects import Effects
from attribution.effects.measurement import Situation
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.effects.scoring import feature_slopes
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import counterfactual
from attribution.splice.recording import ErrorMode, FeatureChange
from attribution.splice.resuming import TOKENS
from attribution.splice.spliced_model import SplicedModel

CHORD_FLOW: Final = "chord flow"


def chord_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    targets: Effects,
    *,
    sources: Effects | None = None,
    error_mode: ErrorMode = "path",
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    slope_cap: float = 4.0,
    least: float = 0.0,
    batch_size: int = 32,
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> Edges:
    """Every edge into the metric and into the target features.

    Args:
        spliced, pairs, metric, progress: as in `chord_attribution`.
        targets: the nodes whose incoming edges are measured, as a subset of any method's effects over these pairs and
            sites. Errors and tokens among them have none.
        sources: the nodes whose outgoing edges are kept, likewise; None for all.
        error_mode: `path`, or `zero` (no errors).
        points, slope_cap: as in `chord_attribution`.
        least: edges with a smaller |weight| are not kept, but the balance of their target counts them.
        batch_size: pairs per batch. One backward serves a target of each pair, so large batches are much faster.
        runs_at_once: runs whose graphs are held at a time, one for each pair and point; by default all of a batch.

    Raises:
        ValueError: another error mode, or targets or sources of other sites than the SAEs'.
    """
    if error_mode not in ("path", "zero"):
        raise ValueError(f"Edges end in features, which meet gates: error mode path or zero; got {error_mode!r}.")
    plan = SweepPlan(points, None, slope_cap)

    def flow(situation: Situation) -> _ChordFlow:
        ends = chord_ends(situation, runs_at_once)
        return _ChordFlow(situation, ends, plan, run_sweep(ends, situation.error_mode, plan, silent))

    return collect_edges(
        spliced,
        pairs,
        metric,
        flow,
        targets,
        sources,
        method=CHORD_FLOW,
        settings=asdict(plan),
        error_mode=error_mode,
        patch_value=counterfactual,
        least=least,
        batch_size=batch_size,
        with_projections=True,
        progress=progress,
    )


@dataclass(frozen=True)
class _ChordFlow:
    """The sweep of chord IG over a batch, as a flow."""

    situation: Situation
    ends: Ends
    plan: SweepPlan
    swept: Sweep

    @property
    def rule(self) -> Quadrature:
        return self.plan.points

    def carried(self, site: str, change: FeatureChange) -> CarriedFlow:
        given = self.ends, site, self.plan.slope_cap, self.plan.points
        secants, place = SiteSecants.at(*given, (change.row, change.pos))
        multiplier = self.swept.sites[site].multiplier[0]
        of_feature = feature_slopes(self.situation, site, change, multiplier, self.ends.mean_frame(site))
        return CarriedFlow(
            attribution=of_feature * (change.new - change.old),
            undivided=of_feature * secants.gates.undivided[place, change.index],
            seed=secants.seeds(place, change.index, of_feature),
        )

    def passing(self, leaf: str, multiplier: Float[Tensor, "slot row pos width"]) -> Float[Tensor, "slot row"]:
        frames = None if leaf == TOKENS else self.ends.mean_frame(leaf)
        if frames is None:
            return torch.zeros_like(multiplier[..., 0, 0])
        clean, patch = self.ends.clean_sites[leaf], self.ends.patch_sites[leaf]
        assert clean.frame is not None
        assert patch.frame is not None
        sae = self.situation.spliced.saes[leaf]
        decoded = (clean.features.dense() + patch.features.dense()) / 2 @ sae.W_dec + sae.b_dec
        moved = (patch.frame.scale - clean.frame.scale) * decoded + (patch.frame.mean - clean.frame.mean)
        here = self.ends.reached & self.ends.clean.spliced[self.ends.rows]
        moved = torch.where(here[..., None], moved, 0)
        return einsum(multiplier, moved.to(multiplier.dtype), "slot row pos width, row pos width -> slot row")
