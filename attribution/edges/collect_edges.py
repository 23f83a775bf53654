"""Edges of a flow over all pairs, batch by batch. Where chunks are kept (`attribution/runs`), each batch is a chunk."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.edges.edges import METRIC_KEY, Edges
from attribution.edges.flow_edges import BALANCE_COLUMNS, EDGE_COLUMNS, Flow, FlowEdges, FoundEdges, WantedEdges
from attribution.effects.effects import Effects
from attribution.effects.measurement import Situation, prepare
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, progress_between
from attribution.splice.node_keys import shifted_keys
from attribution.splice.patch_values import PatchValue
from attribution.splice.recording import ErrorMode
from attribution.splice.resuming import TOKENS
from attribution.splice.spliced_model import SplicedModel

STAGE: Final = "edges"


def collect_edges(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    flow: Callable[[Situation], Flow],
    targets: Effects,
    sources: Effects | None,
    *,
    method: str,
    settings: Mapping[str, Any],
    error_mode: ErrorMode,
    patch_value: PatchValue,
    least: float,
    batch_size: int,
    with_gradients: bool = False,
    with_projections: bool = False,
    progress: Progress,
) -> Edges:
    """All edges of a flow into the metric and the target features; see `chord_edges` for the arguments.

    `method` is the name of the flow in words; `settings` are plain data that its numbers depend on beside the other
    arguments. `flow` makes the flow of a prepared batch.

    Raises:
        ValueError: targets or sources of other sites than the SAEs', pairs that do not fit the model, or an SAE without
            a gradient.
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_pursuits(spliced.saes, method)
    for nodes in (targets, sources):
        if nodes is not None and nodes.sites != (TOKENS, *spliced.sites):
            raise ValueError(f"The nodes of the edges are of other sites: {', '.join(nodes.sites[1:])}.")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    wanted = WantedEdges(targets.keys()[targets.of_kind("feature")], None if sources is None else sources.keys(), least)

    def measured(examples: range, told: Progress) -> dict[str, np.ndarray]:
        batch = pairs.batch(examples, spliced.model.device, metric.positions)
        situation = prepare(
            spliced,
            batch,
            metric,
            error_mode,
            patch_value,
            with_gradients=with_gradients,
            with_projections=with_projections,
        )
        found = FoundEdges()
        FlowEdges(situation, flow(situation), wanted, found).run(told)
        return _with_shifted_examples(-examples.start, found.arrays())

    def key(examples: range, store: ChunkStore) -> str:
        about = {"error_mode": error_mode, "least": least, "name": method, "settings": settings}
        return chunk_keys(store, spliced, metric, patch_value, **about).key(
            pairs, examples, nodes=wanted.digests(examples)
        )

    parts: list[dict[str, np.ndarray]] = []
    with spliced.model.frozen():
        for examples in pairs.cut(batch_size, spliced.model.lengths):
            told = progress_between(progress, examples.start / len(pairs), examples.stop / len(pairs))
            chunk = kept_chunk(STAGE, partial(key, examples), lambda _, e=examples, t=told: measured(e, t))
            parts.append(_with_shifted_examples(examples.start, chunk))
            told(1.0)
    return Edges(
        method, **{name: np.concatenate([part[name] for part in parts]) for name in (*EDGE_COLUMNS, *BALANCE_COLUMNS)}
    )


def _with_shifted_examples(start: int, chunk: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same edges, `start` added to every example number."""
    found = dict(chunk)
    for name in ("example", "target_example"):
        found[name] = chunk[name] + start
    for name in ("source", "target", "target_key"):
        found[name] = np.where(chunk[name] == METRIC_KEY, METRIC_KEY, shifted_keys(chunk[name], start))
    return found
