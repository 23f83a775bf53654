"""One batch of prompts whose nodes carry masks: m(λ), its slopes, and the secants of gates that jump on a path.

A batch may hold its prompts several times, each copy with masks of its own: so points of a path, and sets of nodes, run
side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    nodes stand. `copies`: how many times `pairs` holds the prompts that `references` has.
    """

    spliced: SplicedModel
    pairs: PairBatch
    bound: OnLogits
    here: Bool[Tensor, "row pos"]
    references: Mapping[str, SiteReference]
    addresses: Mapping[str, NodeAddresses]
    copies: int = 1

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

    def __len__(self) -> int:
        return len(self.pairs.last)

    def repeated(self, copies: int) -> "MaskedBatch":
        """The batch with its prompts `copies` times, all of them before each again."""
        addresses = {s: replace(own, column=own.column.repeat(copies, 1)) for s, own in self.addresses.items()}
        rows = torch.arange(len(self), device=self.here.device).repeat(copies)
        here = self.here.repeat(copies, 1)
        return replace(self, pairs=self.pairs.rows(rows), here=here, addresses=addresses, copies=copies)

    def metric(
        self, mask: Float[Tensor, "*row node"], jumps: Mapping[str, Secants] | None = None
    ) -> Float[Tensor, " row"]:
        """m(λ) of each row. Rows share their masks, or each has its own."""
        jumps = jumps or {}
        functions = {site: self._function(site, _with_none(mask), jumps.get(site)) for site in self.spliced.sites}
        ids, model = self.pairs.clean_ids, self.spliced.model
        # A run with another beside it: that for secants, or one with its mask at 0.
        held = self.spliced.holds_whole(ids, model.n_layers, self.spliced.sites, times=2)
        with model.frozen():
            logits = logits_at(model, ids, self.pairs.read, functions, recomputed=mask.requires_grad and not held)
        return self.bound(at_least_float32(logits), self.pairs)

    def metrics(self, masks: Float[Tensor, "mask node"]) -> Float[Tensor, "mask row"]:
        """m(λ) of each row under each mask."""
        if len(masks) == 1:  # which all rows share
            return self.metric(masks[0])[None]
        return self.repeated(len(masks)).metric(masks.repeat_interleave(len(self), 0)).unflatten(0, (len(masks), -1))

    def slopes(
        self,
        end: Float[Tensor, " node"],
        points: Sequence[tuple[float, float]],
        jumps: Mapping[str, Secants] | None,
        *,
        by_row: bool = False,
    ) -> Float[Tensor, "*row node"]:
        """Σ over points (α, weight) of weight · ∂m/∂λ at λ = α · end; of each row, or summed over the rows.

        All points run side by side. `jumps` gives the slopes of the gates that it lists.
        """
        alpha, weight = torch.tensor(points, dtype=end.dtype, device=end.device).unbind(1)
        batch = self.repeated(len(points))
        several = {
            site: own.repeated(len(points), self.here.numel() * self.spliced.saes[site].d_sae)
            for site, own in (jumps or {}).items()
        }
        moved = torch.zeros(len(self) if by_row else 1, len(end), dtype=end.dtype, device=end.device).requires_grad_()
        with torch.enable_grad():
            masks = alpha[:, None, None] * end + moved
            if len(points) > 1:  # of one point all rows share the mask
                masks = masks.expand(-1, len(self), -1)
            masks = masks.flatten(0, 1)
            value = (batch.metric(masks, several) * weight.repeat_interleave(len(self))).sum()
            found = torch.autograd.grad(value, moved)[0]
        return found if by_row else found[0]

    def value_and_slopes(self, mask: Float[Tensor, " node"]) -> tuple[float, Float[Tensor, " node"]]:
        """Σ over rows of m(λ), and its slopes ∂/∂λ."""
        leaf = mask.detach().clone().requires_grad_()
        with torch.enable_grad():
            total = self.metric(leaf).sum()
            return float(total.detach()), torch.autograd.grad(total, leaf)[0]

    def secants(self, end: Float[Tensor, " node"]) -> Mapping[str, Secants]:
        """Those of every site, between the runs with λ = 0 and with λ = `end`, which run side by side."""
        found: dict[str, Secants] = {}
        twice = self.repeated(2)

        def function(site: str) -> SiteFunction:
            ends = [self._function(site, _with_none(mask), None) for mask in (torch.zeros_like(end), end)]

            def written(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
                encoding = self.spliced.saes[site].encode(x)
                features = torch.where(twice.here[..., None], encoding.features, 0)
                both = features.chunk(2), encoding.projection.chunk(2)
                found[site] = Secants.between(*((zero, one) for zero, one in both))
                return torch.cat([at(part) for at, part in zip(ends, x.chunk(2), strict=True)])

            return written

        with torch.no_grad(), self.spliced.model.frozen():
            functions = {site: function(site) for site in self.spliced.sites}
            logits_at(self.spliced.model, twice.pairs.clean_ids, twice.pairs.last, functions)
        return found

    def _function(
        self, site: str, mask: Float[Tensor, "row_or_one node_and_none"], jumps: Secants | None
    ) -> SiteFunction:
        sae, node_mask = self.spliced.saes[site], NodeMask(mask, self.addresses[site])
        reference = self.references[site]

        def function(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
            encoding = sae.encode(x, projection_only=True)
            given = encoding.features, encoding.frame, x, node_mask, reference.values().repeated(self.copies)
            y = write_masked(sae, *given, projection=encoding.projection, secants=jumps)
            return torch.where(self.here[..., None], y.to(x.dtype), x)

        return function


def _with_none(mask: Float[Tensor, "*row node"]) -> Float[Tensor, "row_or_one node_and_none"]:
    rows = mask if mask.ndim == 2 else mask[None]
    return torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)
