"""Features are found by what they do, with the numbers that a loop over places gives."""

from typing import Any

import pytest
import torch

from attribution import SplicedModel
from circuits import embedded_corpus, find_features, load_model, load_saes, splice
from circuits.features.spans import NAMED, spans_of
from circuits.labels.corpus import Corpus
from circuits.labels.promoted_tokens import logit_weights
from tests.worlds.planted_features import ATTENTION, ECHO, END, FLAG, MIDDLE, MLP, WORDS


def test_a_planted_feature_is_found_by_where_it_fires(world: SplicedModel, corpus: Corpus) -> None:
    found = find_features(world, corpus, fires="which.*", count=5)
    flags = {(site, FLAG) for site in (ATTENTION, MIDDLE, END)}
    assert {(one.site, one.index) for one in found.features} == flags | {(MLP, ECHO), (END, ECHO)}
    assert all((one.precision, one.recall, one.f1) == (1, 1, 1) for one in found.features)
    assert found.base == 10 / 25
    assert {one.fires for one in found.features} == {40}
    assert found.searched == 4 * world.saes[ATTENTION].d_sae


def test_a_planted_feature_is_found_by_what_writes_it(world: SplicedModel, corpus: Corpus) -> None:
    (first,) = find_features(world, corpus, written_from=" which", count=1).features
    assert (first.site, first.index, first.head) == (ATTENTION, FLAG, 0)
    assert first.share == pytest.approx(1, abs=1e-9)
    copied = find_features(world, corpus, written_from="cat", count=1).features[0]
    assert copied.head == 1


def test_a_planted_feature_is_found_by_what_it_promotes(world: SplicedModel) -> None:
    found = find_features(world, promotes="?", count=3)
    assert {one.index for one in found.features} == {FLAG}
    weights = logit_weights(world.model, world.saes[ATTENTION], ATTENTION, [FLAG])[0]
    assert found.features[0].promoted == pytest.approx(float(weights[WORDS.index("?")]))
    assert (found.corpus, found.tokens, found.features[0].fires) == (None, 0, None)


def test_several_criteria_are_met_at_once(world: SplicedModel, corpus: Corpus) -> None:
    found = find_features(world, corpus, promotes="?", written_from="which", fires="which.*")
    first = found.features[0]
    assert (first.site, first.index) == (ATTENTION, FLAG)
    assert None not in (first.promoted, first.share, first.head, first.precision, first.recall, first.fires)
    assert all(one.site == ATTENTION for one in found.features)


def test_shares_and_counts_of_the_embedded_model_equal_a_loop() -> None:
    model = load_model()
    site = "blocks.3.hook_attn_out"
    spliced = splice(model, load_saes(sites=["blocks.3.hook_attn_out"]))
    corpus = embedded_corpus(model, documents=4)
    found = find_features(spliced, corpus, written_from="the", fires="brackets", count=9999, least=3)
    assert len(found.features) > 50
    the, spans, sae = model.token_ids("the")[-1], spans_of("brackets"), spliced.saes[site]
    W_O, _ = model.attention_output(3)
    fires, inside, parts, projections = ([] for _ in range(4))
    for ids in corpus.pieces():
        with torch.no_grad():
            _, cache = model.module.run_with_cache(torch.tensor([ids]))
        x, pattern = cache[site][0, 1:], cache["blocks.3.attn.hook_pattern"][0, :, 1:]
        values = cache["blocks.3.attn.hook_v"].flatten(2)[0].unflatten(1, (-1, W_O.shape[1]))
        values = values.repeat_interleave(len(W_O) // values.shape[1], 1) * (torch.tensor(ids) == the)[:, None, None]
        parts.append(torch.einsum("hds,she,hew,wf->dhf", pattern, values, W_O, sae.W_enc))
        projections.append((x - sae.b_dec) @ sae.W_enc)
        fires.append(sae.encode(x).features > 0)
        inside.append(torch.tensor(spans.inside(model, ids)[1:]))
    active, part, p, mask = torch.cat(fires), torch.cat(parts), torch.cat(projections), torch.cat(inside)
    for one in found.features[::7]:
        own = active[:, one.index]
        assert one.fires == int(own.sum())
        assert one.precision == pytest.approx(float(mask[own].float().mean()))
        assert one.recall == pytest.approx(float(own[mask].float().mean()))
        rise = (part[own].mean(0) - part.mean(0))[:, one.index] / (p[own].mean(0) - p.mean(0))[one.index]
        assert one.share == pytest.approx(float(rise.max()), abs=1e-4)
        assert one.head == int(rise.argmax())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "Say what the features do"),
        ({"promotes": "whihc"}, r"no token 'whihc'\. It has 'which'"),
        ({"written_from": ""}, "no token ''"),
        ({"fires": "("}, r"neither a regular expression .* nor one of quotes, brackets"),
        ({"fires": "x*"}, "matches the empty text"),
        ({"fires": "number"}, "'number' matches nothing in planted"),
    ],
)
def test_what_cannot_be_looked_for_is_an_error(
    world: SplicedModel, corpus: Corpus, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_features(world, corpus, **asked)


def test_text_and_sites_that_lack_are_errors(world: SplicedModel, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="give a corpus"):
        find_features(world, fires="quotes")
    with pytest.raises(ValueError, match="No features here are of attention outputs"):
        find_features(world.at_sites(MIDDLE), corpus, written_from="which")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("quotes", 'he said " the cat " to her', "the cat"),
        ("quotes", "a « big dog » runs", "big dog"),
        ("brackets", "cats ( and [ small ] dogs ) run", "and [ small ] dogs"),
        ("question", "it rains . which cat runs ? the dog", "which cat runs ?"),
        ("exclamation", "it rains . oh no ! and", "oh no !"),
        ("number", "cat 12 dog", "12"),
        ("cat", "the cat the dog", "cat"),
        (r"(the) c", "the cat the dog", "the"),
    ],
)
def test_tokens_inside_are_those_of_the_matches(name: str, text: str, expected: str) -> None:
    words = text.split()

    class Words:
        def token_texts(self, ids: tuple[int, ...]) -> tuple[str, ...]:
            return tuple(f" {words[n]}" for n in ids)

    inside = spans_of(name).inside(Words(), tuple(range(len(words))))  # type: ignore[arg-type]
    assert " ".join(word for word, own in zip(words, inside, strict=True) if own) == expected


def test_every_named_context_is_a_pattern() -> None:
    assert all(spans_of(name).pattern.pattern == pattern for name, pattern in NAMED.items())
