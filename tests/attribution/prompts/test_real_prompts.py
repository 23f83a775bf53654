"""Prompts as people have them: without a counterfactual, of unequal length, with roles as spans, from templates."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import log_probability, logit_difference
from attribution.prompts.pair_entry import aligned, pair_from, pairs_from
from attribution.prompts.pair_file import read_pairs
from attribution.prompts.position_names import scheme_of
from attribution.prompts.prompt_pair import NO_FOIL, PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.prompt_templates import fillings
from attribution.prompts.role_spans import roles_of_spans
from attribution.splice.patch_values import zero
from tests.worlds.tiny_models import World, save_hugging_face_folder

ALONE: dict[str, Any] = {"prompt": "w1 w2 w3", "answer": "w4"}


def test_unequal_lengths_are_an_error_that_shows_both_prompts_aligned(llama: LanguageModel) -> None:
    row = {"clean": "w1 w2 w9", "patch": "w1 w11 w12 w9", "answer": "w4", "wrong": "w5"}
    with pytest.raises(ValueError, match="Pair 3: clean has 4 tokens and patch 5") as caught:
        pair_from(3, row, llama)
    clean, patch = str(caught.value).splitlines()[1:]
    assert clean == "  clean  <bos>|w1| w2 |    | w9"
    assert patch == "  patch  <bos>|w1| w11| w12| w9"
    assert aligned((0, 3), (0, 3), llama).splitlines()[0] == "  clean  <bos>|w1"


def test_every_row_that_cannot_be_used_is_named_at_once(llama: LanguageModel) -> None:
    good = {"clean": "w1 w2", "patch": "w1 w3", "answer": "w4", "wrong": "w5"}
    bad = {**good, "patch": "w1 w3 w6"}
    found = r"Pair 1: clean has 3 tokens and patch 4[\s\S]*2 more of 5 pairs cannot be used either: 3, 4\.$"
    with pytest.raises(ValueError, match=found):
        pairs_from([good, bad, good, {**good, "answer": 3}, {}], llama)
    assert [pair.foil_id for pair in pairs_from([good, pair_from(1, good, llama)], llama)] == [7, 7]


def test_a_prompt_without_a_counterfactual_is_a_pair_with_itself(llama: LanguageModel) -> None:
    assert pair_from(0, ALONE, llama) == PromptPair((0, 3, 4, 5), (0, 3, 4, 5), 6, NO_FOIL)
    assert not pair_from(0, ALONE, llama).has_counterfactual
    assert pair_from(0, {**ALONE, "wrong": "w5"}, llama).foil_id == 7
    ids = {"prompt_ids": [0, 3, 4], "answer_id": 6}
    assert pair_from(0, ids, llama) == PromptPair((0, 3, 4), (0, 3, 4), 6, NO_FOIL)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"patch": "w1 w2 w4"}, "Pair 2: has a prompt without a counterfactual, and clean or patch too"),
        ({"answer": 3}, "Pair 2: answer is 3; expected text"),
        ({"prompt": ["w1"]}, r"Pair 2: prompt is \['w1'\]; expected text"),
        ({"prompt_ids": "w1"}, "Pair 2: prompt_ids is 'w1'; expected token ids"),
    ],
)
def test_a_bad_prompt_is_an_error_that_names_it(llama: LanguageModel, change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        pair_from(2, {**ALONE, **change}, llama)


def test_a_metric_of_two_answers_refuses_a_prompt_with_one(llama_world: World) -> None:
    pairs = PromptPairs((pair_from(0, ALONE, llama_world.model),))
    pairs.check_fits(llama_world.model)
    with pytest.raises(ValueError, match="Pair 0: has no wrong answer to compare with"):
        exact_patching(llama_world.spliced, pairs, logit_difference, patch_value=zero)


def test_zero_effects_of_a_prompt_equal_plain_transformers(llama_world: World, tmp_path: Path) -> None:
    site, model = "blocks.0.hook_mlp_out", llama_world.model
    pair = pair_from(0, ALONE, model)
    found = exact_patching(llama_world.spliced, PromptPairs((pair,)), log_probability, patch_value=zero)
    save_hugging_face_folder(tmp_path, "llama")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    mlp, sae = plain.model.layers[0].mlp, llama_world.spliced.saes[site]

    def metric(without: tuple[int, int] | None) -> float:
        def remove(_module: Any, _inputs: Any, x: torch.Tensor) -> torch.Tensor:
            if without is None:
                return x
            position, feature = without
            changed = x.clone()
            changed[0, position] -= sae.encode(x).features[0, position, feature] * sae.W_dec[feature]
            return changed

        handle = mlp.register_forward_hook(remove)
        with torch.no_grad():
            logits = plain(torch.tensor([pair.clean_ids])).logits[0, -1]
        handle.remove()
        return float(logits.log_softmax(-1)[pair.answer_id])

    rows = [row for row in _features(found) if row[0] == site]
    assert rows
    for _, position, feature, effect in rows:
        assert effect == pytest.approx(metric((position, feature)) - metric(None), abs=2e-6)


def _features(effects: Effects) -> list[tuple[str, int, int, float]]:
    chosen = effects.of_kind("feature").nonzero()[0]
    return [
        (effects.sites[effects.site[n]], int(effects.position[n]), int(effects.index[n]), float(effects.effect[n]))
        for n in chosen
    ]


PIECES = ("<s>", "The", " ke", "ys", " to", " the", " cab", "inet", " the", " end")


def test_spans_of_the_text_name_its_tokens() -> None:
    names = roles_of_spans({"subject": "keys", "place": [16, 23]}, PIECES, opened=True)
    assert names == ("bos", "The", "subject_1", "subject", "to", "the", "place_1", "place", "the_2", "end")
    assert roles_of_spans({}, ("a", " 7", " end", " b"), opened=False) == ("a", "word 7", "word end", "end")
    assert roles_of_spans({"verb": " end"}, PIECES, opened=True)[-1] == "verb"


@pytest.mark.parametrize(
    ("spans", "match"),
    [
        ({"a": "cat"}, "the span 'cat' of role 'a' occurs 0 times"),
        ({"a": "the"}, "the span 'the' of role 'a' occurs 2 times .*Write more"),
        ({"a": [3, 99]}, r"the span \[3, 99\] of role 'a' is not in the text of"),
        ({"a": 7}, "must be a part of the text or"),
        ({"a": "key", "b": "keys to"}, "the roles 'a' and 'b' share the token"),
    ],
)
def test_a_span_that_names_no_place_is_an_error(spans: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        roles_of_spans(spans, PIECES, opened=True)


def test_prompts_of_unequal_length_meet_by_role(llama: LanguageModel) -> None:
    rows = [
        {"clean": "w1 w2 w3", "patch": "w1 w4 w3", "roles": {"subject": "w2"}},
        {"clean": "w9 w9 w2 w3", "patch": "w9 w9 w4 w3", "roles": {"subject": [6, 8]}},
    ]
    pairs = PromptPairs(tuple(pair_from(n, {**r, "answer": "w5", "wrong": "w6"}, llama) for n, r in enumerate(rows)))
    assert pairs[0].roles == ("bos", "w1", "subject", "end")
    assert pairs[1].roles == ("bos", "w9", "w9_2", "subject", "end")
    assert scheme_of(pairs) == "role"


TEMPLATE: dict[str, Any] = {
    "text": "w1 {subject} w2 {place}",
    "answer": "w5",
    "wrong": "w6",
    "clean": {"subject": ["w7", "w8"], "place": ["w10", "w11 w12"]},
    "patch": {"subject": ["w17", "w18 w18"]},
}


def test_a_template_is_filled_with_every_choice_of_words() -> None:
    rows = [filling.row for filling in fillings(0, TEMPLATE)]
    assert [row["clean"] for row in rows] == ["w1 w7 w2 w10", "w1 w7 w2 w11 w12", "w1 w8 w2 w10", "w1 w8 w2 w11 w12"]
    assert [row["patch"] for row in rows][::3] == ["w1 w17 w2 w10", "w1 w18 w18 w2 w11 w12"]
    assert rows[0]["roles"] == {"subject": (3, 5), "place": (9, 12)}


def test_fillings_of_unequal_length_are_left_out_and_counted(llama: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"templates": [TEMPLATE]}))
    with pytest.warns(
        UserWarning,
        match=r"2 of 4 fillings are left out\. Template 0: clean has 5 tokens and patch 6",
    ):
        pairs = read_pairs(path, llama)
    assert [pair.roles for pair in pairs] == [
        ("bos", "w1", "subject", "w2", "place"),
        ("bos", "w1", "subject", "w2", "place_1", "place"),
    ]
    assert {pair.template for pair in pairs} == {TEMPLATE["text"]}
    path.write_text(json.dumps({"templates": [{**TEMPLATE, "patch": {"subject": ["w1 w1", "w1 w1"]}}]}))
    with pytest.raises(ValueError, match="None of 4 fillings can be used"):
        read_pairs(path, llama)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"more": 1}, "Template 4: expected an object with answer, clean, patch, text, wrong"),
        ({"text": "w1 {verb}"}, "the slot {verb} in text has no words in clean"),
        ({"text": "w1 {"}, "is no template"),
        ({"patch": {"subject": ["w1"]}}, "'subject' has 2 words in clean and 1 in patch"),
        ({"clean": {"subject": []}}, "clean must map slots to lists of words"),
        ({"answer": 3}, "text, answer and wrong must be text"),
    ],
)
def test_a_bad_template_is_an_error_that_names_it(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        list(fillings(4, {**TEMPLATE, **change}))
