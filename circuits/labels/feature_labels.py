"""Labels of features: their top contexts in a corpus, the tokens they promote and suppress, how often they are active.

    automatic text   fires on: <the active tokens of the top contexts, most frequent first, at most 4>
                     | written from: <the source token with the largest positive part in each of these contexts, most
                       frequent first, at most 4> (by head <h>, if the head is the same in all), for attention outputs
                     | promotes: <the top 3 tokens of the decoder direction, if it is added to the residual stream>

Costs one streaming pass over the corpus for all sites (`top_contexts.py`) and one evaluation of the unembedding for
each feature (`promoted_tokens.py`). For attention outputs, direct feature attribution finds the heads and source tokens
that wrote the feature. A label that a person gave replaces the automatic text; the evidence stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from attribution.runs.memory import pieces_at_once
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus
from circuits.labels.label_cache import LabelCache
from circuits.labels.label_evidence import (
    DEFAULT_OPTIONS,
    LabelOptions,
    TokenPieces,
    contexts_of,
    promoted_and_suppressed,
    texts_of,
)
from circuits.labels.own_labels import refuse_outside
from circuits.labels.top_contexts import top_contexts
from circuits.terminal.printable import printable_token
from graphs import CircuitGraph, Context, FeatureLabel, FeatureNode, Labels

MARKED_IN_TEXT: Final = 4
PROMOTED_IN_TEXT: Final = 3


def label(
    spliced: SplicedModel,
    features: CircuitGraph | Sequence[tuple[str, int]] | None,
    corpus: Corpus,
    *,
    options: LabelOptions = DEFAULT_OPTIONS,
    mine: Mapping[tuple[str, int], str] | None = None,
    cache: str | Path | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Labels:
    """Label features by the text they are most active on.

    Args:
        features: a circuit (its features are labelled, the strongest first), a list of (site, index), or None for all
            features of all SAEs.
        corpus: the text to read: `embedded_corpus(model)`, or `corpus_from_file`.
        options: how many contexts, tokens and writers each label shows.
        mine: a person's labels by (site, index), as `own_labels` reads them. Labels of other features are ignored.
        cache: a folder that keeps labels. Those of the same model, SAE, text and options are read from it.
        batch_size: pieces of text in one forward pass; by default as many as fit into `memory`, 32 at the most.
        memory: bytes that a forward pass may hold; by default half of the free memory.
        progress: is called with the share of the work that is done, from 0 to 1.

    Returns:
        One label for each feature, in the order given.

    Raises:
        LookupError: a site has no SAE.
        ValueError: an SAE does not have the feature, there are no features, or the corpus is empty.

    >>> labels = label(spliced, [("blocks.2.hook_resid_post", 368)], embedded_corpus(model, documents=20))
    >>> labels.of("blocks.2.hook_resid_post", 368).source
    'contexts'
    >>> strongest = next(w.node for w in found.circuit.strongest() if w.node.kind == "feature")
    >>> first = next(iter(label(spliced, found.circuit, embedded_corpus(model, documents=20))))
    >>> (first.site, first.index) == (strongest.site, strongest.index)
    True
    """
    if batch_size is None:
        batch_size = pieces_at_once(spliced, corpus.piece_length, memory)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    wanted = _places_of(spliced, features)
    mine = {(spliced.site(site), index): text for (site, index), text in (mine or {}).items()}
    for site, index in mine:
        refuse_outside(spliced, site, index, "Your labels")
    keys = _cache_keys(spliced, wanted, corpus, options)
    store = LabelCache(None if cache is None else Path(cache))
    made = {site: found for site, key in keys.items() if (found := store.read(key)) is not None}
    missing = {site: key["features"] for site, key in keys.items() if site not in made}
    for site, labels in _automatic_labels(spliced, missing, corpus, options, batch_size, progress):
        made[site] = labels
        store.write(keys[site], labels)
    by_place = {(label.site, label.index): label for labels in made.values() for label in labels}
    return Labels(
        tuple(_with_own_text(by_place[place], mine.get(place)) for place in wanted),
        corpus=corpus.name,
        tokens=next(iter(made.values())).tokens,
        inputs=_inputs(keys),
    )


def automatic_text(contexts: Sequence[Context], promoted: Sequence[tuple[str, float]] | None) -> str:
    """The automatic text, by the rule at the top of this file. Without contexts: the feature never fires."""
    if not contexts:
        parts = ["never fires on this corpus"]
    else:
        parts = [f"fires on: {_most_common(context.tokens[context.place] for context in contexts)}"]
    writers = [max(context.writers, key=lambda writer: writer.part) for context in contexts if context.writers]
    if writers := [writer for writer in writers if writer.part > 0]:
        heads = {writer.head for writer in writers}
        by_head = f" (by head {heads.pop()})" if len(heads) == 1 else ""
        parts.append(f"written from: {_most_common(writer.token for writer in writers)}{by_head}")
    if promoted:
        parts.append(f"promotes: {', '.join(printable_token(token) for token, _ in promoted[:PROMOTED_IN_TEXT])}")
    return " | ".join(parts)


def _most_common(tokens: Iterable[str]) -> str:
    return ", ".join(word for word, _ in Counter(map(printable_token, tokens)).most_common(MARKED_IN_TEXT))


def _places_of(
    spliced: SplicedModel, features: CircuitGraph | Sequence[tuple[str, int]] | None
) -> list[tuple[str, int]]:
    if features is None:
        return [(site, index) for site in spliced.sites for index in range(spliced.saes[site].d_sae)]
    if isinstance(features, CircuitGraph):
        nodes = [weighted.node for weighted in features.strongest()]
        features = [(node.site, node.index) for node in nodes if isinstance(node, FeatureNode)]
    wanted = [(spliced.site(site), index) for site, index in features]
    if not wanted:
        raise ValueError(
            "No features to label: give a circuit with features, a list of (site, index), or None for all."
        )
    for site, index in wanted:
        refuse_outside(spliced, site, index, f"{site}/{index}")
    return list(dict.fromkeys(wanted))


def _cache_keys(
    spliced: SplicedModel, wanted: Sequence[tuple[str, int]], corpus: Corpus, options: LabelOptions
) -> dict[str, dict[str, Any]]:
    """By site, everything that its automatic labels depend on, the chosen features included."""
    hashes = spliced.hashes()
    shared = {"model": hashes["model"], "corpus": corpus.digest_and_count[0], "splice_bos": spliced.splice_bos}
    return {
        site: {**shared, **asdict(options), "site": site, "sae": hashes["saes"][site], "features": chosen}
        for site in spliced.sites
        if (chosen := sorted(index for s, index in wanted if s == site))
    }


def _inputs(keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    shared = {k: v for k, v in next(iter(keys.values())).items() if k not in ("site", "sae", "features")}
    return {**shared, "saes": {site: key["sae"] for site, key in keys.items()}}


def _with_own_text(label: FeatureLabel, text: str | None) -> FeatureLabel:
    return label if text is None else replace(label, text=text, source="yours")


def _automatic_labels(
    spliced: SplicedModel,
    features: Mapping[str, Sequence[int]],
    corpus: Corpus,
    options: LabelOptions,
    batch_size: int,
    progress: Callable[[float], None] | None,
) -> Iterator[tuple[str, Labels]]:
    """The automatic labels of the given features, site by site. Without features the corpus is not read."""
    if not features:
        return
    seen, tokens = top_contexts(
        spliced,
        features,
        corpus,
        count=options.contexts,
        before=options.before,
        batch_size=batch_size,
        progress=progress,
    )
    texts, pieces = texts_of(corpus, seen), TokenPieces(spliced.model)
    for site, chosen in features.items():
        contexts = contexts_of(spliced, site, chosen, seen[site], texts, pieces, options, batch_size)
        weights = promoted_and_suppressed(spliced, site, chosen, options.tokens)
        often, total = seen[site].active.tolist(), seen[site].total.tolist()
        labels = tuple(
            FeatureLabel(
                site=site,
                index=index,
                text=automatic_text(contexts[n], promoted),
                source="contexts",
                contexts=contexts[n],
                promoted=promoted,
                suppressed=suppressed,
                frequency=often[n] / tokens,
                mean_activation=total[n] / often[n] if often[n] else None,
            )
            for n, (index, (promoted, suppressed)) in enumerate(zip(chosen, weights, strict=True))
        )
        yield site, Labels(labels, corpus.name, tokens)
