"""Labels cost about what is foretold before their features are known."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.runs.pace import Work
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import load_model, load_saes
from circuits.labels import label_cost
from circuits.labels.corpus import Corpus, corpus_from_file, embedded_corpus
from circuits.labels.feature_labels import label
from circuits.labels.label_cost import LOOKED_AT, label_work
from tests.worlds.counted_flops import Counted

FACTOR = 2.0


@cache
def world() -> SplicedModel:
    return SplicedModel(load_model("embedded"), load_saes("jumprelu"))


def test_labels_cost_about_what_a_counter_sees() -> None:
    spliced = world()
    features = [(site, index) for site in spliced.sites for index in range(8)]
    corpus = embedded_corpus(spliced.model, documents=3 * LOOKED_AT)
    foretold = label_work(spliced, corpus, len(features))
    with Counted() as counter:
        label(spliced, features, corpus)
    assert counter.flops / FACTOR < foretold.flops < counter.flops * FACTOR
    assert counter.operations / FACTOR < foretold.operations < counter.operations * FACTOR


def test_of_a_long_text_the_first_documents_are_read() -> None:
    spliced, read = world(), list[int]()
    whole = embedded_corpus(spliced.model, documents=100 * LOOKED_AT)

    def watched() -> Iterator[str]:
        for number, document in enumerate(whole.read()):
            read.append(number)
            yield document

    long = Corpus("long", watched, spliced.model, share=whole.share)
    short = embedded_corpus(spliced.model, documents=LOOKED_AT)
    more, less = (label_work(spliced, corpus, 0) for corpus in (long, short))
    assert max(read) < LOOKED_AT
    assert more.operations == pytest.approx(100 * less.operations)
    assert more.flops == pytest.approx(100 * less.flops, rel=1e-3)


def test_the_text_of_a_file_is_measured_by_its_bytes(tmp_path: Path) -> None:
    spliced = world()
    documents = list(embedded_corpus(spliced.model, documents=4 * LOOKED_AT).read())
    (tmp_path / "text.txt").write_text("\n".join(documents), encoding="utf-8")
    whole = label_work(spliced, corpus_from_file(tmp_path / "text.txt", spliced.model), 0)
    one = label_work(spliced, embedded_corpus(spliced.model, documents=4 * LOOKED_AT), 0)
    assert whole.operations == pytest.approx(one.operations, rel=0.1)
    assert whole.flops == pytest.approx(one.flops, rel=0.1)


def test_reading_and_showing_take_their_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    spliced = world()
    moments = iter((0.0, 2.0, 2.0, 2.8))  # 2 s of reading, and 0.1 s for each of 8 pieces shown
    monkeypatch.setattr(label_cost, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    corpus = embedded_corpus(spliced.model, documents=10 * LOOKED_AT)
    assert label_work(spliced, corpus, 5).seconds == pytest.approx(3 * 10 * 2.0 + 5 * 8 * 0.1)


def test_an_empty_text_costs_nothing() -> None:
    spliced = world()
    assert label_work(spliced, Corpus("empty", lambda: iter(()), spliced.model), 5) == Work()
