"""Where one feature fires: on which tokens, inside which contexts, and prompts with and without it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.models.language_model import LanguageModel
from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel
from circuits.features.reading import ReadBatch, activation, read_batches
from circuits.features.spans import Spans
from circuits.labels.corpus import Corpus
from graphs.features.feature_report import FiringInside, FiringToken

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompts:
    """Beginnings of texts, as token ids.

    Attributes:
        firing: end where the feature is most active in their text.
        pieces: the whole texts of these.
        silent: the feature fires nowhere in them.
        alike: how many of `silent` end in the same token as one of `firing`, each as one of its own.
    """

    firing: tuple[Ids, ...]
    pieces: tuple[Ids, ...]
    silent: tuple[Ids, ...]
    alike: int


@dataclass(frozen=True)
class Firings:
    """What a pass over the corpus found of one feature."""

    fires_on: tuple[FiringToken, ...]
    inside: tuple[FiringInside, ...]
    prompts: Prompts


def read_firings(
    spliced: SplicedModel,
    site: str,
    index: int,
    corpus: Corpus,
    spans: Sequence[Spans],
    *,
    prompts: int,
    tokens: int,
    batch_size: int,
    progress: Progress,
) -> Firings:
    """Read the corpus once.

    Args:
        prompts: prompts of each kind at most; the first that differ are taken.
        tokens: tokens to list.
    """
    vocab = spliced.model.d_vocab
    fires, occurs = torch.zeros(vocab, dtype=torch.long), torch.zeros(vocab, dtype=torch.long)
    counts = torch.zeros(len(spans), 2, dtype=torch.long)
    found = _Found(prompts)
    for batch in read_batches(spliced, corpus, batch_size, progress):
        value = activation(spliced, batch, site, index)
        active = value > 0
        occurs += torch.bincount(batch.ids[batch.here], minlength=vocab).cpu()
        fires += torch.bincount(batch.ids[active], minlength=vocab).cpu()
        for number, one in enumerate(spans):
            mask = inside_of(one, spliced.model, batch)
            counts[number] += torch.stack([(mask & active).sum(), mask.sum()]).cpu()
        found.add(batch, value)
    return Firings(
        _listed(spliced.model, fires, occurs, tokens),
        tuple(
            firing_inside(one.name, int(both), int(fires.sum()), int(here), int(occurs.sum()))
            for one, (both, here) in zip(spans, counts.tolist(), strict=True)
        ),
        found.prompts(),
    )


def inside_of(spans: Spans, model: LanguageModel, batch: ReadBatch) -> Tensor:
    """True at the tokens inside that SAEs are spliced in at: [row, pos]."""
    mask = torch.zeros(batch.ids.shape, dtype=torch.bool)
    for row, ids in enumerate(batch.rows):
        mask[row, : len(ids)] = torch.tensor(spans.inside(model, ids))
    return mask.to(batch.here.device) & batch.here


def firing_inside(name: str, both: int, fires: int, inside: int, tokens: int) -> FiringInside:
    """From counts of places: inside where it fires, where it fires, inside, and all."""
    return FiringInside(
        name,
        precision=both / fires if fires else None,
        recall=both / inside if inside else None,
        base=inside / tokens if tokens else 0.0,
    )


def _listed(
    model: LanguageModel, fires: Int[Tensor, " vocab"], occurs: Int[Tensor, " vocab"], count: int
) -> tuple[FiringToken, ...]:
    order = fires.argsort(descending=True, stable=True)[:count].tolist()
    return tuple(FiringToken(model.token_text(t), int(fires[t]), int(occurs[t])) for t in order if fires[t])


@dataclass
class _Found:
    """Prompts found so far. `silent` has, by last token, those in which the feature fires nowhere."""

    count: int
    firing: dict[Ids, Ids] = field(default_factory=dict)
    silent: dict[int, dict[Ids, None]] = field(default_factory=dict)

    def add(self, batch: ReadBatch, value: Float[Tensor, "row pos"]) -> None:
        strongest, place = value.max(1)
        starts = torch.where(strongest > 0, (value > 0).int().argmax(1), batch.last + 1).tolist()
        for row, ids in enumerate(batch.rows):
            if strongest[row] > 0 and len(self.firing) < self.count:
                self.firing.setdefault(ids[: int(place[row]) + 1], ids)
            self._add_silent(ids, batch.here[row].tolist(), starts[row])

    def _add_silent(self, ids: Ids, here: list[bool], end: int) -> None:
        for place in range(end):
            own = self.silent.setdefault(ids[place], {})
            if here[place] and len(own) < self.count:
                own[ids[: place + 1]] = None

    def prompts(self) -> Prompts:
        """Of silent prompts, first one with the same last token for each in which it fires; then others."""
        left = {token: iter(own) for token, own in self.silent.items()}
        same = [next(left.get(ids[-1], iter(())), None) for ids in self.firing]
        alike = [ids for ids in same if ids is not None]
        others = [ids for own in left.values() for ids in own]
        wanted = max(len(self.firing), 1)
        return Prompts(tuple(self.firing), tuple(self.firing.values()), tuple([*alike, *others][:wanted]), len(alike))
