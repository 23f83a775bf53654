"""m(C): the metric of clean prompts when only the nodes of a set C are kept.

    m(C) = metric of one forward in which every node outside C takes its reference value, from the first site to the
           last, at every spliced position

The nodes of C take what they compute in that very run, from whatever arrives there. `attribution/splice/masking.py` has
the formula of what a site writes. With everything kept the run is the bare model's, to the last bit.

Tokens are inputs: they are never ablated. One forward for each set of nodes. Source: Wang et al. 2023; Marks et al.
2024, section 4 (faithfulness).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.effects.measurement import numpy_of
from attribution.models.hooks import SiteFunction, logits_at
from attribution.prompts.metrics import Metric, OnLogits
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs.chunk_key import ChunkKeys, digest_of, environment_of, metric_in_words
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import KeepOnly, SiteNodes
from attribution.splice.masking import KeptMask, write_masked
from attribution.splice.node_keys import NodeColumns, columns_of_keys, keys_of_examples, node_of_key
from attribution.splice.references import PreparedReference, Reference, SiteReference
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import TOKENS, SplicedModel

ErrorChoice = Literal["nodes", "kept", "removed"]
"""`nodes`: an error is kept iff it is among the kept nodes; `kept`: every error is; `removed`: none is."""

ALL_ERRORS: Final[Mapping[ErrorChoice, bool | None]] = {"nodes": None, "kept": True, "removed": False}
STAGE: Final = "kept_only"
SETS_IN_CHUNK: Final = 8
"""Sets of nodes for which the metric of one batch is kept together."""
_NO_KEYS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Kept:
    """Which features and errors take what they compute in this run; all others take their reference value.

    Attributes:
        keys: of nodes, as `Effects.keys` has them, sorted. Keys of tokens change nothing.
        complement: keep all features and errors except those.
        all_errors: True keeps every error, False none, None goes by the keys.
    """

    keys: np.ndarray
    complement: bool = False
    all_errors: bool | None = None


EVERYTHING: Final = Kept(_NO_KEYS, complement=True)
"""The bare model."""
NOTHING: Final = Kept(_NO_KEYS)
"""Every feature and every error at its reference value."""


def metric_keeping(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    sets: Sequence[Kept],
    reference: Reference,
    *,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Float[np.ndarray, "set pair"]:
    """The metric of each clean prompt when only a set of nodes is kept, in the metric's unit; one row for each set.

    Where the reference has several draws, their mean. Where chunks are kept, each is a batch with a few sets.

    Raises:
        ValueError: a key of no node of these prompts, or prompts that the reference has no value for.
    """
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    for kept in sets:
        _check(kept, spliced, pairs)
    run = _Run(spliced, pairs, metric, reference.name, reference.prepared(spliced, pairs))
    found = np.zeros((len(sets), len(pairs)))
    with torch.no_grad(), spliced.model.frozen():
        for examples in pairs.cut(batch_size, spliced.model.lengths):
            batch = _Batch(run, pairs.batch(examples, spliced.model.device, metric.positions))
            for first in range(0, len(sets), SETS_IN_CHUNK):
                some = sets[first : first + SETS_IN_CHUNK]
                chunk = kept_chunk(STAGE, partial(run.key, examples, some), lambda _, b=batch, s=some: b.metrics(s))
                found[first : first + len(some), examples.start : examples.stop] = chunk["metric"]
                progress((len(sets) * examples.start + len(examples) * (first + len(some))) / found.size)
    return found


@dataclass(frozen=True)
class _Run:
    """What all batches have in common."""

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    reference: str
    prepared: PreparedReference

    def key(self, examples: range, sets: Sequence[Kept], store: ChunkStore) -> str:
        """Of the metric of some pairs with some sets of nodes kept."""
        common = {"kept only": STAGE, "draws": self.prepared.draws, "metric": metric_in_words(self.metric)}
        circuits = [[digest_of(keys_of_examples(s.keys, examples)), s.complement, s.all_errors] for s in sets]
        reference = [self.reference, self.prepared.digest(examples)]
        keys = ChunkKeys({**environment_of(store, self.spliced), **common})
        return keys.key(self.pairs, examples, circuits=circuits, reference=reference)


@dataclass(frozen=True)
class _Batch:
    """Some pairs; their clean and reference runs are made when they are first asked for."""

    run: _Run
    batch: PairBatch
    references: dict[int, Mapping[str, SiteReference]] = field(default_factory=dict)

    def metrics(self, sets: Sequence[Kept]) -> dict[str, np.ndarray]:
        """The metric of each pair with each set kept, the mean over draws."""
        found, draws = np.zeros((len(sets), len(self.batch.last))), self.run.prepared.draws
        for draw in range(draws):
            values = self._values(draw)
            for number, kept in enumerate(sets):
                logits = _logits_keeping(self.run.spliced, self.batch, kept, values)
                found[number] += numpy_of(self._bound(logits, self.batch)) / draws
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found).all(0))[0])
            raise ValueError(
                f"Pair {int(self.batch.example[row])}: {self.run.metric.name} is {found[:, row].sum()} when only some "
                "nodes are kept. Leave the pair out, or find out why the model computes no number there."
            )
        return {"metric": found}

    @cached_property
    def _bound(self) -> OnLogits:
        clean = logits_at(self.run.spliced.model, self.batch.clean_ids, self.batch.read, {})
        return self.run.metric.bind(at_least_float32(clean), self.batch)

    def _values(self, draw: int) -> Mapping[str, SiteReference]:
        """Of one draw, which is held until another is asked for."""
        if draw not in self.references:
            self.references.clear()
            self.references[draw] = self.run.prepared(self.batch, draw)
        return self.references[draw]


def logits_keeping(
    spliced: SplicedModel, pairs: PromptPairs, kept: Kept, reference: Reference, *, draw: int = 0
) -> Float[Tensor, "pair vocab"]:
    """Logits at each clean prompt's last position when only some nodes are kept; in one forward if they may."""
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    _check(kept, spliced, pairs)
    values = reference.prepared(spliced, pairs)
    with torch.no_grad(), spliced.model.frozen():
        batches = pairs.batches(len(pairs), spliced.model)
        return torch.cat([_logits_keeping(spliced, batch, kept, values(batch, draw)) for batch in batches])


def _logits_keeping(
    spliced: SplicedModel, batch: PairBatch, kept: Kept, values: Mapping[str, SiteReference]
) -> Float[Tensor, "row *read vocab"]:
    here = spliced.spliced_positions(batch.clean_ids, batch.last)
    columns = _columns_in(batch, kept.keys)
    functions: dict[str, SiteFunction] = {}
    for place, site in enumerate(spliced.sites, start=1):
        there = {name: column[columns["site"] == place] for name, column in columns.items()}
        edit = KeepOnly(site, _site_nodes(there, here.device), values[site].values(), kept.complement, kept.all_errors)
        functions[site] = _keeper(spliced.saes[site], here, edit)
    return at_least_float32(logits_at(spliced.model, batch.clean_ids, batch.read, functions))


def _site_nodes(columns: NodeColumns, device: torch.device) -> SiteNodes:
    row, pos, index = (torch.from_numpy(columns[n]).to(device) for n in ("row", "position", "index"))
    return SiteNodes(torch.zeros_like(row), row, pos, index)


def _keeper(sae: SAE, here: Bool[Tensor, "row pos"], edit: KeepOnly) -> SiteFunction:
    mask = KeptMask(edit.kept(len(here), here.shape[1], sae.d_sae), sae.W_dec.dtype)

    def function(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        encoding = sae.encode(x)
        y = write_masked(sae, encoding.features, encoding.frame, x, mask, edit.reference)
        return torch.where(here[..., None], y.to(x.dtype), x)

    return function


def _columns_in(batch: PairBatch, keys: np.ndarray) -> NodeColumns:
    """The nodes of a batch of consecutive examples, with the row they lie in."""
    columns = columns_of_keys(keys)
    first = int(batch.example[0])
    row = columns["example"] - first
    inside = (row >= 0) & (row < len(batch.example))
    return {name: column[inside] for name, column in (columns | {"row": row}).items()}


def _check(kept: Kept, spliced: SplicedModel, pairs: PromptPairs) -> None:
    """Every key is that of a node of these prompts."""
    columns, sites = columns_of_keys(kept.keys), (TOKENS, *spliced.sites)
    lengths = np.array([len(pair) for pair in pairs])
    widths = np.array([0, *(sae.d_sae for sae in spliced.saes.values())])
    example, site = columns["example"], columns["site"]
    inside = (example < len(lengths)) & (site < len(sites))
    inside[inside] = (columns["position"][inside] < lengths[example[inside]]) & (
        columns["index"][inside] < widths[site[inside]]
    )
    if not inside.all():
        wrong = int(kept.keys[~inside][0])
        name = node_of_key(wrong, sites) if site[~inside][0] < len(sites) else f"Site number {site[~inside][0]}"
        raise ValueError(
            f"{name} is not in these {len(pairs)} prompts and {len(spliced.sites)} spliced sites. Make the keys for "
            "the same prompts and SAEs."
        )
