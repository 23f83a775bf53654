"""Edges: the direct effect of one node on another, with every spliced site in between held fixed.

    e(u→d) = Δu · Σ_k w_k ∂/∂u [M(x_d) · x_d](α_k)        M(x_d): the seed of d alone, from the sweep of chord IG

The direct path from u to d is the stretch of network between their sites; skip connections count. Edges are a flow:
for every feature d, and for the metric,

    Σ_u e(u→d) + undivided(d) = attribution(d),        Σ_u e(u→metric) = total effect

over all direct upstream features, errors and tokens, up to the quadrature of d's stretch. Where an upstream SAE
normalises its input, the change of its scale and mean is a source without a node (`passing`). One backward of one
section for each target of a row; the targets of different rows go together. Source: METHODS of this project, section 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.chord_integrated_gradients import chord_ends
from attribution.chord_sweep import Sweep, SweepPlan, sweep
from attribution.effects import Effects
from attribution.measurement import Progress, Situation, numpy_of, prepare, silent
from attribution.metric import Metric
from attribution.patch_values import counterfactual
from attribution.patches import keys_of
from attribution.prompt_pairs import PromptPairs
from attribution.quadrature import Quadrature, gauss_legendre
from attribution.recording import ErrorMode, number_in_group
from attribution.resuming import TOKENS
from attribution.scoring import dot, score_features
from attribution.site_secants import SiteSecants
from attribution.splice import SplicedModel
from attribution.stretches import METRIC, Ends, SectionRuns, Stretch, sections

METRIC_KEY = -1
"""Stands for the metric among the keys of targets."""

_TARGETS_AT_ONCE = 16


@dataclass(frozen=True)
class ChordEdges:
    """Edges of chord flow as columns, and the balance of every target.

    Attributes:
        example, source, target: which pair, and the two nodes by key (`Effects.keys`; METRIC_KEY is the metric).
        weight: e(source→target) in units of the metric; positive: the metric rises.
        target_example, target_key: every target once per example.
        attribution, undivided, inflow, passing: of each target: what it carries, its undivided jump, the sum over all
            of its direct sources, those below `least` included, and what comes through changed normalisations.
            attribution = undivided + inflow + passing, up to quadrature.
    """

    example: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    target_example: np.ndarray
    target_key: np.ndarray
    attribution: np.ndarray
    undivided: np.ndarray
    inflow: np.ndarray
    passing: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def imbalance(self) -> np.ndarray:
        """Per target: attribution − undivided − inflow − passing; quadrature only."""
        return self.attribution - self.undivided - self.inflow - self.passing


def chord_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    targets: Effects,
    *,
    error_mode: ErrorMode = "path",
    points: Quadrature = gauss_legendre(20),  # noqa: B008  (a frozen value)
    slope_cap: float = 4.0,
    least: float = 0.0,
    batch_size: int = 4,
    progress: Progress = silent,
) -> ChordEdges:
    """Every edge into the metric and into some features.

    Args:
        spliced, pairs, metric, batch_size, progress: as in `chord_attribution`.
        targets: the nodes whose edges are wanted, as a subset of any method's effects over these pairs and sites.
            Errors and tokens are sources: nothing flows into them.
        error_mode: `path`, or `zero` (no errors).
        points, slope_cap: as in `chord_attribution`.
        least: edges with a smaller |weight| are not kept; the balance of their target still counts them.
    """
    if error_mode not in ("path", "zero"):
        raise ValueError(f"Edges end in features, which meet gates: error mode path or zero; got {error_mode!r}.")
    if targets.sites != (TOKENS, *spliced.sites):
        raise ValueError(f"The targets are of other sites: {', '.join(targets.sites[1:])}.")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    plan = SweepPlan(points, None, slope_cap)
    wanted = targets.keys()[targets.of_kind("feature")]
    found = _Found()
    done = 0
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model.device):
            situation = prepare(spliced, batch, metric, error_mode, counterfactual)
            _Batch(situation, chord_ends(situation), wanted, plan, least, found).run()
            done += len(batch.example)
            progress(done / len(pairs))
    return found.edges()


@dataclass
class _Found:
    """Columns in parts."""

    kept: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    balance: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def edges(self) -> ChordEdges:
        kept = [np.concatenate(column) for column in zip(*self.kept, strict=True)]
        return ChordEdges(*kept, *(np.concatenate(column) for column in zip(*self.balance, strict=True)))


@dataclass(frozen=True)
class _Targets:
    """Targets of one stretch in slots: slot n holds the n-th target of each row; key −2 where a row has no more."""

    key: Int[Tensor, "slot row"]
    attribution: Float[Tensor, "slot row"]
    undivided: Float[Tensor, "slot row"]
    seed: Float[Tensor, "slot row pos width"] | None


@dataclass
class _Batch:
    """One batch on its way to edges."""

    situation: Situation
    ends: Ends
    wanted: np.ndarray
    plan: SweepPlan
    least: float
    found: _Found

    def run(self) -> None:
        swept = sweep(self.ends, self.situation.error_mode, self.plan, silent)
        no_limit = torch.full_like(self.ends.total, torch.inf, dtype=torch.float64)
        for section in reversed(sections(self.situation.spliced.sites)):
            runs = SectionRuns(self.ends, section, self.plan.rules())
            for stretch in section.stretches():
                for targets in self._targets(stretch, swept):
                    self._keep(stretch, targets, runs.pull_back(stretch, targets.seed, no_limit).multipliers)

    def _targets(self, stretch: Stretch, swept: Sweep) -> Iterator[_Targets]:
        total = self.ends.total
        if stretch.target == METRIC:
            key = torch.full_like(total, METRIC_KEY, dtype=torch.int64)
            yield _Targets(key[None], total[None], torch.zeros_like(total)[None], None)
            return
        secants = SiteSecants.between(self.ends, stretch.target, self.plan.slope_cap, self.plan.points)
        change = self.situation.changes.features[stretch.target]
        keys = keys_of(self.situation, stretch.target, "feature", change.row, change.pos, change.index)
        (chosen,) = torch.nonzero(torch.from_numpy(np.isin(keys, self.wanted)).to(change.row.device), as_tuple=True)
        if len(chosen) == 0:
            return
        row, pos, index = change.row[chosen], change.pos[chosen], change.index[chosen]
        width = self.ends.reached.shape[1]
        place = torch.searchsorted(secants.row * width + secants.pos, row * width + pos)
        multiplier = swept.sites[stretch.target].multiplier[0]
        of_features = secants.of_features(multiplier[secants.row, secants.pos].to(secants.sae.W_dec.dtype))
        of_feature = of_features[place, index]
        seeds = secants.seeds(place, index, of_feature)
        attribution = of_feature * (change.new - change.old)[chosen]
        undivided = of_feature * secants.gates.undivided[place, index]
        slot = number_in_group(row)
        for first in range(0, int(slot.max()) + 1, _TARGETS_AT_ONCE):
            here = (slot >= first) & (slot < first + _TARGETS_AT_ONCE)
            at = (slot[here] - first, row[here])
            slots = int(at[0].max()) + 1
            blank = total.new_zeros(slots, len(total), dtype=seeds.dtype)
            seed = multiplier.new_zeros(slots, *multiplier.shape)
            seed[*at, pos[here]] = seeds[here].to(seed.dtype)
            key = torch.full_like(blank, -2, dtype=torch.int64)
            yield _Targets(
                key.index_put(at, torch.from_numpy(keys).to(key.device)[chosen[here]]),
                blank.index_put(at, attribution[here]),
                blank.index_put(at, undivided[here]),
                seed,
            )

    def _keep(self, stretch: Stretch, targets: _Targets, multipliers: dict[str, Tensor]) -> None:
        inflow = torch.zeros_like(targets.attribution, dtype=torch.float64)
        whole = torch.zeros_like(inflow)
        example = self.situation.batch.example
        for leaf, multiplier in multipliers.items():
            whole += (multiplier * self.ends.output_change(leaf)).flatten(2).double().sum(2)
            for slot, target in enumerate(targets.key):
                for keys, row, weight in self._weights(leaf, multiplier[slot]):
                    inflow[slot].index_add_(0, row, weight.double())
                    kept = (target[row] != -2) & (weight.abs() >= self.least) & (weight != 0)
                    columns = (example[row[kept]], torch.from_numpy(keys)[kept.cpu()], target[row[kept]], weight[kept])
                    self.found.kept.append(tuple(map(numpy_of, columns)))
        real = targets.key != -2
        _, row = torch.nonzero(real, as_tuple=True)
        values = (targets.key, targets.attribution, targets.undivided, inflow, whole - inflow)
        self.found.balance.append(tuple(map(numpy_of, (example[row], *(v[real] for v in values)))))

    def _weights(self, leaf: str, multiplier: Tensor) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Keys, rows and weights of the sources at a leaf: Δu · multiplier."""
        situation = self.situation
        if leaf == TOKENS:
            assert situation.changes.entry is not None
            weight = dot(situation.changes.entry - situation.clean.entry, multiplier)
            row, pos = torch.nonzero((situation.batch.clean_ids != situation.batch.patch_ids), as_tuple=True)
            yield keys_of(situation, leaf, "token", row, pos, torch.full_like(row, -1)), row, weight[row, pos]
            return
        change = situation.changes.features[leaf]
        frame = self.ends.mean_frame(leaf)
        weight = score_features(situation, leaf, change, multiplier, frame=frame)
        yield keys_of(situation, leaf, "feature", change.row, change.pos, change.index), change.row, weight
        difference = situation.error_change(leaf)
        if difference is not None:
            row, pos = torch.nonzero((difference != 0).any(-1), as_tuple=True)
            weight = dot(difference, multiplier)[row, pos]
            yield keys_of(situation, leaf, "error", row, pos, torch.full_like(row, -1)), row, weight
