"""The evidence behind a label: contexts in which the feature is active, what wrote it there, and what it promotes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch

from attribution.edges.direct_feature_attribution import ATTENTION_SITES, direct_feature_attribution
from attribution.models.language_model import LanguageModel
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus
from circuits.labels.promoted_tokens import is_added_to_stream, logit_weights
from circuits.labels.top_contexts import ActivePlaces, in_batches, padded_batch
from graphs import Context, Writer

_FEATURES_AT_ONCE: Final = 256

TokenWeights = tuple[tuple[str, float], ...]


class TokenPieces:
    """Tokens as they read in running text: joined, they give it. Pieces of the corpus are cached."""

    def __init__(self, model: LanguageModel) -> None:
        self._in_text = lru_cache(maxsize=4096)(model.shown_in_text)
        self._one_by_one = lru_cache(maxsize=4096)(model.shown_tokens)

    def around(self, ids: tuple[int, ...], place: int) -> tuple[str, ...]:
        """The text of each token of a whole piece; the one at `place` as it reads by itself."""
        texts = self._in_text(ids)
        return (*texts[:place], self.at(ids, place), *texts[place + 1 :])

    def at(self, ids: tuple[int, ...], place: int) -> str:
        """One token of a whole piece, as it reads by itself."""
        return self._one_by_one(ids)[place]


@dataclass(frozen=True)
class LabelOptions:
    """How much a label shows of a feature.

    Attributes:
        contexts: number of distinct top contexts.
        before, after: tokens shown before and after the active one. Contexts in which it and the `before` tokens are
            the same count as one.
        tokens: number of promoted and of suppressed tokens.
        writers: for attention outputs, the number of strongest (head, source) pairs in each context.

    Raises:
        ValueError: fewer than 1 context, or a negative number.
    """

    contexts: int = 8
    before: int = 12
    after: int = 4
    tokens: int = 8
    writers: int = 3

    def __post_init__(self) -> None:
        for name, least in (("contexts", 1), ("before", 0), ("after", 0), ("tokens", 0), ("writers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}.")


DEFAULT_OPTIONS: Final = LabelOptions()


@dataclass(frozen=True)
class _Place:
    """A position in a piece of the corpus where a feature is active. `number` is the feature's among the chosen."""

    number: int
    ids: tuple[int, ...]
    position: int
    activation: float


def texts_of(corpus: Corpus, seen: Mapping[str, ActivePlaces]) -> dict[int, tuple[int, ...]]:
    """The pieces that contain top contexts, by their number in the corpus, which is read once more."""
    needed = {p for found in seen.values() for p in found.piece[found.activation > 0].unique().tolist()}
    return {number: piece for number, piece in enumerate(corpus.pieces()) if number in needed}


def contexts_of(
    spliced: SplicedModel,
    site: str,
    chosen: Sequence[int],
    seen: ActivePlaces,
    texts: Mapping[int, tuple[int, ...]],
    pieces: TokenPieces,
    options: LabelOptions,
    batch_size: int,
) -> list[tuple[Context, ...]]:
    """The top contexts of each chosen feature of a site. At attention outputs they say what wrote the feature there.

    What wrote a feature that was searched for (`Pursuit`) is not known.
    """
    places = [
        _Place(n, texts[int(seen.piece[n, k])], int(seen.position[n, k]), float(seen.activation[n, k]))
        for n, k in torch.nonzero(seen.activation > 0).tolist()
    ]
    writers_of_places: Iterator[tuple[Writer, ...]] | None = None
    has_writers = site.endswith(ATTENTION_SITES) and spliced.saes[site].has_gradient
    if options.writers > 0 and has_writers:
        writers_of_places = _writers_at(spliced, site, chosen, places, pieces, options.writers, batch_size)
    found: list[list[Context]] = [[] for _ in chosen]
    for place in places:
        start = max(0, place.position - options.before)
        shown = pieces.around(place.ids, place.position)[start : place.position + options.after + 1]
        writers = () if writers_of_places is None else next(writers_of_places)
        found[place.number].append(Context(shown, place.position - start, place.activation, writers))
    return [tuple(contexts) for contexts in found]


def _writers_at(
    spliced: SplicedModel,
    site: str,
    chosen: Sequence[int],
    places: Sequence[_Place],
    pieces: TokenPieces,
    count: int,
    batch_size: int,
) -> Iterator[tuple[Writer, ...]]:
    """The heads and source tokens that wrote most of the feature at each place."""
    lengths = spliced.model.lengths
    for rows in in_batches(iter(places), batch_size, lambda place: lengths.alike(place.position + 1)):
        ids, last = padded_batch([p.ids[: p.position + 1] for p in rows], spliced.model.device)
        found = direct_feature_attribution(spliced, site, [chosen[p.number] for p in rows], ids, last=last)
        for row, place in enumerate(rows):
            yield tuple(
                Writer(head, place.position - source, pieces.at(place.ids, source), part)
                for head, source, part in found.strongest(row, count)
            )


def promoted_and_suppressed(
    spliced: SplicedModel, site: str, chosen: Sequence[int], count: int
) -> Iterator[tuple[TokenWeights | None, TokenWeights | None]]:
    """The most promoted and the most suppressed tokens of each feature; None at a site that promotes none directly."""
    if not is_added_to_stream(site):
        yield from [(None, None)] * len(chosen)
        return
    for features in in_batches(iter(chosen), _FEATURES_AT_ONCE):
        weights = logit_weights(spliced.model, spliced.saes[site], site, features)
        order = weights.argsort(dim=1, descending=True, stable=True)
        for row, ranked in zip(weights, order, strict=True):
            up, down = ranked[:count], ranked.flip(0)[:count]
            yield _token_weights(spliced, row, up), _token_weights(spliced, row, down)


def _token_weights(spliced: SplicedModel, weights: torch.Tensor, tokens: torch.Tensor) -> TokenWeights:
    return tuple((spliced.model.token_text(t), float(weights[t])) for t in tokens.tolist())
