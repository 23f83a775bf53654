"""Stretches: the network cut at the spliced sites, each piece on a straight line from its clean to its patch input.

With every site's output and the token embeddings set to leaves y(α) = (1−α) y_c + α y_p, what arrives at a site,
or the metric, depends on the leaves before it only: that is its stretch. For multipliers M on what arrives,

    M · (x_p − x_c) = Σ_leaves [Σ_k w_k J(α_k)ᵀ M] · (y_p − y_c) + residual

exact up to quadrature, because the change of a smooth function is the integral of its derivative. Sites that carry the
whole residual stream divide the network into sections, which are run one at a time. More points cost further runs of
one section only, for the rows that need them. Source: METHODS of this project (chord IG, segments).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries import Frame
from attribution.effects.quadrature import Quadrature
from attribution.models.hooks import SiteFunction
from attribution.splice.recording import Recording, SiteRecord
from attribution.splice.resuming import TOKENS, Resumable, is_residual, run_between

METRIC = "metric"


@dataclass(frozen=True)
class Ends:
    """Two runs of the same rows: the ends of the straight lines.

    Attributes:
        clean: a recording whose row `rows[n]` is row n here.
        clean_sites, patch_sites: the records of both runs at every site.
        tokens: the residual stream into block 0 at both ends.
        reached: where the two runs can differ. A difference elsewhere is rounding and counts as 0.
        metric: gives one number per row from the last logits and the numbers of their rows.
        total: the change of the metric.
        runs_at_once: runs whose graphs are held at a time, a run for each row and point; None for all.
    """

    spliced: Resumable
    clean: Recording
    rows: Int[Tensor, " row"]
    clean_sites: Mapping[str, SiteRecord]
    patch_sites: Mapping[str, SiteRecord]
    tokens: tuple[Float[Tensor, "row pos d_model"], Float[Tensor, "row pos d_model"]]
    reached: Bool[Tensor, "row pos"]
    metric: Callable[[Tensor, Tensor], Tensor]
    total: Float[Tensor, " row"]
    runs_at_once: int | None = None

    def start(self, site: str) -> Float[Tensor, "row pos width"]:
        """The clean output of a site, or of `TOKENS`."""
        return self.tokens[0] if site == TOKENS else self.clean_sites[site].output.detach()

    def output_change(self, site: str) -> Float[Tensor, "row pos width"]:
        """Patch output minus clean output of a site, or of `TOKENS`."""
        patch = self.tokens[1] if site == TOKENS else self.patch_sites[site].output
        return torch.where(self.reached[..., None], patch - self.start(site), 0)

    def arrival_change(self, site: str) -> Float[Tensor, "row pos width"]:
        """Patch minus clean activation that arrives at a site."""
        clean, patch = self.clean_sites[site].arrival, self.patch_sites[site].arrival
        return torch.where(self.reached[..., None], patch - clean, 0)

    def mean_frame(self, site: str) -> Frame | None:
        """Mean of both runs' normalisations at a site, which scales changes of its features; None if there is none."""
        clean, patch = self.clean_sites[site].frame, self.patch_sites[site].frame
        if clean is None or patch is None:
            return None
        return Frame((clean.scale + patch.scale) / 2, (clean.mean + patch.mean) / 2)


@dataclass(frozen=True)
class Stretch:
    """The network between a target (a site, or `METRIC`) and the leaves before it on which the target depends."""

    target: str
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The blocks from one residual site (or the tokens) to the next (or the metric), and the sites in between."""

    start: str
    inner: tuple[str, ...]
    end: str

    def stretches(self) -> tuple[Stretch, ...]:
        """Its stretches, the last one first."""
        leaves = (self.start, *self.inner)
        targets = (*self.inner, self.end)
        return tuple(Stretch(target, leaves[: n + 1]) for n, target in reversed(list(enumerate(targets))))


def sections(sites: Sequence[str]) -> tuple[Section, ...]:
    """The sections between the given sites, which are in the order of the forward pass."""
    found: list[Section] = []
    start, inner = TOKENS, []
    for site in sites:
        if is_residual(site):
            found.append(Section(start, tuple(inner), site))
            start, inner = site, []
        else:
            inner.append(site)
    return (*found, Section(start, tuple(inner), METRIC))


Multipliers = Mapping[str, Float[Tensor, "sweep row pos width"]]


@dataclass
class SectionRuns:
    """Runs of one section at the points of a rule, kept while its stretches are swept; finer rules where needed.

    Where the graphs of all points are more than may be held, the points are run in parts, again for every stretch.
    """

    ends: Ends
    section: Section
    rules: Sequence[Quadrature]
    _runs: "dict[int, _Run]" = field(default_factory=dict)

    def pull_back(
        self, stretch: Stretch, seed: Float[Tensor, "sweep row pos width"] | None, tolerance: Float[Tensor, " row"]
    ) -> "PulledBack":
        """Multipliers of the stretch's leaves from those of its target; `seed` is None for the metric, which has 1.

        A row whose residual exceeds its tolerance is repeated with the next finer rule, if there is one.
        """
        rows = torch.arange(len(self.ends.total), device=self.ends.total.device)
        inflow = self._inflow(stretch, seed)
        result = _zero_multipliers(self.ends, stretch, 1 if seed is None else len(seed))
        for level, rule in enumerate(self.rules):
            part = self._multipliers(level, stretch, seed, rows)
            for leaf, multiplier in part.items():
                result.multipliers[leaf][:, rows] = multiplier
            outflow = sum(
                ((m[0] * self.ends.output_change(leaf)[rows]).flatten(1).double().sum(1) for leaf, m in part.items()),
                start=torch.zeros_like(inflow[rows]),
            )
            result.residual[rows] = inflow[rows] - outflow
            result.points[rows] = len(rule.points)
            rows = rows[result.residual[rows].abs() > tolerance[rows]]
            if len(rows) == 0:
                break
        return result

    def _multipliers(self, level: int, stretch: Stretch, seed: Tensor | None, rows: Tensor) -> dict[str, Tensor]:
        """Σ_k w_k J(α_k)ᵀ seed for every leaf of the stretch."""
        most = None if self.ends.runs_at_once is None else self.ends.runs_at_once // len(rows)
        parts = self.rules[level].parts(most)
        if len(parts) == 1:
            return self._run(level, rows).multipliers(stretch, seed, rows)
        found: dict[str, Tensor] = {}
        for part in parts:
            run = _Run.at(self.ends, self.section, part, rows)
            for leaf, multiplier in run.multipliers(stretch, seed, rows).items():
                found[leaf] = found[leaf] + multiplier if leaf in found else multiplier
        return found

    def _inflow(self, stretch: Stretch, seed: Tensor | None) -> Float[Tensor, " row"]:
        if seed is None:
            return self.ends.total.double()
        return (seed[0] * self.ends.arrival_change(stretch.target)).flatten(1).double().sum(1)

    def _run(self, level: int, rows: Tensor) -> "_Run":
        found = self._runs.get(level)
        if found is None or not torch.isin(rows, found.rows).all():
            found = self._runs[level] = _Run.at(self.ends, self.section, self.rules[level], rows)
        return found


@dataclass(frozen=True)
class PulledBack:
    """The result of a stretch: multipliers of its leaves; per row its residual and its number of points."""

    multipliers: dict[str, Float[Tensor, "sweep row pos width"]]
    residual: Float[Tensor, " row"]
    points: Int[Tensor, " row"]


def _zero_multipliers(ends: Ends, stretch: Stretch, sweeps: int) -> PulledBack:
    multipliers = {leaf: ends.start(leaf).new_zeros(sweeps, *ends.start(leaf).shape) for leaf in stretch.leaves}
    nothing = torch.zeros_like(ends.total, dtype=torch.float64)
    return PulledBack(multipliers, nothing, nothing.int())


@dataclass(frozen=True)
class _Run:
    """One forward of a section at all points of a rule at once, with its graph."""

    ends: Ends
    rows: Int[Tensor, " chosen"]
    weights: tuple[float, ...]
    leaves: Mapping[str, Float[Tensor, "run pos width"]]
    arrived: Mapping[str, Tensor]

    @classmethod
    def at(cls, ends: Ends, section: Section, rule: Quadrature, rows: Int[Tensor, " chosen"]) -> "_Run":
        count = len(rule.points)
        arrived: dict[str, Tensor] = {}

        def line(site: str) -> Tensor:
            start, change = ends.start(site)[rows], ends.output_change(site)[rows]
            alpha = rearrange(torch.tensor(rule.points, dtype=start.dtype, device=start.device), "p -> p 1 1 1")
            moved = start + alpha * change.to(start.dtype)
            return rearrange(moved, "point row pos width -> (point row) pos width").requires_grad_()

        def setter(site: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                arrived.setdefault(site, x)  # a backward may execute the block again
                return leaves[site]

            return function

        leaves = {site: line(site) for site in (section.start, *section.inner)}
        recorded = repeat(ends.rows[rows], "row -> (point row)", point=count)
        here = repeat(rows, "row -> (point row)", point=count)
        end = None if section.end == METRIC else section.end
        with torch.enable_grad():
            output = run_between(
                ends.spliced,
                ends.clean,
                recorded,
                section.start,
                leaves[section.start],
                {site: setter(site) for site in section.inner},
                end,
            )
            arrived[section.end] = ends.metric(output, here) if end is None else output
        return cls(ends, rows, rule.weights, leaves, arrived)

    def multipliers(self, stretch: Stretch, seed: Tensor | None, rows: Tensor) -> dict[str, Tensor]:
        """Σ_k w_k J(α_k)ᵀ seed for every leaf of the stretch, for some of the rows of this run."""
        arrived, count = self.arrived[stretch.target], len(self.weights)
        if seed is None:
            seeds = [torch.ones_like(arrived)]
        else:
            seeds = [repeat(s[self.rows], "row pos width -> (point row) pos width", point=count) for s in seed]
        leaves = [self.leaves[leaf] for leaf in stretch.leaves]
        weights = torch.tensor(self.weights, dtype=leaves[0].dtype, device=leaves[0].device)
        place = torch.searchsorted(self.rows, rows)
        sweeps: list[list[Tensor]] = []
        for one in seeds:
            if not arrived.requires_grad:
                sweeps.append([torch.zeros_like(leaf).chunk(count)[0][place] for leaf in leaves])
                continue
            gradients = torch.autograd.grad(
                arrived, leaves, one.to(arrived.dtype), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            sweeps.append([self._mean(weights, gradient)[place] for gradient in gradients])
        return {leaf: torch.stack(m) for leaf, m in zip(stretch.leaves, zip(*sweeps, strict=True), strict=True)}

    def _mean(self, weights: Tensor, gradient: Float[Tensor, "run pos width"]) -> Float[Tensor, "row pos width"]:
        by_point = rearrange(gradient, "(point row) pos width -> point row pos width", point=len(weights))
        return einsum(weights, by_point, "point, point row pos width -> row pos width")
