"""What a report says, where it is known: a planted feature, the variables of compiled programs, and agreement."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from attribution import JumpReLU, SplicedModel
from benchmarks.programs.compiled_model import Compiled, load_compiled
from benchmarks.programs.exact_saes import splice_exactly
from circuits import ablate_feature, embedded_corpus, feature_report, load_model, load_saes, splice
from circuits.features.feature_report import STAGES, ReportOptions
from circuits.features.firing import Prompts
from circuits.features.readers import readers_of
from circuits.features.trigger_test import trigger_test
from circuits.features.writing import writers_of
from circuits.labels.corpus import Corpus
from graphs import FeatureReport
from tests.worlds.planted_features import ATTENTION, ECHO, END, FLAG, MIDDLE, MLP, TEXTS, WORDS


def silent(_share: float) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def report(world: SplicedModel, corpus: Corpus) -> FeatureReport:
    return feature_report(world, ATTENTION, FLAG, corpus, options=ReportOptions(tokens=1, new_tokens=2))


def test_it_fires_where_it_was_planted(report: FeatureReport) -> None:
    words = [text.split() for text in TEXTS]
    after = [(own.index("which"), own) for own in words if "which" in own]
    fires = sum(len(own) - start for start, own in after) / sum(map(len, words))
    assert report.label.frequency == pytest.approx(fires)
    assert report.tokens == 4 * sum(map(len, words))
    assert report.label.mean_activation == pytest.approx(1, abs=1e-4)
    (first,) = report.fires_on
    assert (first.token, first.fires, first.occurs) == ("which", 12, 12)
    inside = {own.name: own for own in report.inside}
    question = inside["question"]
    assert (question.precision, question.recall, question.base) == (8 / 10, 8 / 9, 9 / 25)
    assert (inside["quotes"].recall, inside["brackets"].recall) == (None, 0)


def test_it_is_written_by_the_planted_head_from_the_planted_token(report: FeatureReport) -> None:
    assert report.written is not None
    (first, *rest) = report.written
    assert (first.kind, first.layer, first.head) == ("head", 0, 0)
    assert first.share == pytest.approx(1, abs=1e-9)
    assert first.tokens == (("which", pytest.approx(1, abs=1e-9)),)
    assert (first.part, first.usual) == (pytest.approx(1, abs=1e-4), pytest.approx(report.label.frequency, abs=1e-4))
    assert all(abs(part.share) < 1e-9 for part in rest)


def test_in_the_residual_stream_what_writes_it_is_told_apart_too(world: SplicedModel, corpus: Corpus) -> None:
    few = {"count": 3, "tokens": 1, "batch_size": 32, "progress": silent}
    written = writers_of(world, END, FLAG, corpus, **few)
    echo = writers_of(world, END, ECHO, corpus, **few)
    cat = writers_of(world, MIDDLE, WORDS.index("cat"), corpus, **few)
    assert written is not None
    assert echo is not None
    assert cat is not None
    assert (written[0].kind, written[0].layer, written[0].head) == ("head", 0, 0)
    assert (echo[0].kind, echo[0].layer, echo[0].share) == ("mlp", 1, pytest.approx(1))
    assert (cat[0].kind, cat[0].tokens[0]) == ("embedding", ("cat", pytest.approx(1)))
    assert writers_of(world, MLP, ECHO, corpus, **few) is None


def test_its_readers_lose_what_they_read(report: FeatureReport) -> None:
    readers = {reader.name: reader for reader in report.readers}
    assert readers.keys() == {f"{MIDDLE}/{FLAG}", f"{MLP}/{ECHO}", f"{END}/{FLAG}", f"{END}/{ECHO}"}
    assert readers[f"{MIDDLE}/{FLAG}"].direct == pytest.approx(1, abs=1e-4)
    assert readers[f"{MLP}/{ECHO}"].direct == 0, "the residual stream between them is held"
    assert readers[f"{MLP}/{ECHO}"].total == pytest.approx(1, abs=1e-3)
    assert readers[f"{MLP}/{ECHO}"].share == pytest.approx(1)
    assert all(reader.direct == 0 for name, reader in readers.items() if name.startswith(END))


def test_the_causal_test_has_the_planted_sizes(report: FeatureReport) -> None:
    test = report.test
    assert test is not None
    assert test.holds
    assert (test.prompts, test.fell, test.silent, test.largest) == (3, 3, 3, 0.0)
    lost, echo, vocabulary = 4.0, 1.0, len(WORDS)
    assert test.changed == (("?", pytest.approx(lost - (lost + echo) / vocabulary, abs=1e-2)),)
    assert test.promoted == pytest.approx(test.changed[0][1])


def test_its_ablation_changes_text_where_it_fires_only(report: FeatureReport) -> None:
    assert report.text.firings == round(report.label.frequency * report.tokens)
    assert report.text.kl > 0.1
    assert report.text.kl_per_firing == pytest.approx(report.text.kl * report.text.tokens / report.text.firings)
    assert [one.before for one in report.continuations] == ["? ?"] * 3
    assert all(one.after != one.before for one in report.continuations)


def test_a_feature_that_never_fires_says_so(world: SplicedModel, corpus: Corpus) -> None:
    found = feature_report(world, ATTENTION, WORDS.index("dog"), corpus)
    assert (found.test, found.written, found.readers, found.continuations) == (None, None, (), ())
    assert (found.text.kl, found.text.firings, found.text.kl_per_firing) == (0, 0, None)
    assert found.fires_on == ()
    assert "never fires" in repr(found)


def test_progress_passes_every_stage(world: SplicedModel, corpus: Corpus) -> None:
    shares: list[float] = []
    stages: list[str] = []
    few = ReportOptions(prompts=1, pieces=1, continuations=1, new_tokens=1)
    told = {"progress": shares.append, "enters": lambda stage, _: stages.append(stage)}
    feature_report(world, ATTENTION, FLAG, corpus, options=few, **told)
    assert tuple(stages) == STAGES
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_wrong_requests_are_errors(world: SplicedModel, corpus: Corpus) -> None:
    with pytest.raises(LookupError, match="No SAE is spliced in"):
        feature_report(world, "blocks.0.hook_mlp_out", 0, corpus)
    with pytest.raises(ValueError, match="has no feature 99"):
        feature_report(world, ATTENTION, 99, corpus)
    with pytest.raises(ValueError, match="prompts must be at least 1; got 0"):
        ReportOptions(prompts=0)
    with pytest.raises(ValueError, match="is empty"):
        feature_report(world, ATTENTION, FLAG, replace(corpus, read=lambda: iter(())))


def test_what_changes_is_what_an_intervention_changes(world: SplicedModel, corpus: Corpus) -> None:
    """The twin: interventions, prompt by prompt."""
    prompts = [(0, *(WORDS.index(word) for word in text.split())) for text in TEXTS if "which" in text]
    given = Prompts(tuple(prompts), tuple(prompts), (), 0)
    test = trigger_test(world, ATTENTION, FLAG, given, tokens=len(WORDS), batch_size=2, progress=silent)
    assert test is not None
    lost = torch.zeros(len(WORDS), dtype=torch.float64)
    for ids in prompts:
        rows = torch.tensor([ids])
        moved = world.run(rows).logits - world.run(rows, [ablate_feature(ATTENTION, FLAG)]).logits
        lost += (moved[0, -1] - moved[0, -1].mean()) / len(prompts)
    assert dict(test.changed) == {word: pytest.approx(float(own)) for word, own in zip(WORDS, lost, strict=True)}


@pytest.fixture(scope="module", params=["contains", "pair_balance"])
def compiled(request: pytest.FixtureRequest) -> Compiled:
    return load_compiled(request.param)


READ_BY = {"contains": ("share of x", {"contains"}), "pair_balance": ("opens", {"balance"})}


def test_the_readers_of_a_programs_variable_are_what_is_computed_from_it(compiled: Compiled) -> None:
    variable, expected = READ_BY[compiled.program.name]
    spliced = splice_exactly(compiled, JumpReLU)
    index = compiled.residual.index(variable)
    site = next(s for s in spliced.sites if fires(spliced, s, index, compiled))
    prompts = [tuple(ids) for ids in compiled.prompts.tolist()]
    readers = readers_of(spliced, site, index, prompts, count=50, batch_size=16, progress=silent)
    names = compiled.variable_of * 2
    assert {names[reader.index] for reader in readers if abs(reader.direct) > 1e-3} == expected


def fires(spliced: SplicedModel, site: str, index: int, compiled: Compiled) -> bool:
    ids = compiled.prompts
    last = torch.full((len(ids),), ids.shape[1] - 1)
    return bool((spliced.record(ids, last).sites[site].features.index == index).any())


def test_without_a_programs_token_its_variable_changes_nothing() -> None:
    compiled = load_compiled("contains")
    spliced = splice_exactly(compiled, JumpReLU)
    index = compiled.residual.index("share of x")
    site = next(s for s in spliced.sites if fires(spliced, s, index, compiled))
    every = [compiled.ids(tokens) for tokens in product("xyz", repeat=compiled.program.length)]
    has_x = [ids for ids in every if compiled.ids(("x",))[1] in ids[1:2]]
    without = [ids for ids in every if compiled.ids(("x",))[1] not in ids]
    given = Prompts(tuple(has_x[:20]), tuple(has_x[:20]), tuple(without), 0)
    test = trigger_test(spliced, site, index, given, tokens=2, batch_size=16, progress=silent)
    assert test is not None
    assert (test.silent, test.largest) == (2**5, 0.0)
    assert {name for name, _ in test.changed} == {
        spliced.model.token_text(compiled.output_id(value)) for value in (True, False)
    }


def test_a_feature_of_agreement_is_written_by_the_head_that_reads_the_subject() -> None:
    model = load_model()
    spliced = splice(model, load_saes())
    few = ReportOptions(prompts=4, pieces=4, continuations=1, new_tokens=2)
    found = feature_report(spliced, "blocks.3.hook_attn_out", 490, embedded_corpus(model, documents=6), options=few)
    assert found.written is not None
    assert (found.written[0].layer, found.written[0].head) == (3, 2)
    assert found.written[0].share > 0.9
    assert sum(part.share for part in found.written) == pytest.approx(1, abs=1e-3)
    assert "were" in [token for token, _ in found.label.promoted or ()]
    assert found.test is not None
    assert found.test.holds
