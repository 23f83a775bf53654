"""What labels cost, before their features are known: operations, FLOPs and the seconds in which text is read and shown.

    the corpus is read three times (counted, run, searched for the contexts shown), and run once through the bare model
    with an encoder at every site; every context is shown, and run once more if an attention output was active there

The first documents are read and shown to learn how long that takes here. Labels that a cache holds cost less.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from attribution.cones.sweep_cost import encoders_work, forward_work
from attribution.edges.direct_feature_attribution import ATTENTION_SITES
from attribution.runs.memory import pieces_at_once
from attribution.runs.pace import Work
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus
from circuits.labels.label_evidence import DEFAULT_OPTIONS, TokenPieces

LOOKED_AT: Final = 32
"""Documents that are read to learn how long all take."""
READINGS: Final = 3


def label_work(spliced: SplicedModel, corpus: Corpus, features: int, memory: int | None = None) -> Work:
    """The work of labelling so many features; none if the corpus is empty."""
    start = time.perf_counter()
    documents = list(islice(corpus.read(), LOOKED_AT))
    pieces = list(replace(corpus, read=lambda: iter(documents)).pieces())
    reading = time.perf_counter() - start
    if not pieces:
        return Work()
    share = 1.0 if len(documents) < LOOKED_AT or corpus.share is None else min(1.0, corpus.share(documents))
    contexts = features * DEFAULT_OPTIONS.contexts
    attention = sum(site.endswith(ATTENTION_SITES) for site in spliced.sites) / len(spliced.sites)
    length, at_once = sum(map(len, pieces)) / len(pieces), pieces_at_once(spliced, corpus.piece_length, memory)
    run = _forwards(spliced, len(pieces) / share, length, at_once)
    again = _forwards(spliced, attention * contexts, length / 2, at_once)
    beside = READINGS * reading / share + contexts * _seconds_of_showing(corpus, pieces)
    return run + again + Work(seconds=beside)


def _forwards(spliced: SplicedModel, pieces: float, length: float, at_once: int) -> Work:
    """Of so many pieces through the bare model, with the encoder of every site."""
    positions = round(pieces * length)
    whole = forward_work(spliced, round(pieces), positions) + encoders_work(spliced, positions // 2)
    return replace(whole, operations=pieces / at_once * whole.operations)


def _seconds_of_showing(corpus: Corpus, pieces: Sequence[tuple[int, ...]]) -> float:
    """How long it takes to show the tokens of a piece."""
    shown, some = TokenPieces(corpus.model), pieces[: DEFAULT_OPTIONS.contexts]
    start = time.perf_counter()
    for piece in some:
        shown.around(piece, len(piece) - 1)
    return (time.perf_counter() - start) / len(some)
