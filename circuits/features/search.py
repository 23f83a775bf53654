"""Find features by what they do: the token they promote, the token they are written from, the contexts they fire in.

    promotes       logit of the decoder direction alone for the token, minus the mean over tokens (`promoted_tokens.py`)
    written from   share of what raises the projection where the feature fires that one head writes from the token
                   (`writing.py`); that of the head with the largest share; attention outputs only
    fires          harmonic mean of precision and recall of firing inside the matches of a pattern

All features of all sites, in one pass over the corpus; in none if only the promoted token is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.edges.direct_feature_attribution import (
    ATTENTION_SITES,
    attention_hooks,
    direct_feature_attribution,
)
from attribution.edges.token_parts import TokenParts, token_parts
from attribution.models.hooks import activations_at
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of
from attribution.runs.memory import pieces_at_once
from attribution.runs.progress import Progress, silent
from attribution.splice.spliced_model import SplicedModel
from circuits.features.firing import firing_inside, inside_of
from circuits.features.reading import ReadBatch, read_batches
from circuits.features.spans import Spans, spans_of
from circuits.labels.corpus import Corpus
from circuits.labels.promoted_tokens import is_added_to_stream, logit_weights
from circuits.labels.top_contexts import in_batches
from graphs.features.feature_search import FeatureSearch, FoundFeature

LEAST: Final = 10
"""Places where a feature must fire at least, for its numbers to mean something."""
_FEATURES_AT_ONCE: Final = 256


def find_features(
    spliced: SplicedModel,
    corpus: Corpus | None = None,
    *,
    promotes: str | None = None,
    written_from: str | None = None,
    fires: str | None = None,
    count: int = 20,
    least: int = LEAST,
    memory: int | None = None,
    progress: Progress = silent,
) -> FeatureSearch:
    """The `count` features that do best what is asked for.

    Args:
        corpus: the text to read; needed unless only `promotes` is given.
        promotes, written_from: a token, as the model's vocabulary has it; its space may be left out.
        fires: a named context (`quotes`, `brackets`, `question`, `exclamation`, `number`) or a regular expression; of
            one with groups, the groups are meant.
        least: features that fire at fewer places are left out; they are kept where no text is read.
        memory: bytes that a forward pass may hold; by default half of the free memory.

    Raises:
        ValueError: nothing is asked for, a token that the vocabulary lacks, a pattern that is no regular expression or
            has no match in the corpus, no corpus, or sites at which none of this is defined.

    Examples:
        >>> texts = embedded_corpus(model, documents=20)
        >>> best = find_features(spliced, texts, fires="brackets", count=3).features[0]
        >>> best.f1 > 0.3 and best.fires >= 10
        True
        >>> find_features(spliced, promotes="they", count=1).features[0].promoted > 10
        True
    """
    asked = _Asked.of(spliced.model, promotes, written_from, fires)
    sites = asked.sites(spliced)
    if asked.reads_text and corpus is None:
        raise ValueError("Where features fire, and what writes them there, is read off text: give a corpus.")
    read = _read(spliced, sites, asked, corpus, memory, progress) if corpus and asked.reads_text else None
    found = [one for site in sites for one in _features_of(spliced, site, asked, read, least)]
    place = _worst_places(found, asked)
    order = np.argsort(place, kind="stable")[:count]
    return FeatureSearch(
        model=spliced.model.name,
        promotes=promotes,
        written_from=written_from,
        fires=fires,
        corpus=None if read is None or corpus is None else corpus.name,
        tokens=0 if read is None else read.tokens,
        base=None if read is None or fires is None else read.inside / read.tokens,
        searched=sum(spliced.saes[site].d_sae for site in sites),
        features=tuple(found[n] for n in order),
    )


def tokens_named(model: LanguageModel, text: str) -> Int[Tensor, " token"]:
    """The ids of a token by its text; where none has it, of those that have it without the spaces around it.

    Raises:
        ValueError: the vocabulary has no such token; the message names some like it.
    """
    shown = [model.token_text(token) for token in range(model.d_vocab)]
    for names, wanted in ((shown, text), ([name.strip() for name in shown], text.strip())):
        if wanted and wanted in names:
            return torch.tensor([n for n, name in enumerate(names) if name == wanted])
    like = ", ".join(map(repr, get_close_matches(text, shown, n=5, cutoff=0.5)))
    raise ValueError(f"The vocabulary has no token {text!r}.{f' It has {like}.' if like else ''} Give one token.")


@dataclass(frozen=True)
class _Asked:
    """What is asked for; None where it is not."""

    promotes: Int[Tensor, " token"] | None
    written_from: Int[Tensor, " token"] | None
    spans: Spans | None

    @classmethod
    def of(cls, model: LanguageModel, promotes: str | None, written_from: str | None, fires: str | None) -> "_Asked":
        if promotes is None and written_from is None and fires is None:
            raise ValueError("Say what the features do: give promotes, written_from or fires.")
        return cls(
            None if promotes is None else tokens_named(model, promotes),
            None if written_from is None else tokens_named(model, written_from),
            None if fires is None else spans_of(fires),
        )

    @property
    def reads_text(self) -> bool:
        return self.written_from is not None or self.spans is not None

    def sites(self, spliced: SplicedModel) -> tuple[str, ...]:
        """The spliced sites at which all that is asked for is defined."""
        found = tuple(
            site
            for site in spliced.sites
            if (self.promotes is None or is_added_to_stream(site))
            and (self.written_from is None or site.endswith(ATTENTION_SITES))
        )
        if not found:
            what = "added to the residual stream" if self.written_from is None else "of attention outputs"
            raise ValueError(f"No features here are {what}. Sites with SAEs: {', '.join(spliced.sites)}.")
        return found


@dataclass
class _Read:
    """Counts of a pass over the corpus, by site: [0] where each feature fires, [1] where it fires inside."""

    fires: dict[str, Int[Tensor, "2 d_sae"]]
    written: dict[str, TokenParts]
    tokens: int = 0
    inside: int = 0

    def add(self, spliced: SplicedModel, batch: ReadBatch, asked: _Asked) -> None:
        """Count a batch of texts."""
        mask = batch.here if asked.spans is None else inside_of(asked.spans, spliced.model, batch)
        self.tokens += int(batch.here.sum())
        self.inside += int(mask.sum())
        hooks = [n for s in self.fires if asked.written_from is not None for n in attention_hooks(layer_of(s))]
        seen = activations_at(spliced.model, batch.ids, dict.fromkeys([*hooks, *self.fires]))
        for site, counts in self.fires.items():
            active = spliced.saes[site].encode(seen[site]).features > 0
            counts += torch.stack([(active & here[..., None]).sum((0, 1)) for here in (batch.here, mask)]).cpu()
            if asked.written_from is not None:
                own = token_parts(spliced, site, seen, batch.ids, batch.here, asked.written_from.to(batch.ids.device))
                self.written[site] = self.written[site].plus(own) if site in self.written else own


def _read(
    spliced: SplicedModel,
    sites: Sequence[str],
    asked: _Asked,
    corpus: Corpus,
    memory: int | None,
    progress: Progress,
) -> _Read:
    read = _Read({s: torch.zeros(2, spliced.saes[s].d_sae, dtype=torch.long) for s in sites}, {})
    for batch in read_batches(spliced, corpus, pieces_at_once(spliced, corpus.piece_length, memory), progress):
        if asked.written_from is not None and not read.tokens:
            for site in sites:  # refuses a model whose attention cannot be split by source
                direct_feature_attribution(spliced, site, 0, batch.ids[:1], last=batch.last[:1])
        read.add(spliced, batch, asked)
    if asked.spans is not None and read.inside == 0:
        raise ValueError(f"{asked.spans.name!r} matches nothing in {corpus.name}: give other text, or another pattern.")
    return read


def _features_of(spliced: SplicedModel, site: str, asked: _Asked, read: _Read | None, least: int) -> list[FoundFeature]:
    """The features of a site, with the numbers that are asked for; without those that fire too seldom or always."""
    found = [FoundFeature(site, index) for index in range(spliced.saes[site].d_sae)]
    if asked.promotes is not None:
        promoted = _promoted(spliced, site, asked.promotes).tolist()
        found = [replace(one, promoted=value) for one, value in zip(found, promoted, strict=True)]
    if read is None:
        return found
    fires, both = read.fires[site].tolist()
    found = [replace(one, fires=count) for one, count in zip(found, fires, strict=True)]
    if asked.spans is not None:
        counted = [firing_inside("", b, f, read.inside, read.tokens) for b, f in zip(both, fires, strict=True)]
        found = [replace(o, precision=c.precision, recall=c.recall) for o, c in zip(found, counted, strict=True)]
    if asked.written_from is not None:
        share, head = read.written[site].shares().max(0)
        both_of = zip(found, share.tolist(), head.tolist(), strict=True)
        found = [replace(one, share=value, head=by) for one, value, by in both_of]
    return [one for one, count in zip(found, fires, strict=True) if least <= count < read.tokens]


def _promoted(spliced: SplicedModel, site: str, tokens: Int[Tensor, " token"]) -> Float[Tensor, " d_sae"]:
    sae = spliced.saes[site]
    return torch.cat(
        [
            logit_weights(spliced.model, sae, site, features)[:, tokens.to(spliced.model.device)].amax(1).cpu()
            for features in in_batches(iter(range(sae.d_sae)), _FEATURES_AT_ONCE)
        ]
    )


def _worst_places(found: Sequence[FoundFeature], asked: _Asked) -> Int[np.ndarray, " feature"]:
    """For each feature the worst of its places, counted from 0, by each number that was asked for."""
    numbers = {
        "promoted": asked.promotes is not None,
        "share": asked.written_from is not None,
        "f1": asked.spans is not None,
    }
    places = np.zeros(len(found), np.int64)
    for name in (name for name, wanted in numbers.items() if wanted):
        order = np.argsort([-getattr(one, name) for one in found], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        places = np.maximum(places, place)
    return places
