"""Everything about one feature: what fires it, writes it and reads it, what it promotes, and what its ablation does.

Costs four passes over the corpus (contexts, which are cached; firings; writers; and one of its first pieces with and
without the feature), and a few runs of some prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from attribution.runs.memory import pieces_at_once
from attribution.runs.progress import Progress, Stages, silent, unnoticed
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.generation import decoded_text, generate
from circuits.ablation.side_effect import effect_on_text
from circuits.features.ablated_feature import ablated
from circuits.features.firing import Ids, read_firings
from circuits.features.readers import readers_of
from circuits.features.spans import named_spans
from circuits.features.trigger_test import trigger_test
from circuits.features.writing import writers_of
from circuits.labels.corpus import Corpus
from circuits.labels.feature_labels import label
from graphs.features.feature_report import Continuation, FeatureReport, TextEffect

STAGES: Final = ("contexts", "firings", "writers", "readers", "causal test", "effect on text")


@dataclass(frozen=True)
class ReportOptions:
    """How much a report shows.

    Attributes:
        prompts: prompts with, and without, the feature in the causal test at most.
        pieces: pieces of the corpus on which the effect on text is measured.
        tokens: tokens in each list.
        parts: parts of the model that write it.
        readers: later features that read it.
        continuations: prompts that are continued.
        new_tokens: the length of a continuation, at most.

    Raises:
        ValueError: a number below 1.
    """

    prompts: int = 16
    pieces: int = 32
    tokens: int = 8
    parts: int = 8
    readers: int = 10
    continuations: int = 3
    new_tokens: int = 12

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")


DEFAULT_OPTIONS: Final = ReportOptions()


def feature_report(
    spliced: SplicedModel,
    site: str,
    index: int,
    corpus: Corpus,
    *,
    options: ReportOptions = DEFAULT_OPTIONS,
    cache: str | Path | None = None,
    memory: int | None = None,
    progress: Progress = silent,
    enters: Callable[[str, float | None], None] = unnoticed,
) -> FeatureReport:
    """Measure what one feature does.

    Args:
        corpus: the text: `embedded_corpus(model)`, or `corpus_from_file`.
        cache: a folder that keeps labels (`label`).
        memory: bytes that a forward pass may hold; by default half of the free memory.
        progress, enters: are told the share of the work that is done, and the name of a stage as it begins.

    Raises:
        LookupError: the site has no SAE.
        ValueError: the SAE does not have the feature, or the corpus is empty.

    Examples:
        >>> report = feature_report(spliced, "blocks.3.hook_attn_out", 490, embedded_corpus(model, documents=20))
        >>> report.test.holds, report.test.largest
        (True, 0.0)
    """
    site = spliced.site(site)
    stages = Stages(progress, enters, STAGES)
    batch_size = pieces_at_once(spliced, corpus.piece_length, memory)
    place = (site, index)
    (labelled,) = labels = label(
        spliced, [place], corpus, cache=cache, batch_size=batch_size, progress=stages.stage(STAGES[0])
    )
    firings = read_firings(
        spliced,
        site,
        index,
        corpus,
        named_spans(),
        prompts=options.prompts,
        tokens=options.tokens,
        batch_size=batch_size,
        progress=stages.stage(STAGES[1]),
    )
    written = writers_of(
        spliced,
        site,
        index,
        corpus,
        count=options.parts,
        tokens=options.tokens,
        batch_size=batch_size,
        progress=stages.stage(STAGES[2]),
    )
    prompts, few = firings.prompts, max(1, batch_size // 4)
    given = spliced, site, index
    readers = readers_of(
        *given, prompts.pieces, count=options.readers, batch_size=few, progress=stages.stage(STAGES[3])
    )
    test = trigger_test(*given, prompts, tokens=options.tokens, batch_size=few, progress=stages.stage(STAGES[4]))
    text = _text_effect(*given, corpus, options.pieces, few, stages.stage(STAGES[5]))
    return FeatureReport(
        model=spliced.model.name,
        label=labelled,
        corpus=corpus.name,
        tokens=labels.tokens,
        fires_on=firings.fires_on,
        inside=firings.inside,
        written=written,
        readers=readers,
        text=text,
        continuations=_continuations(*given, prompts.firing, options),
        test=test,
    )


def _text_effect(
    spliced: SplicedModel, site: str, index: int, corpus: Corpus, pieces: int, batch_size: int, progress: Progress
) -> TextEffect:
    """On the first pieces of at least two tokens."""
    texts = (piece for piece in corpus.pieces() if len(piece) > 1)
    documents = [piece for _, piece in zip(range(pieces), texts, strict=False)]
    found = effect_on_text(
        spliced, [ablated(spliced, site, index)], documents, batch_size=batch_size, progress=progress
    )
    return TextEffect(
        found.cross_entropy_before,
        found.cross_entropy_after,
        found.kl,
        found.tokens,
        found.documents,
        found.values_changed,
    )


def _continuations(
    spliced: SplicedModel, site: str, index: int, prompts: tuple[Ids, ...], options: ReportOptions
) -> tuple[Continuation, ...]:
    """The likeliest continuations of the first prompts that leave room for them in the model's context."""
    model = spliced.model
    room = [
        (ids, options.new_tokens if model.n_context is None else min(options.new_tokens, model.n_context - len(ids)))
        for ids in prompts
    ]
    found: list[Continuation] = []
    for ids, count in [own for own in room if own[1] > 0][: options.continuations]:
        texts: list[str] = []
        for edits in ((), [ablated(spliced, site, index)]):
            rows = torch.tensor([ids], device=model.device)
            made = generate(spliced, rows, edits, new_tokens=count, closing_id=model.eos_id)
            texts.append(decoded_text(made.ids[0, len(ids) :].tolist(), model))
        found.append(Continuation(decoded_text(ids, model), *texts))
    return tuple(found)
