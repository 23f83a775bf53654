"""How every method runs.

    batches of pairs → the clean run and the change of every node (`Situation`) → a score for every node (`Scores`)
                     → arrays of one chunk (`Collected`) → `Effects`

A method supplies the second arrow; the rest is the same for all of them, and is here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries import Frame
from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.effects.decided_nodes import DecidedNodes
from attribution.effects.effects import SIGN, Effects, joined
from attribution.effects.finite_pairs import UnfinitePairs, faults, refuse_unfinite, refuse_unfinite_effects
from attribution.prompts.metrics import Metric, OnLogits
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.chunk_file import (
    BESIDE_PREFIX,
    NODES_PREFIX,
    Arrays,
    batches_beside,
    with_moved_examples,
    with_prefix,
)
from attribution.runs.chunk_key import ChunkKeys, chunk_keys
from attribution.runs.chunk_store import ChunkStore, KeepPart, compute_unkept, current_store
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.node_keys import KINDS, NodeColumns, node_keys
from attribution.splice.patch_values import Changes, PatchValue
from attribution.splice.recording import FeatureChange, Recording
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel
from graphs.short_repr import in_brief, short_repr


@dataclass(frozen=True)
class Situation:
    """One batch of pairs, ready to be scored: the clean runs, and the change of every node.

    `kept` is for work that takes long: it keeps a named part of it, so that the part survives an interrupt by itself
    where chunks are kept, and computes it elsewhere.
    """

    __repr__ = short_repr

    spliced: SplicedModel
    batch: PairBatch
    error_mode: ErrorMode
    metric: OnLogits
    clean: Recording
    clean_metric: Float[Tensor, " row"]
    changes: Changes
    progress: Progress
    patch_value: PatchValue
    kept: KeepPart = compute_unkept

    @property
    def total_effect(self) -> Float[Tensor, " row"]:
        """m(everything at its patch value) − m(clean)."""
        return self.changes.metric - self.clean_metric.detach()

    def error_change(self, site: str) -> Float[Tensor, "row pos width"] | None:
        """The patch error minus the clean error of a site; None in `zero` mode, which has no errors."""
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
    """What a method finds for one batch: effects of features, errors and tokens, and the residual of its law.

    `beside` holds whatever it finds besides effects, as plain arrays. A column of example numbers is named `example`.
    `decided` are the nodes of which `features`, `errors` and `tokens` hold the effect measured in float64.
    """

    features: Mapping[str, tuple[FeatureChange, Float[Tensor, " changed"]]]
    errors: Mapping[str, Float[Tensor, "row pos"]] = field(default_factory=dict)
    tokens: Float[Tensor, "row pos"] | None = None
    residual: Float[Tensor, " row"] | None = None
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    decided: DecidedNodes = field(default_factory=DecidedNodes.none)

    def residual_of_sources(self, situation: Situation) -> Float[Tensor, " row"] | None:
        """The residual of the law `SOURCES`; None where tokens are not patched."""
        if self.tokens is None:
            return None
        sources = self.tokens.sum(-1)
        if situation.error_mode in ("frozen", "path"):
            for effect in self.errors.values():
                sources = sources + effect.sum(-1)
        return situation.total_effect - sources


SOURCES = "total effect − Σ effects of the source nodes: tokens, in frozen and path mode also errors"
"""A law in words. The source nodes of a run are those that no upstream node determines."""

NO_LAW = "none: with zero or mean patch values nodes lie on each other's paths, and their effects overlap"


@dataclass(frozen=True)
class Method:
    """What `measure` needs to know of a method.

    Attributes:
        name: as in `Effects.method`.
        score: gives the scores of one batch.
        error_modes: the modes that it can be measured in.
        residual_law: `SOURCES`, or what the residual in its scores is, in words.
        with_gradients: whether `score` takes gradients of the clean run.
        through_encoders: whether `score` takes gradients through the encoders, of whatever run.
        with_projections: whether `score` needs projections on the encoders' directions (see `prepare`).
        unit, sign: of the effects, where they differ from the metric's.
        settings: settings that the effects name.
        depends_on: plain data that also decides what is measured; it goes into the keys of chunks.
        only: keys of the nodes that are measured; None for all.
        pairs_in_chunk: pairs in a chunk, where chunks are kept: as many as take some seconds.
    """

    name: str
    score: Callable[[Situation], Scores]
    error_modes: tuple[ErrorMode, ...]
    residual_law: str
    with_gradients: bool = False
    through_encoders: bool = True
    with_projections: bool = False
    unit: str | None = None
    sign: str = SIGN
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    depends_on: Mapping[str, Any] = field(default_factory=dict)
    only: np.ndarray | None = None
    pairs_in_chunk: int = 16


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
    """Run a method over all pairs. Arguments are checked before the first forward pass.

    Raises:
        ValueError: an error mode that the method does not have, a batch size below 1, a gradient method with a metric
            whose gradient is 0 at the clean run, a gradient method with SAEs that have no gradient, pairs that do not
            fit the model, or a metric that does not return one number for each row, or one that is not finite.
    """
    given = method, spliced, pairs, metric
    effects, _ = measure_beside(
        *given,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )
    return effects


def measure_beside(
    method: Method,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    batch_size: int,
    progress: Progress,
) -> tuple[Effects, list[dict[str, np.ndarray]]]:
    """As `measure`, with what the method found besides effects: one dictionary of arrays for each batch."""
    refuse_other_types(pairs, metric, patch_value)
    if error_mode not in method.error_modes:
        raise ValueError(
            f"{method.name} cannot be measured in error mode {in_brief(error_mode)}. Choose one of: "
            f"{', '.join(method.error_modes)}."
        )
    if method.through_encoders:
        refuse_pursuits(spliced.saes, method.name)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    if method.with_gradients and metric.flat_at_clean:
        raise ValueError(
            f"The gradient of {metric.name} is zero at the clean run, so {method.name} would give 0 for every node. "
            "Use exact patching or integrated gradients, or another metric."
        )
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    if len(pairs) > batch_size:  # a single batch is checked by itself before it is scored
        refuse_unfinite(spliced.model, pairs, metric)
    run = _Run(method, spliced, metric, error_mode, patch_value, batch_size)
    with spliced.model.frozen():
        chunks = list(run.chunks(pairs, progress))
    effects = effects_of_chunks(method, metric, error_mode, patch_value, (TOKENS, *spliced.sites), chunks)
    return effects, [beside for chunk in chunks for beside in batches_beside(chunk)]


@dataclass(frozen=True)
class _Run:
    """A run of one method over all pairs: in chunks (`runs/chunk_store.py`), or by batches where none are kept."""

    method: Method
    spliced: SplicedModel
    metric: Metric
    error_mode: ErrorMode
    patch_value: PatchValue
    batch_size: int

    def chunks(self, pairs: PromptPairs, progress: Progress) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of each chunk, in the order of the pairs."""
        store = current_store()
        keys = None if store is None else self._chunk_keys(store)
        size = self.batch_size if store is None else self.method.pairs_in_chunk
        for examples in pairs.cut(size):
            progress_here = progress_between(progress, examples.start / len(pairs), examples.stop / len(pairs))
            if store is None or keys is None:
                found = self._chunk(pairs, examples, progress_here)
            else:
                name, key = self.method.name, keys.key(pairs, examples)
                compute = partial(self._chunk, pairs, examples, progress_here, partial(store.part, name, key))
                found = store.kept(name, key, compute)
            yield with_moved_examples(found, examples.start)
            progress(examples.stop / len(pairs))

    def _chunk_keys(self, store: ChunkStore) -> ChunkKeys:
        return chunk_keys(
            store,
            self.spliced,
            self.metric,
            self.patch_value,
            only=self.method.only,
            name=self.method.name,
            error_mode=self.error_mode,
            settings=dict(self.method.settings),
            depends_on=dict(self.method.depends_on),
        )

    def _chunk(
        self, pairs: PromptPairs, examples: range, progress: Progress, keep: KeepPart = compute_unkept
    ) -> dict[str, np.ndarray]:
        """The arrays of one chunk. Examples are counted from its first."""
        collected = Collected(self.method.residual_law, (TOKENS, *self.spliced.sites))
        for part in pairs.cut(self.batch_size, self.spliced.model.lengths, within=examples):
            batch = pairs.batch(part, self.spliced.model.device, self.metric.positions)
            progress_here = progress_between(
                progress, *((n - examples.start) / len(examples) for n in (part.start, part.stop))
            )
            with_gradients = self.method.with_gradients
            given = self.spliced, batch, self.metric, self.error_mode, self.patch_value
            situation = prepare(
                *given,
                progress=progress_here,
                with_gradients=with_gradients,
                with_projections=self.method.with_projections,
            )
            if len(batch.last) == len(examples):
                situation = replace(situation, kept=keep)
            collected.add(situation, self.method.score(situation))
        return with_moved_examples(collected.arrays(), -examples.start)


def effects_of_chunks(
    method: Method,
    metric: Metric,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    sites: tuple[str, ...],
    chunks: Sequence[Arrays],
) -> Effects:
    """The effects of a measurement, from all its chunks. The first of `sites` is `TOKENS`."""
    law, with_residual = method.residual_law, "residual" in chunks[0]
    return Effects(
        method=method.name,
        metric=metric.name,
        unit=method.unit or metric.unit,
        metric_unit=metric.unit,
        sign=method.sign,
        error_mode=error_mode,
        patch_value=patch_value.name,
        sites=sites,
        **joined([with_prefix(NODES_PREFIX, chunk) for chunk in chunks]),
        clean_metric=np.concatenate([chunk["clean_metric"] for chunk in chunks]),
        total_effect=np.concatenate([chunk["total_effect"] for chunk in chunks]),
        residual=np.concatenate([chunk["residual"] for chunk in chunks]) if with_residual else None,
        residual_law=law if with_residual or law != SOURCES else NO_LAW,
        settings=method.settings,
    )


@dataclass(frozen=True)
class Collected:
    """Collects the scores of batches into the arrays of one chunk."""

    residual_law: str
    sites: tuple[str, ...]
    nodes: list[NodeColumns] = field(default_factory=list)
    metrics: dict[str, list[np.ndarray]] = field(default_factory=dict)
    beside: list[Mapping[str, np.ndarray]] = field(default_factory=list)

    def add(self, situation: Situation, scores: Scores) -> None:
        """Add a batch. Its numbers are copied, so that its tensors can be freed."""
        for columns in node_columns(situation, scores, self.sites):
            refuse_unfinite_effects(columns, self.sites)
            self.nodes.append(columns)
        found = {"clean_metric": situation.clean_metric, "total_effect": situation.total_effect}
        residual = scores.residual_of_sources(situation) if self.residual_law == SOURCES else scores.residual
        if residual is not None:
            found["residual"] = residual
        for name, values in found.items():
            self.metrics.setdefault(name, []).append(numpy_of(values))
        if scores.beside:
            self.beside.append(scores.beside)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of all batches added so far, by the names of a chunk's file."""
        return {
            **{f"{NODES_PREFIX}{name}": column for name, column in joined(self.nodes).items()},
            **{name: np.concatenate(parts) for name, parts in self.metrics.items()},
            **{
                f"{BESIDE_PREFIX}{number}.{name}": values
                for number, beside in enumerate(self.beside)
                for name, values in beside.items()
            },
        }


def prepare(
    spliced: SplicedModel,
    batch: PairBatch,
    metric: Metric,
    error_mode: ErrorMode,
    patch_value: PatchValue,
    *,
    progress: Progress = silent,
    with_gradients: bool = False,
    with_projections: bool = False,
) -> Situation:
    """The clean runs of a batch and the change of every node, ready for a method.

    Args:
        with_gradients: record the graph of the clean run, so that gradients can be taken.
        with_projections: keep the projections on the encoders' directions, at the positions where the two runs can
            differ, unless the splice keeps none. The secants of chord IG need them, and run every encoder a third time
            without them.

    Raises:
        ValueError: the metric does not return one number for each row, or one that is not finite (`UnfinitePairs`).
    """
    # Path methods start from the bare model's run: their errors move from its errors to the patch run's.
    mode_of_ends: ErrorMode = "live" if error_mode == "path" else error_mode
    clean = spliced.record(
        batch.clean_ids,
        batch.last,
        mode_of_ends,
        read=batch.read,
        with_gradients=with_gradients,
        projected=batch.reached if with_projections and spliced.keeps_projections else None,
    )
    with torch.set_grad_enabled(with_gradients):
        bound = metric.bind(clean.logits, batch)
        clean_metric = bound(clean.logits, batch)
    with torch.no_grad():
        changes = patch_value(spliced, batch, clean, bound, error_mode)
    if rows := faults(batch.example, clean=clean_metric, patch=changes.metric):
        raise UnfinitePairs(metric.name, rows)
    return Situation(spliced, batch, error_mode, bound, clean, clean_metric, changes, progress, patch_value)


def node_columns(situation: Situation, scores: Scores, sites: tuple[str, ...]) -> list[NodeColumns]:
    """The rows of `Effects` for a batch's scores, in one part for each site and kind of node."""
    example = situation.batch.example
    parts: list[NodeColumns] = []
    for site, (change, effect) in scores.features.items():
        parts.append(
            _columns_of_nodes(
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
        parts.append(_columns_of_nodes(sites.index(site), "error", example[row], pos, none, *norms, effect[row, pos]))
    if scores.tokens is not None:
        old, new = situation.batch.clean_ids, situation.batch.patch_ids
        row, pos = torch.nonzero((old != new) & situation.batch.real, as_tuple=True)
        none = torch.full_like(row, -1)
        values = (old[row, pos], new[row, pos], scores.tokens[row, pos])
        parts.append(_columns_of_nodes(sites.index(TOKENS), "token", example[row], pos, none, *values))
    return [part | scores.decided.columns(_keys_of_part(part), part["effect"]) for part in parts]


def _keys_of_part(part: NodeColumns) -> np.ndarray:
    return node_keys(part["example"], part["position"], part["index"], site=part["site"], kind=part["kind"])


def _columns_of_nodes(site: int, kind: str, *columns: Tensor) -> NodeColumns:
    names = ("example", "position", "index", "clean", "patch", "effect")
    part = {name: numpy_of(column) for name, column in zip(names, columns, strict=True)}
    count = len(part["effect"])
    return {**part, "site": np.full(count, site), "kind": np.full(count, KINDS.index(kind))}


def numpy_of(values: Tensor) -> np.ndarray:
    """The values on the CPU, floats in float64."""
    detached = values.detach().cpu()
    return detached.double().numpy() if detached.is_floating_point() else detached.numpy()
