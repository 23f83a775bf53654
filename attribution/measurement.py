"""The way every method goes: batches of pairs -> clean runs and changes -> scores of nodes -> Effects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.effects import KINDS, SIGN, Effects, NodeColumns, joined
from attribution.metric import Metric, OnLogits
from attribution.patch_values import Changes, PatchValue
from attribution.prompt_pairs import PairBatch, PromptPairs
from attribution.recording import FeatureChange, Recording
from attribution.saes import Frame
from attribution.splice import TOKENS, ErrorMode, SplicedModel

Progress = Callable[[float], None]
"""Is told the share of the work that is done, from 0 to 1."""


def silent(_share: float) -> None:
    """Report nothing."""


def within(progress: Progress, start: float, end: float) -> Progress:
    """What a part of the work is given, from `start` to `end` of the whole."""
    return lambda share: progress(start + (end - start) * share)


@dataclass(frozen=True)
class Situation:
    """One batch of pairs, ready to be scored: clean runs, and the change of every node."""

    spliced: SplicedModel
    batch: PairBatch
    error_mode: ErrorMode
    metric: OnLogits
    clean: Recording
    clean_metric: Float[Tensor, " row"]
    changes: Changes
    progress: Progress

    @property
    def total_effect(self) -> Float[Tensor, " row"]:
        """m(everything at its patch value) − m(clean)."""
        return self.changes.metric - self.clean_metric.detach()

    def error_change(self, site: str) -> Float[Tensor, "row pos width"] | None:
        """Patch error minus clean error of a site; None in `zero` mode, which has no errors."""
        new, old = self.changes.errors.get(site), self.clean.sites[site].error
        return None if new is None or old is None else new - old

    def feature_directions(
        self, site: str, change: FeatureChange, frame: Frame | None = None
    ) -> Float[Tensor, "changed width"]:
        """What the site's output gains per unit of each changed feature, by default under the clean run's frame."""
        frame = frame or self.clean.sites[site].frame
        directions = self.spliced.saes[site].W_dec[change.index]
        return directions if frame is None else frame.scale[change.row, change.pos] * directions

    def feature_writes(self, site: str, change: FeatureChange) -> Float[Tensor, "changed width"]:
        """What the site's output gains when each feature takes its new value, under the clean run's frame."""
        return (change.new - change.old)[:, None] * self.feature_directions(site, change)


@dataclass(frozen=True)
class Scores:
    """A method's answer for one batch: effects of features, errors and tokens, and the residual of its law."""

    features: Mapping[str, tuple[FeatureChange, Float[Tensor, " changed"]]]
    errors: Mapping[str, Float[Tensor, "row pos"]] = field(default_factory=dict)
    tokens: Float[Tensor, "row pos"] | None = None
    residual: Float[Tensor, " row"] | None = None

    def residual_of_sources(self, situation: Situation) -> Float[Tensor, " row"] | None:
        """See `SOURCES`; None where tokens are not patched."""
        if self.tokens is None:
            return None
        sources = self.tokens.sum(-1)
        if situation.error_mode in ("frozen", "path"):
            for effect in self.errors.values():
                sources = sources + effect.sum(-1)
        return situation.total_effect - sources


SOURCES = "total effect − Σ effects of the source nodes: tokens, in frozen and path mode also errors"
"""The source nodes of a run are those that no upstream node determines."""

NO_LAW = "none: with zero or mean patch values nodes lie on each other's paths, and their effects overlap"


@dataclass(frozen=True)
class Method:
    """How a method is run by `measure`: its name, its scores for a batch, and what it needs.

    `residual_law` is `SOURCES`, or says what the residual in the scores is. `unit` and `sign` are those of effects
    where they are not the metric's. `settings` go with the effects.
    """

    name: str
    score: Callable[[Situation], Scores]
    error_modes: tuple[ErrorMode, ...]
    residual_law: str
    with_gradients: bool = False
    unit: str | None = None
    sign: str = SIGN
    settings: Mapping[str, str | int | float] = field(default_factory=dict)


def measure(
    method: Method,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    batch_size: int,
    progress: Progress,
) -> Effects:
    """Run a method over all pairs. Arguments are checked before the first forward."""
    if error_mode not in method.error_modes:
        raise ValueError(
            f"{method.name} cannot be measured in error mode {error_mode!r}. Choose one of: "
            f"{', '.join(method.error_modes)}."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    if method.with_gradients and metric.flat_at_clean:
        raise ValueError(
            f"The gradient of {metric.name} is zero at the clean run, so {method.name} would give 0 for every node. "
            "Use exact patching or integrated gradients, or another metric."
        )
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    collected = Collected(method, metric, error_mode, patch_value, (TOKENS, *spliced.sites))
    done = 0
    with spliced.model.frozen():
        for batch in pairs.batches(batch_size, spliced.model.device):
            share = len(batch.example) / len(pairs)
            start = done / len(pairs)
            situation = prepare(
                spliced,
                batch,
                metric,
                error_mode,
                patch_value,
                progress=lambda within, start=start, share=share: progress(start + within * share),
                with_gradients=method.with_gradients,
            )
            collected.add(situation, method.score(situation))
            done += len(batch.example)
            progress(done / len(pairs))
    return collected.effects()


@dataclass(frozen=True)
class Collected:
    """Scores of batches on their way to one `Effects`."""

    method: Method
    metric: Metric
    error_mode: ErrorMode
    patch_value: PatchValue
    sites: tuple[str, ...]
    nodes: list[NodeColumns] = field(default_factory=list)
    clean_metric: list[np.ndarray] = field(default_factory=list)
    total_effect: list[np.ndarray] = field(default_factory=list)
    residual: list[np.ndarray] = field(default_factory=list)

    def add(self, situation: Situation, scores: Scores) -> None:
        """One batch more; its tensors are not kept."""
        self.nodes.extend(node_columns(situation, scores, self.sites))
        self.clean_metric.append(numpy_of(situation.clean_metric))
        self.total_effect.append(numpy_of(situation.total_effect))
        residual = scores.residual
        if self.method.residual_law == SOURCES:
            residual = scores.residual_of_sources(situation)
        if residual is not None:
            self.residual.append(numpy_of(residual))

    def effects(self) -> Effects:
        """All batches together."""
        law = self.method.residual_law
        return Effects(
            method=self.method.name,
            metric=self.metric.name,
            unit=self.method.unit or self.metric.unit,
            metric_unit=self.metric.unit,
            sign=self.method.sign,
            error_mode=self.error_mode,
            patch_value=self.patch_value.name,
            sites=self.sites,
            **joined(self.nodes),
            clean_metric=np.concatenate(self.clean_metric),
            total_effect=np.concatenate(self.total_effect),
            residual=np.concatenate(self.residual) if self.residual else None,
            residual_law=law if self.residual or law != SOURCES else NO_LAW,
            settings=self.method.settings,
        )


def prepare(
    spliced: SplicedModel,
    batch: PairBatch,
    metric: Metric,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    *,
    progress: Progress = silent,
    with_gradients: bool = False,
) -> Situation:
    """The clean runs of a batch and the change of every node."""
    # Path methods start from the bare model's run: their errors move from its errors to the patch run's.
    mode_of_ends: ErrorMode = "live" if error_mode == "path" else error_mode
    clean = spliced.record(batch.clean_ids, batch.last, mode_of_ends, with_gradients=with_gradients)
    with torch.set_grad_enabled(with_gradients):
        bound = metric.bind(clean.logits, batch)
        clean_metric = bound(clean.logits, batch)
    if clean_metric.shape != batch.last.shape:
        raise ValueError(
            f"Metric {metric.name!r} returned shape {tuple(clean_metric.shape)}; it must give one number a row, "
            f"shape ({len(batch.last)},)."
        )
    with torch.no_grad():
        changes = patch_value(spliced, batch, clean, bound, error_mode)
    return Situation(spliced, batch, error_mode, bound, clean, clean_metric, changes, progress)


def node_columns(situation: Situation, scores: Scores, sites: tuple[str, ...]) -> list[NodeColumns]:
    """The rows of `Effects` that a batch's scores make, in parts."""
    example = situation.batch.example
    parts: list[NodeColumns] = []
    for site, (change, effect) in scores.features.items():
        parts.append(
            _part(
                sites.index(site),
                "feature",
                example[change.row],
                change.pos,
                change.index,
                change.old,
                change.new,
                effect,
            )
        )
    for site, effect in scores.errors.items():
        difference, old = situation.error_change(site), situation.clean.sites[site].error
        assert difference is not None
        assert old is not None
        row, pos = torch.nonzero((difference != 0).any(-1), as_tuple=True)
        norms = [torch.linalg.vector_norm(e[row, pos], dim=-1) for e in (old, situation.changes.errors[site])]
        none = torch.full_like(row, -1)
        parts.append(_part(sites.index(site), "error", example[row], pos, none, *norms, effect[row, pos]))
    if scores.tokens is not None:
        old, new = situation.batch.clean_ids, situation.batch.patch_ids
        row, pos = torch.nonzero((old != new) & situation.batch.real, as_tuple=True)
        none = torch.full_like(row, -1)
        values = (old[row, pos], new[row, pos], scores.tokens[row, pos])
        parts.append(_part(sites.index(TOKENS), "token", example[row], pos, none, *values))
    return parts


def _part(site: int, kind: str, *columns: Tensor) -> NodeColumns:
    names = ("example", "position", "index", "clean", "patch", "effect")
    part = {name: numpy_of(column) for name, column in zip(names, columns, strict=True)}
    count = len(part["effect"])
    return {**part, "site": np.full(count, site), "kind": np.full(count, KINDS.index(kind))}


def numpy_of(values: Tensor) -> np.ndarray:
    """The values on the CPU, floats in float64."""
    detached = values.detach().cpu()
    return detached.double().numpy() if detached.is_floating_point() else detached.numpy()
