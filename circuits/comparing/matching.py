"""Features of two SAEs of one site that are the same: each other's best by direction and by what they fire on.

    likeness(i, j) = min(cosine of decoder directions, correlation of activations over the same tokens)

Feature i of A's SAE and j of B's match if each is the other's most alike among all features of the two SAEs, and both
numbers reach their thresholds. Neither suffices alone: a direction can be shared by features that fire on different
tokens, and on few prompts many features fire together. A feature that is constant on the prompts matches none.

Costs two passes over the prompts in each model, and no pass for features that are not asked about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.hooks import logits_with
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.top_contexts import padded_batch

LEAST_COSINE: Final = 0.7
LEAST_CORRELATION: Final = 0.7
_NONE: Final = float("-inf")
_ROUNDING: Final = 1e-6
"""A spread below this share of the mean squares is rounding: the feature is constant."""

Wanted = Mapping[str, Sequence[int]]
"""Indices of features, by site."""


@dataclass(frozen=True)
class Match:
    """Feature `a` of A's SAE and feature `b` of B's at one site, with what they share."""

    a: int
    b: int
    cosine: float
    correlation: float


def match_features(
    a: SplicedModel,
    b: SplicedModel,
    wanted_a: Wanted,
    wanted_b: Wanted,
    prompts: Sequence[Sequence[int]],
    *,
    least_cosine: float = LEAST_COSINE,
    least_correlation: float = LEAST_CORRELATION,
    batch_size: int = 16,
    progress: Progress = silent,
) -> dict[str, tuple[Match, ...]]:
    """The matches of the wanted features of either SAE, by site.

    Args:
        a, b: models with the SAEs at the sites.
        wanted_a, wanted_b: the features of each that are matched, at the same sites.
        prompts: token ids that both models read; BOS counts only where both splice it.
        least_cosine, least_correlation: what a match must have.
        batch_size: prompts in one forward.

    Raises:
        ValueError: no prompts, other tokens under the same ids, or sites of different width.
    """
    _refuse(a, b, tuple(wanted_a), prompts)
    best = partial(_best, a, b, prompts, batch_size)
    of_a, of_b = best(wanted_a, wanted_b, progress_between(progress, 0.0, 0.5))
    back_a = {site: sorted({m.a for m in own.values()} - set(of_a[site])) for site, own in of_b.items()}
    back_b = {site: sorted({m.b for m in own.values()} - set(of_b[site])) for site, own in of_a.items()}
    more_a, more_b = best(back_a, back_b, progress_between(progress, 0.5, 1.0))
    found: dict[str, tuple[Match, ...]] = {}
    for site in wanted_a:
        to_b, to_a = of_a[site] | more_a[site], of_b[site] | more_b[site]
        mutual = [m for m in to_b.values() if m.b in to_a and to_a[m.b].a == m.a]
        kept = (m for m in mutual if m.cosine >= least_cosine and m.correlation >= least_correlation)
        found[site] = tuple(sorted(kept, key=lambda m: m.a))
    return found


def _refuse(a: SplicedModel, b: SplicedModel, sites: Sequence[str], prompts: Sequence[Sequence[int]]) -> None:
    if not prompts:
        raise ValueError("No prompts to compare activations on. Give pairs with both circuits.")
    for token in sorted({token for ids in prompts for token in ids}):
        if not token < min(a.model.d_vocab, b.model.d_vocab) or a.model.token_text(token) != b.model.token_text(token):
            raise ValueError(f"Token {token} is not the same in {a.model.name} and {b.model.name}: no common prompts.")
    for site in sites:
        if a.saes[site].d_in != b.saes[site].d_in:
            raise ValueError(
                f"{site} is {a.saes[site].d_in} wide in one model and {b.saes[site].d_in} in the other: decoder "
                "directions cannot be compared."
            )


def _best(
    a: SplicedModel,
    b: SplicedModel,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    rows_a: Wanted,
    rows_b: Wanted,
    progress: Progress,
) -> tuple[dict[str, dict[int, Match]], dict[str, dict[int, Match]]]:
    """For each row of A the most alike of all features of B, by site and index; and for each row of B."""
    sites = tuple(site for site in rows_a if rows_a[site] or rows_b[site])
    to_b, to_a = ({site: _Sums(rows[site]) for site in sites} for rows in (rows_a, rows_b))
    lengths = [len(ids) for ids in prompts] if sites else []
    for part in a.model.lengths.cut(lengths, batch_size):
        ids, last = padded_batch([tuple(prompts[n]) for n in part], a.model.device)
        here = a.spliced_positions(ids, last) & b.spliced_positions(ids, last)
        of_a, of_b = (_activations(side, sites, ids, here) for side in (a, b))
        for site in sites:
            to_b[site].add(of_a[site], of_b[site])
            to_a[site].add(of_b[site], of_a[site])
        progress(part.stop / len(prompts))
    found_a: dict[str, dict[int, Match]] = {site: {} for site in rows_a}
    found_b: dict[str, dict[int, Match]] = {site: {} for site in rows_a}
    for site in sites:
        of_a, of_b = (_unit(side.saes[site].W_dec) for side in (a, b))
        best_b, best_a = to_b[site].best(of_a, of_b), to_a[site].best(of_b, of_a)
        found_a[site] = {i: Match(i, j, *numbers) for i, (j, *numbers) in best_b.items()}
        found_b[site] = {j: Match(i, j, *numbers) for j, (i, *numbers) in best_a.items()}
    return found_a, found_b


def _unit(directions: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "d_sae d_in"]:
    return torch.nn.functional.normalize(directions.detach().double().cpu(), dim=1)


def _activations(
    spliced: SplicedModel, sites: Sequence[str], ids: Int[Tensor, "row pos"], here: Bool[Tensor, "row pos"]
) -> dict[str, Float[Tensor, "place d_sae"]]:
    """Activations of all features at the positions marked in `here`."""
    found: dict[str, Tensor] = {}
    ids, here = (given.to(spliced.model.device) for given in (ids, here))

    def keep(site: str, x: Tensor) -> Tensor:
        found[site] = spliced.saes[site].encode(x).features[here].cpu()
        return x

    with torch.no_grad(), spliced.model.frozen():
        logits_with(spliced.model, ids, {site: partial(keep, site) for site in sites})
    return found


class _Sums:
    """Sums over places for the correlations of some features of one SAE with all features of another."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        self.places = 0
        self.sums: list[Tensor] = []

    def add(self, own: Float[Tensor, "place own"], other: Float[Tensor, "place other"]) -> None:
        x, y = own[:, self.rows].double(), other.double()
        new = [x.sum(0), y.sum(0), (x**2).sum(0), (y**2).sum(0), x.T @ y]
        self.sums = [old + more for old, more in zip(self.sums, new, strict=True)] if self.sums else new
        self.places += len(x)

    def correlation(self) -> Float[Tensor, "row other"]:
        """Pearson's; −inf where one of the two is constant."""
        x, y, xx, yy, xy = self.sums
        n = self.places
        spread = torch.outer((n * xx - x**2).clamp(min=0), (n * yy - y**2).clamp(min=0)).sqrt()
        scale = torch.outer(n * xx, n * yy).sqrt()
        return torch.where(spread > _ROUNDING * scale, (n * xy - torch.outer(x, y)) / spread, _NONE)

    def best(
        self, own: Float[Tensor, "own d_in"], other: Float[Tensor, "other d_in"]
    ) -> dict[int, tuple[int, float, float]]:
        """By row: the most alike feature with its cosine and correlation; rows that are constant have none."""
        correlation, cosine = self.correlation(), own[self.rows] @ other.T
        likeness, best = torch.minimum(correlation, cosine).max(1) if self.rows else (torch.zeros(0), torch.zeros(0))
        return {
            row: (int(j), float(cosine[n, j]), float(correlation[n, j]))
            for n, (row, j) in enumerate(zip(self.rows, best.tolist(), strict=True))
            if likeness[n] > _NONE
        }
