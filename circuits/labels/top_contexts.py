"""One streaming pass over a corpus: where each feature is most active, how often, and how strongly.

Batches of pieces run through the bare model. At every site the SAE encodes what arrives, and the `count` strongest
places of each feature are kept, so memory does not grow with the corpus. A piece gives at most one place: the
strongest, or the first of several that are equally strong. Of places that read alike, with the same tokens up to the
active one, only the strongest is kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.hooks import logits_at
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus

Item = TypeVar("Item")


@dataclass(frozen=True)
class ActivePlaces:
    """The most active places of some features of one site, in decreasing order of activation.

    If a feature has fewer places than there are columns, the columns that are left hold 0.

    Attributes:
        activation: the feature's activation at the place.
        piece, position: where the place is in the corpus.
        key: a hash of the tokens that lead to the place.
        total: the sum of the feature's activations over all spliced tokens.
        active: the number of spliced tokens that the feature is active on.
    """

    activation: Float[Tensor, "feature place"]
    piece: Int[Tensor, "feature place"]
    position: Int[Tensor, "feature place"]
    key: Int[Tensor, "feature place"]
    total: Float[Tensor, " feature"]
    active: Int[Tensor, " feature"]

    @classmethod
    def nothing(cls, features: int, count: int) -> "ActivePlaces":
        """No places, with room for `count` of each feature."""
        place = torch.zeros(features, count, dtype=torch.int64)
        return cls(place.double(), place, place, place, place[:, 0].double(), place[:, 0])


def top_contexts(
    spliced: SplicedModel,
    features: Mapping[str, Sequence[int]],
    corpus: Corpus,
    *,
    count: int,
    before: int,
    batch_size: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[dict[str, ActivePlaces], int]:
    """The most active places of the chosen features of each site, and the number of tokens read.

    Args:
        features: indices of features by site.
        count: places that are kept for each feature.
        before: two places read alike if their token and the `before` tokens that lead to it are the same.
    """
    seen = {site: ActivePlaces.nothing(len(chosen), count) for site, chosen in features.items()}
    tokens, first = 0, 0
    _, pieces = corpus.digest_and_count
    for rows in in_batches(corpus.pieces(), batch_size, lambda piece: spliced.model.lengths.alike(len(piece))):
        ids, last = padded_batch(rows, spliced.model.device)
        spliced_here = spliced.spliced_positions(ids, last)
        batch = _Batch(spliced_here, _hashes_of_contexts(ids, before), first)
        functions = {site: partial(_add_batch, spliced, site, chosen, batch, seen) for site, chosen in features.items()}
        with torch.no_grad():
            logits_at(spliced.model, ids, last, functions)
        tokens += int(spliced_here.sum())
        first += len(rows)
        if progress is not None:
            progress(first / pieces)
    return seen, tokens


def in_batches(items: Iterator[Item], size: int, alike: Callable[[Item], int] | None = None) -> Iterator[list[Item]]:
    """Lists of at most `size` consecutive items; with `alike`, of items for which it gives the same number."""
    for _, group in groupby(items, alike or (lambda _: 0)):
        while rows := list(islice(group, size)):
            yield rows


def padded_batch(
    rows: Sequence[tuple[int, ...]], device: torch.device
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, " row"]]:
    """Token ids padded on the right, and the last real position of each row."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    return ids, torch.tensor([len(row) - 1 for row in rows], device=device)


@dataclass(frozen=True)
class _Batch:
    """Spliced positions, hashes of what leads to each position, and the number of the first piece."""

    spliced: Bool[Tensor, "row pos"]
    key: Int[Tensor, "row pos"]
    first: int


def _add_batch(
    spliced: SplicedModel, site: str, chosen: Sequence[int], batch: _Batch, seen: dict[str, ActivePlaces], x: Tensor
) -> Tensor:
    features = spliced.saes[site].encode(x).features[..., list(chosen)]
    seen[site] = _with_batch(seen[site], torch.where(batch.spliced[..., None], features, 0).cpu(), batch)
    return x


def _with_batch(seen: ActivePlaces, features: Float[Tensor, "row pos feature"], batch: _Batch) -> ActivePlaces:
    strongest, position = features.double().max(1)
    rows = torch.arange(len(features))[:, None].expand_as(position)
    key = batch.key.cpu()[rows, position]
    columns = [
        torch.cat([old, new.T], dim=1)
        for old, new in (
            (seen.activation, strongest),
            (seen.piece, rows + batch.first),
            (seen.position, position),
            (seen.key, key),
        )
    ]
    value = torch.where(_is_best_of_its_key(columns[0], columns[3]), columns[0], 0)
    order = value.argsort(dim=1, descending=True, stable=True)[:, : seen.activation.shape[1]]
    activation, piece, position, key = (column.gather(1, order) for column in (value, *columns[1:]))
    total = seen.total + features.double().sum((0, 1))
    return ActivePlaces(activation, piece, position, key, total, seen.active + (features > 0).sum((0, 1)))


def _is_best_of_its_key(
    value: Float[Tensor, "feature place"], key: Int[Tensor, "feature place"]
) -> Bool[Tensor, "feature place"]:
    """True for the strongest place of each key, or the first of several that are equally strong."""
    by_value = value.argsort(dim=1, descending=True, stable=True)
    ranked = key.gather(1, by_value)
    order = by_value.gather(1, ranked.argsort(dim=1, stable=True))
    grouped = key.gather(1, order)
    first = torch.ones_like(grouped, dtype=torch.bool)
    first[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    return torch.zeros_like(first).scatter(1, order, first)


def _hashes_of_contexts(ids: Int[Tensor, "row pos"], before: int) -> Int[Tensor, "row pos"]:
    """A 64-bit hash of each token and the `before` tokens that lead to it (fewer at the start of a piece)."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (before + 1,), generator=generator).to(ids.device) * 2 + 1
    width, key = ids.shape[1], torch.zeros_like(ids)
    for back, factor in enumerate(factors[:width]):
        key[:, back:] += (ids[:, : width - back] + 1) * factor
    return key
