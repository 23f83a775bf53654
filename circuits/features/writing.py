"""What writes one feature over a whole corpus: by head and source token, by MLP, and by the embedding.

    share(part) = (mean of the part where the feature fires − its mean over all places) / (the same of the projection)

What is the same at every place, as a bias is, drops out: the shares add up to 1. Exact (`written_sums.py`); one pass.
"""

from collections.abc import Iterator
from functools import reduce
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from attribution.edges.written_sums import WrittenSums, has_writers, written_sums
from attribution.models.language_model import LanguageModel
from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel
from circuits.features.reading import read_batches
from circuits.labels.corpus import Corpus
from graphs.features.feature_report import WritingPart


def writers_of(
    spliced: SplicedModel,
    site: str,
    index: int,
    corpus: Corpus,
    *,
    count: int,
    tokens: int,
    batch_size: int,
    progress: Progress,
) -> tuple[WritingPart, ...] | None:
    """The `count` parts with the largest |share|, each with `tokens` tokens.

    None where they cannot be told apart (the output of an MLP), or where the feature never fires, or always.
    """
    if not has_writers(site):
        return None
    batches = read_batches(spliced, corpus, batch_size, progress)
    sums = reduce(WrittenSums.plus, (written_sums(spliced, site, index, b.ids, b.here) for b in batches))
    firing, everywhere = sums.places.tolist()
    if firing in (0, everywhere):
        return None
    parts = sorted(_parts(sums, spliced.model, tokens), key=lambda part: -abs(part.share))
    return tuple(part for part in parts[:count] if part.share)


def _parts(sums: WrittenSums, model: LanguageModel, tokens: int) -> Iterator[WritingPart]:
    firing, everywhere = sums.places.tolist()
    rise = float(sums.projection[0] / firing - sums.projection[1] / everywhere)

    def part_of(
        kind: Literal["head", "mlp", "embedding", "biases"],
        layer: int | None,
        head: int | None,
        both: Float[Tensor, "2"],
        by_token: Float[Tensor, "2 vocab"] | None = None,
    ) -> WritingPart:
        part, usual = float(both[0]) / firing, float(both[1]) / everywhere
        listed: tuple[tuple[str, float], ...] = ()
        if by_token is not None:
            shares = (by_token[0] / firing - by_token[1] / everywhere) / rise
            order = shares.abs().argsort(descending=True, stable=True)[:tokens].tolist()
            listed = tuple((model.token_text(t), float(shares[t])) for t in order if shares[t])
        return WritingPart(kind, layer, head, part, usual, (part - usual) / rise, listed)

    for layer, own in sums.heads.items():
        for head in range(own.shape[1]):
            yield part_of("head", layer, head, own[:, head].sum(-1), own[:, head])
    for layer, both in sums.mlps.items():
        yield part_of("mlp", layer, None, both)
    yield part_of("embedding", None, None, sums.embedding.sum(-1), sums.embedding)
    yield part_of("biases", None, None, sums.biases)
