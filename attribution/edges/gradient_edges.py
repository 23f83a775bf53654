"""Plain-gradient edges: a first-order estimate of edges, for comparison.

    e(u→d) = ∂m/∂f_d · ∂f_d/∂u · Δu        both at the clean run; ∂f_d/∂u over the direct path only

Exact if the metric is affine in the features and no gate flips; a gate that is closed in the clean run passes nothing,
whatever it does in the patch run. Edges into a node do not add up to its effect; `Edges.imbalance` is the difference.
One backward for the gradients of the metric, then one of one section for one target of every pair of a batch. Source:
Marks et al. 2024, section 3.2 (with the encoders of every spliced site in the computation).
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.chord.stretches import Ends
from attribution.edges.collect_edges import collect_edges
from attribution.edges.edges import Edges
from attribution.edges.flow_edges import CarriedFlow
from attribution.effects.effects import Effects
from attribution.effects.measurement import Situation
from attribution.effects.quadrature import Quadrature
from attribution.effects.scoring import feature_slopes
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.gate_rounding import settled
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, FeatureChange
from attribution.splice.spliced_model import SplicedModel

_CLEAN_RUN = Quadrature((0.0,), (1.0,), "clean run")


PLAIN_GRADIENT: Final = "plain gradient"


def gradient_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    targets: Effects,
    *,
    sources: Effects | None = None,
    error_mode: ErrorMode = "frozen",
    patch_value: PatchValue = counterfactual,
    least: float = 0.0,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Edges:
    """Every edge into the metric and into the target features, by gradients; `undivided` and `passing` are 0.

    Args:
        error_mode: `frozen` or `zero`, the mode of the clean run.
        patch_value: where the patch values of sources come from.

    The other arguments are those of `chord_edges`.

    Raises:
        ValueError: another error mode, a metric whose gradient is zero at the clean run, or targets or sources of other
            sites than the SAEs'.
    """
    if error_mode not in ("frozen", "zero"):
        raise ValueError(f"Edges end in features, which meet gates: error mode frozen or zero; got {error_mode!r}.")
    if metric.flat_at_clean:
        raise ValueError(
            f"The gradient of {metric.name} is zero at the clean run, and so is every edge. Use chord_edges."
        )
    return collect_edges(
        spliced,
        pairs,
        metric,
        _GradientFlow.of,
        targets,
        sources,
        method=PLAIN_GRADIENT,
        settings={},
        error_mode=error_mode,
        patch_value=patch_value,
        least=least,
        batch_size=batch_size,
        with_gradients=True,
        progress=progress,
    )


@dataclass(frozen=True)
class _GradientFlow:
    """The gradient of the metric at the output of every site of the clean run."""

    situation: Situation
    ends: Ends
    gradients: dict[str, Float[Tensor, "row pos width"]]

    @classmethod
    def of(cls, situation: Situation) -> "_GradientFlow":
        clean = situation.clean
        outputs = [record.output for record in clean.sites.values()]
        gradients = torch.autograd.grad(situation.clean_metric.sum(), outputs)
        entry = clean.entry.detach()
        ends = Ends(
            spliced=situation.spliced,
            clean=clean,
            rows=torch.arange(len(clean.last), device=clean.last.device),
            clean_sites=clean.sites,
            patch_sites=clean.sites,
            tokens=(entry, entry),
            reached=torch.zeros_like(clean.spliced),
            metric=lambda logits, rows: situation.metric(logits, situation.batch.rows(rows)),
            total=situation.total_effect,
        )
        return cls(situation, ends, dict(zip(clean.sites, gradients, strict=True)))

    @property
    def rule(self) -> Quadrature:
        return _CLEAN_RUN

    def carried(self, site: str, change: FeatureChange) -> CarriedFlow:
        of_feature = feature_slopes(self.situation, site, change, self.gradients[site])
        attribution = of_feature * (change.new - change.old)
        return CarriedFlow(attribution, torch.zeros_like(attribution), of_feature[:, None] * self._slopes(site, change))

    def _slopes(self, site: str, change: FeatureChange) -> Float[Tensor, "target width"]:
        """∂f_d/∂x at each target's place."""
        arrived = self.situation.clean.sites[site].arrival.detach()[change.row, change.pos].requires_grad_()
        with torch.enable_grad():
            sae = self.situation.spliced.saes[site]
            features = settled(sae, arrived, sae.encode(arrived))[0].features
            chosen = features.gather(-1, change.index[:, None]).sum()
        return torch.autograd.grad(chosen, arrived)[0]

    def passing(self, leaf: str, multiplier: Float[Tensor, "slot row pos width"]) -> Float[Tensor, "slot row"]:
        del leaf
        return torch.zeros_like(multiplier[..., 0, 0])
