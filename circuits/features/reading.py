"""Text read in batches, for passes over a corpus that look at activations."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.hooks import activations_at
from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus
from circuits.labels.top_contexts import in_batches, padded_batch


@dataclass(frozen=True)
class ReadBatch:
    """Some pieces of a corpus; `here` is True where SAEs are spliced in."""

    rows: list[tuple[int, ...]]
    ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    here: Bool[Tensor, "row pos"]


def batch_of(rows: list[tuple[int, ...]], spliced: SplicedModel) -> ReadBatch:
    """Token ids of texts, padded on the right."""
    ids, last = padded_batch(rows, spliced.model.device)
    return ReadBatch(rows, ids, last, spliced.spliced_positions(ids, last))


def read_batches(spliced: SplicedModel, corpus: Corpus, batch_size: int, progress: Progress) -> Iterator[ReadBatch]:
    """The corpus from its start; `progress` is told the share that has been dealt with."""
    _, pieces = corpus.digest_and_count
    done = 0
    for rows in in_batches(corpus.pieces(), batch_size, lambda piece: spliced.model.lengths.alike(len(piece))):
        yield batch_of(rows, spliced)
        done += len(rows)
        progress(done / pieces)


def activation(spliced: SplicedModel, batch: ReadBatch, site: str, index: int) -> Float[Tensor, "row pos"]:
    """One feature's activation; 0 where no SAE is spliced in."""
    x = activations_at(spliced.model, batch.ids, [site])[site]
    return torch.where(batch.here, spliced.saes[site].encode(x).features[..., index], 0)
