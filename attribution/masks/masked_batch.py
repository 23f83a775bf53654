"""One batch of prompts whose nodes carry masks: m(λ), its slopes, and the secants of gates that jump on a path."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.masks.mask_nodes import MaskNodes, NodeAddresses, NodeMask
from attribution.models.hooks import SiteFunction, logits_at
from attribution.prompts.metrics import OnLogits
from attribution.prompts.prompt_pairs import PairBatch
from attribution.splice.masking import Secants, write_masked
from attribution.splice.references import SiteReference
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import SplicedModel


@dataclass(frozen=True)
class MaskedBatch:
    """Clean prompts with the reference values of their nodes.

    `here` marks the spliced positions, `bound` is the metric of these prompts, and `addresses` says, by site, where the
    nodes stand.
    """

    spliced: SplicedModel
    pairs: PairBatch
    bound: OnLogits
    here: Bool[Tensor, "row pos"]
    references: Mapping[str, SiteReference]
    addresses: Mapping[str, NodeAddresses]

    @classmethod
    def of(
        cls,
        spliced: SplicedModel,
        pairs: PairBatch,
        bound: OnLogits,
        nodes: MaskNodes,
        column: Int[Tensor, "row pos"],
        references: Mapping[str, SiteReference],
    ) -> "MaskedBatch":
        """The batch of prompts whose positions lie in the given columns (−1: in none)."""
        addresses = {site: NodeAddresses.of(nodes, site, column, sae.d_sae) for site, sae in spliced.saes.items()}
        here = spliced.spliced_positions(pairs.clean_ids, pairs.last)
        return cls(spliced, pairs, bound, here, references, addresses)

    def metric(
        self, mask: Float[Tensor, "*row node"], jumps: Mapping[str, Secants] | None = None
    ) -> Float[Tensor, " row"]:
        """m(λ) of each row. Rows share their masks, or each has its own."""
        jumps = jumps or {}
        functions = {site: self._function(site, _with_none(mask), jumps.get(site)) for site in self.spliced.sites}
        with self.spliced.model.frozen():
            logits = logits_at(self.spliced.model, self.pairs.clean_ids, self.pairs.read, functions)
        return self.bound(at_least_float32(logits), self.pairs)

    def slopes(
        self, mask: Float[Tensor, "*row node"], jumps: Mapping[str, Secants] | None
    ) -> Float[Tensor, "*row node"]:
        """∂(Σ over rows of m)/∂λ, with the slopes of `jumps` for the gates that these list."""
        leaf = mask.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.metric(leaf, jumps).sum(), leaf)[0]

    def slopes_by_row(
        self, mask: Float[Tensor, " node"], jumps: Mapping[str, Secants] | None
    ) -> Float[Tensor, "row node"]:
        """∂m/∂λ of each row."""
        return self.slopes(mask.expand(len(self.pairs.last), -1), jumps)

    def value_and_slopes(self, mask: Float[Tensor, " node"]) -> tuple[float, Float[Tensor, " node"]]:
        """Σ over rows of m(λ), and its slopes ∂/∂λ."""
        leaf = mask.detach().clone().requires_grad_()
        with torch.enable_grad():
            total = self.metric(leaf).sum()
            return float(total.detach()), torch.autograd.grad(total, leaf)[0]

    def secants(self, end: Float[Tensor, " node"]) -> Mapping[str, Secants]:
        """Those of every site, between the runs with λ = 0 and with λ = `end`, which run side by side."""
        found: dict[str, Secants] = {}
        rows = len(self.pairs.last)
        twice = self.pairs.rows(torch.arange(rows, device=end.device).repeat(2))

        def function(site: str) -> SiteFunction:
            ends = [self._function(site, _with_none(mask), None) for mask in (torch.zeros_like(end), end)]

            def written(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
                encoding = self.spliced.saes[site].encode(x)
                features = torch.where(self.here[..., None].repeat(2, 1, 1), encoding.features, 0)
                both = features.chunk(2), encoding.projection.chunk(2)
                found[site] = Secants.between(*((zero, one) for zero, one in both))
                return torch.cat([at(part) for at, part in zip(ends, x.chunk(2), strict=True)])

            return written

        with torch.no_grad(), self.spliced.model.frozen():
            functions = {site: function(site) for site in self.spliced.sites}
            logits_at(self.spliced.model, twice.clean_ids, twice.last, functions)
        return found

    def _function(
        self, site: str, mask: Float[Tensor, "row_or_one node_and_none"], jumps: Secants | None
    ) -> SiteFunction:
        sae, node_mask = self.spliced.saes[site], NodeMask(mask, self.addresses[site])
        reference = self.references[site]

        def function(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
            encoding = sae.encode(x, projection_only=True)
            given = encoding.features, encoding.frame, x, node_mask, reference.values()
            y = write_masked(sae, *given, projection=encoding.projection, secants=jumps)
            return torch.where(self.here[..., None], y.to(x.dtype), x)

        return function


def _with_none(mask: Float[Tensor, "*row node"]) -> Float[Tensor, "row_or_one node_and_none"]:
    rows = mask if mask.ndim == 2 else mask[None]
    return torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)
