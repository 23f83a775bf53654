"""Labels: against brute force, against what moving the stream does, cached, and a person's own."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attribution.dictionaries import SAE, JumpReLU, ReLU
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.labels.corpus import Corpus, corpus_from_file, embedded_corpus
from circuits.labels.feature_labels import automatic_text, label
from circuits.labels.label_evidence import LabelOptions
from circuits.labels.own_labels import own_labels
from circuits.labels.promoted_tokens import logit_weights
from graphs import Context, Writer, load_labels, save_labels
from tests.worlds.tiny_models import BOS, World, saes_on, tiny_model

SITES = {"blocks.0.hook_attn_out": JumpReLU, "blocks.0.hook_resid_post": ReLU, "blocks.1.attn.hook_z": JumpReLU}
OPTIONS = LabelOptions(contexts=3, before=2, after=1, tokens=4, writers=2)
HOOK_Z = "blocks.1.attn.hook_z"
FEATURES = [("blocks.0.hook_resid_post", 4), (HOOK_Z, 3), ("blocks.0.hook_attn_out", 9)]


@pytest.fixture(scope="module")
def spliced() -> SplicedModel:
    model = tiny_model("llama")
    return World(model, saes_on(model, SITES)).spliced


@pytest.fixture(scope="module")
def corpus(spliced: SplicedModel) -> Corpus:
    """Random words in lines of unequal length; lines come twice, some a third time with another ending."""
    draw = torch.Generator().manual_seed(3)
    lines = [
        " ".join(f"w{w}" for w in torch.randint(0, 22, (length,), generator=draw).tolist())
        for length in torch.randint(1, 12, (25,), generator=draw).tolist()
    ]
    texts = [*lines, *lines, *(f"{line} w3" for line in lines[:8])]
    return Corpus("random words", lambda: iter(texts), spliced.model, longest=8)


Place = tuple[float, tuple[int, ...]]


def brute_force(spliced: SplicedModel, corpus: Corpus) -> dict[tuple[str, int], list[list[Place]]]:
    """For each feature and piece: activation and ids up to there at every position but BOS."""
    found: dict[tuple[str, int], list[list[Place]]] = {}
    for text in corpus.read():
        words = [int(w[1:]) + 2 for w in text.split()]
        for start in range(0, len(words), 7):
            ids = (BOS, *words[start : start + 7])
            with torch.no_grad():
                _, cache = spliced.model.module.run_with_cache(torch.tensor([ids]))
            for site, sae in spliced.saes.items():
                features = sae.encode(cache[site].flatten(2)[0]).features
                for index in range(12):
                    places = [(float(features[p, index]), ids[: p + 1]) for p in range(1, len(ids))]
                    found.setdefault((site, index), []).append(places)
    return found


@pytest.mark.parametrize("batch_size", [1, 7])
def test_contexts_frequency_and_mean_equal_brute_force(spliced: SplicedModel, corpus: Corpus, batch_size: int) -> None:
    labels = label(spliced, None, corpus, options=OPTIONS, batch_size=batch_size)
    truth = brute_force(spliced, corpus)
    assert {(made.site, made.index) for made in labels} == set(truth)
    for made in labels:
        pieces = truth[made.site, made.index]
        best: dict[tuple[int, ...], float] = {}
        for value, ids in (max(places, key=lambda place: place[0]) for places in pieces):
            if value > 0:
                best[ids[-3:]] = max(value, best.get(ids[-3:], 0.0))
        expected = sorted(best.items(), key=lambda entry: -entry[1])[:3]
        assert [c.activation for c in made.contexts] == pytest.approx([v for _, v in expected], rel=1e-6)
        for context, (ids, _) in zip(made.contexts, expected, strict=True):
            shown = [token.strip() for token in context.tokens[: context.place + 1]]
            assert shown == list(map(spliced.model.token_text, ids))
        everything = [value for places in pieces for value, _ in places]
        active = [value for value in everything if value > 0]
        assert labels.tokens == len(everything)
        assert made.frequency == len(active) / len(everything)
        assert made.mean_activation == pytest.approx(sum(active) / len(active))


def test_writers_of_a_context_are_the_largest_parts_by_hand(spliced: SplicedModel, corpus: Corpus) -> None:
    site = "blocks.0.hook_attn_out"
    (made,) = label(spliced, [(site, 9)], corpus, options=LabelOptions(before=8, after=0, writers=2))
    W_O = spliced.model.module.blocks[0].attn.W_O.detach()
    for context in made.contexts:
        ids = torch.tensor([spliced.model.tokenizer.convert_tokens_to_ids([t.strip() for t in context.tokens])])
        with torch.no_grad():
            _, cache = spliced.model.module.run_with_cache(ids)
        values = cache["blocks.0.attn.hook_v"].flatten(2)[0].reshape(ids.shape[1], 2, 4)
        parts = {
            (h, s): float(
                cache["blocks.0.attn.hook_pattern"][0, h, -1, s]
                * values[s, h // 2]
                @ W_O[h]
                @ spliced.saes[site].W_enc[:, 9]
            )
            for h in range(4)
            for s in range(ids.shape[1])
        }
        strongest = sorted(parts, key=lambda place: -abs(parts[place]))[:2]
        assert [(w.head, context.place - w.back) for w in context.writers] == strongest
        assert [w.part for w in context.writers] == pytest.approx([parts[p] for p in strongest])
        assert [w.token for w in context.writers] == [context.tokens[s] for _, s in strongest]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox"])
def test_promoted_tokens_are_what_a_small_move_along_the_decoder_raises(kind: str) -> None:
    """At a stream orthogonal to the direction, where the norm's scale stands still to first order."""
    model = tiny_model(kind)
    for p in model.module.ln_final.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).to(p)
    saes = saes_on(model, SITES)
    for site, sae in saes.items():
        direction = sae.W_dec[5]
        if site.endswith("hook_z"):
            direction = sum(direction[4 * h : 4 * h + 4] @ model.module.blocks[1].attn.W_O[h] for h in range(4))
        assert isinstance(direction, torch.Tensor)
        x = torch.randn(16, generator=torch.Generator().manual_seed(4)).double()
        if kind != "llama":
            direction, x = direction - direction.mean(), x - x.mean()
        x = x - (x @ direction) / (direction @ direction) * direction
        with torch.no_grad():
            up, down = (model.head((x + step * direction)[None, None])[0, 0] for step in (0.3, -0.3))
        moved = up - down
        found = logit_weights(model, sae, site, [5])[0]
        if kind != "llama":  # its norm rounds to float32
            assert torch.equal(found.argsort(), moved.argsort())
        assert abs(float(found.mean())) < 1e-9
        moved = moved - moved.mean()
        assert torch.allclose(found / found.norm(), moved / moved.norm(), atol=1e-5)


def test_labels_show_the_ends_of_the_ranking(spliced: SplicedModel, corpus: Corpus) -> None:
    labels = label(spliced, FEATURES, corpus, options=OPTIONS)
    for made in labels:
        weights = logit_weights(spliced.model, spliced.saes[made.site], made.site, [made.index])[0]
        by_token = sorted((float(w), spliced.model.token_text(t)) for t, w in enumerate(weights))
        assert made.promoted == tuple((t, w) for w, t in by_token[::-1][:4])
        assert made.suppressed == tuple((t, w) for w, t in by_token[:4])


class CountsPasses:
    """How often any SAE encodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = SAE.encode

        def counted(sae: SAE, x: torch.Tensor):
            self.count += 1
            return original(sae, x)

        monkeypatch.setattr(SAE, "encode", counted)

    def since(self) -> int:
        found, self.count = self.count, 0
        return found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> CountsPasses:
    return CountsPasses(monkeypatch)


def test_the_cache_answers_without_a_pass_and_any_change_is_a_miss(
    spliced: SplicedModel, corpus: Corpus, tmp_path: Path, passes: CountsPasses
) -> None:
    first = label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path)
    assert passes.since() > 0
    assert label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path) == first
    assert passes.since() == 0
    named = label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path, mine={FEATURES[0]: "mine"})
    assert named.of(*FEATURES[0]).text == "mine"
    assert passes.since() == 0
    assert label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path) == first
    other_text = Corpus("random words", lambda: iter([*corpus.read(), "w1 w2"]), spliced.model, longest=8)
    bos = SplicedModel(spliced.model, spliced.saes, splice_bos=True, dtype=torch.float64)
    changes = (
        (spliced, FEATURES, other_text, OPTIONS),
        (spliced, FEATURES, corpus, LabelOptions(contexts=4, before=2, after=1, tokens=4, writers=2)),
        (spliced, [*FEATURES[:2], (FEATURES[2][0], 8)], corpus, OPTIONS),
        (bos, FEATURES, corpus, OPTIONS),
    )
    for model, features, text, options in changes:
        passes.since()
        label(model, features, text, options=options, cache=tmp_path)
        assert passes.since() > 0
    spliced.saes[FEATURES[0][0]].W_dec[0, 0] += 1
    label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path)
    changed = passes.since()
    spliced.saes[FEATURES[0][0]].W_dec[0, 0] -= 1
    assert changed > 0  # one site anew; the others come from the cache
    parameter = next(spliced.model.module.parameters())
    parameter.data += 1e-3
    label(spliced, FEATURES, corpus, options=OPTIONS, cache=tmp_path)
    parameter.data -= 1e-3
    assert passes.since() > changed


@pytest.mark.parametrize("damage", ["", '{"schema": "jumpwire.labels"', "[]", "other labels"])
def test_a_damaged_cache_file_is_made_again_with_a_warning(
    spliced: SplicedModel, corpus: Corpus, tmp_path: Path, damage: str
) -> None:
    features = FEATURES[:1]
    first = label(spliced, features, corpus, options=OPTIONS, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(whole.replace('"index": 4', '"index": 5') if damage == "other labels" else damage)
    with pytest.warns(UserWarning, match="damaged and is made again"):
        assert label(spliced, features, corpus, options=OPTIONS, cache=tmp_path) == first
    assert file.read_text() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert label(spliced, features, corpus, options=OPTIONS, cache=tmp_path) == first


def test_labels_come_back_from_their_file(spliced: SplicedModel, corpus: Corpus, tmp_path: Path) -> None:
    hostile = "[bold red]x[/] \x1b[31m \u202e"
    labels = label(spliced, FEATURES, corpus, options=OPTIONS, mine={FEATURES[1]: hostile})
    save_labels(labels, tmp_path / "labels.json")
    found = load_labels(tmp_path / "labels.json")
    assert found.labels == labels.labels
    assert found == labels
    assert found.of(*FEATURES[1]).text == hostile
    assert found.of(*FEATURES[1]).source == "yours"
    assert (FEATURES[0][0], 5) not in found
    with pytest.raises(LookupError, match=r"hook_resid_post/5 has no label here"):
        found.of(FEATURES[0][0], 5)


def test_half_of_a_character_is_written_as_a_question_mark_and_refused_where_it_is_read(
    spliced: SplicedModel, corpus: Corpus, tmp_path: Path
) -> None:
    labels = label(spliced, FEATURES, corpus, options=OPTIONS, mine={FEATURES[1]: "half \ud800"})
    save_labels(labels, tmp_path / "labels.json")
    assert load_labels(tmp_path / "labels.json").of(*FEATURES[1]).text == "half ?"
    (tmp_path / "own.json").write_text(json.dumps([{"site": FEATURES[1][0], "index": 0, "label": "\ud800"}]))
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        own_labels(tmp_path / "own.json", spliced)


def test_a_persons_labels_win_in_every_format(spliced: SplicedModel, corpus: Corpus, tmp_path: Path) -> None:
    site, index = FEATURES[0]
    rows = [{"site": site, "index": index, "label": "mine"}, {"site": HOOK_Z, "index": 0, "label": "other"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.json").write_text(json.dumps({f"{r['site']}/{r['index']}": r["label"] for r in rows}))
    for name in ("a.jsonl", "b.json", "c.json"):
        mine = own_labels(tmp_path / name, spliced)
        assert mine == {(site, index): "mine", (HOOK_Z, 0): "other"}
        named, automatic = label(spliced, FEATURES[:2], corpus, options=OPTIONS, mine=mine)
        assert (named.text, named.source) == ("mine", "yours")
        assert named.contexts
        assert automatic.source == "contexts"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "row 1: not valid JSON"),
        ('{"site": "blocks.0.hook_resid_post", "index": 1}', r"row 1: expected \{"),
        ('\n{"site": "blocks.0.hook_resid_post", "index": true, "label": "x"}', "row 2: site must be text"),
        ('{"site": "blocks.0.hook_resid_post", "index": 1, "label": " "}', "row 1: the label must be text"),
        ('{"site": "blocks.0.hook_resid_post", "index": 12, "label": "x"}', "has no feature 12"),
        ('{"site": "blocks.0.hook_mlp_out", "index": 1, "label": "x"}', "row 1: No SAE is spliced in"),
        ('{"site": "blocks.0.hook_rezid_post", "index": 1, "label": "x"}', "row 1: The model has no site"),
        ('{"site": "blocks.0.hook_resid_post", "index": 1, "label": "x"}\n' * 2, "row 2: .* labelled twice"),
        ("[1]", "row 1: expected"),
    ],
)
def test_malformed_rows_are_errors_that_name_the_row(
    spliced: SplicedModel, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises((ValueError, LookupError), match=message):
        own_labels(tmp_path / "mine.jsonl", spliced)


def test_malformed_files_are_errors(spliced: SplicedModel, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"blocks.0.hook_resid_post": "x"}')
    with pytest.raises(ValueError, match="names no feature; expected site/index"):
        own_labels(tmp_path / "a.json", spliced)
    (tmp_path / "b.json").write_text('"x"')
    with pytest.raises(ValueError, match="expected rows with site, index and label"):
        own_labels(tmp_path / "b.json", spliced)
    with pytest.raises(FileNotFoundError, match="no such file"):
        own_labels(tmp_path / "c.json", spliced)


def test_wrong_requests_are_errors_before_anything_is_read(spliced: SplicedModel, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="No features to label"):
        label(spliced, [], corpus)
    with pytest.raises(ValueError, match="has no feature 12; its SAE has features 0 to 11"):
        label(spliced, [("blocks.0.hook_resid_post", 12)], corpus)
    with pytest.raises(LookupError, match="No SAE is spliced in"):
        label(spliced, [("blocks.1.hook_mlp_out", 0)], corpus)
    with pytest.raises(ValueError, match=r"Your labels: .* has no feature 99"):
        label(spliced, FEATURES, corpus, mine={(FEATURES[0][0], 99): "x"})
    with pytest.raises(ValueError, match="contexts must be at least 1"):
        LabelOptions(contexts=0)
    with pytest.raises(ValueError, match="is empty"):
        label(spliced, FEATURES, Corpus("nothing", lambda: iter(()), spliced.model))


def test_files_are_read_as_documents_and_long_ones_are_cut(spliced: SplicedModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("w0 w1 w2 w3\n\n  w5  \n")
    (tmp_path / "b.jsonl").write_text('{"text": "w0 w1 w2 w3"}\n{"text": " "}\n{"text": "w5"}\n')
    for name in ("a.txt", "b.jsonl"):
        corpus = corpus_from_file(tmp_path / name, spliced.model, longest=4)
        assert list(corpus.pieces()) == [(BOS, 2, 3, 4), (BOS, 5), (BOS, 7)]
        assert corpus.digest_and_count[1] == 3
    (tmp_path / "c.jsonl").write_text('{"text": "w0"}\n{"txt": "w0"}\n')
    with pytest.raises(ValueError, match='row 2: expected an object with "text"'):
        list(corpus_from_file(tmp_path / "c.jsonl", spliced.model).pieces())
    with pytest.raises(FileNotFoundError, match="no such file"):
        corpus_from_file(tmp_path / "d.txt", spliced.model)


def test_the_automatic_text_follows_its_rule() -> None:
    contexts = [Context(("a ", word), 1, 1.0) for word in ("cat", " dog", "dog", "cow", "hen", "pig")]
    text = automatic_text(contexts, (("are", 2.0), (" were", 1.0), ("is", 0.5), ("was", 0.1)))
    assert text == "fires on: dog, cat, cow, hen | promotes: are, were, is"
    assert automatic_text(contexts[:1], None) == "fires on: cat"
    written = [
        replace(context, writers=(Writer(1, 2, " of", -9.0), Writer(head, 1, token, 5.0), Writer(0, 1, "a", 1.0)))
        for context, head, token in zip(contexts, (2, 2, 2), ("owl", " fox", " owl"), strict=False)
    ]
    assert automatic_text(written, None) == "fires on: dog, cat | written from: owl, fox (by head 2)"
    other = [*written, replace(contexts[3], writers=(Writer(3, 1, "elk", 5.0),))]
    assert automatic_text(other, None).endswith("written from: owl, fox, elk")
    against = [replace(contexts[0], writers=(Writer(1, 2, " of", -9.0),))]
    assert automatic_text(against, None) == "fires on: cat"
    assert automatic_text([], None) == "never fires on this corpus"


def test_embedded_labels_are_the_same_on_every_run_and_read_as_text() -> None:
    model = embedded_model()
    site = "blocks.0.hook_resid_post"
    spliced = SplicedModel(model, {site: embedded_saes()[site]})
    texts = embedded_corpus(model, documents=20)
    labels = label(spliced, [(site, i) for i in range(0, 60, 5)], texts)
    assert labels == label(spliced, [(site, i) for i in range(0, 60, 5)], texts)
    documents = list(texts.read())
    shown = [c for label in labels for c in label.contexts]
    assert len(shown) > 20
    for context in shown:
        words = "".join(context.tokens).removeprefix("<s>").split()
        assert any(" ".join(words) in document for document in documents)
