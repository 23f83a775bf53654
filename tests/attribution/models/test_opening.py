"""What opens a prompt: decided once, from the tokenizer as its files say, and never by a token it does not call BOS."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from attribution.dictionaries.kinds.jumprelu import JumpReLU
from attribution.models.language_model import LanguageModel
from attribution.models.opening import Opening, PromptOpening, adds_bos_itself, own_bos_id
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import VOCABULARY, saes_on
from tests.worlds.tokenizers import END, byte_fallback, byte_level, words

SITE = "blocks.0.hook_mlp_out"


def decided(
    tokenizer: Any, said: dict[str, bool | None], architecture: bool | None = None, chosen: str | None = None
) -> Opening:
    opening = PromptOpening(tokenizer, own_bos_id(tokenizer), architecture, chosen)
    opening.hear(said)
    return opening.decided


def test_tokens_that_the_files_call_bos() -> None:
    assert own_bos_id(words()) == 1
    assert own_bos_id(words(None)) is None
    assert own_bos_id(words(END)) == 2
    assert own_bos_id(None) is None


@pytest.mark.parametrize("make", [words, byte_level])
def test_the_end_of_text_that_transformer_lens_writes_into_bos_is_no_bos(make: Any, tmp_path: Path) -> None:
    make(None).save_pretrained(tmp_path / "without")
    make(END).save_pretrained(tmp_path / "with")
    without, own = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("without", "with"))
    without.bos_token = without.eos_token
    assert without.bos_token_id is not None
    assert own_bos_id(without) is None
    assert own_bos_id(own) == own.eos_token_id


def test_each_word_counts_before_the_next() -> None:
    yes, no = Opening(1, ""), Opening(None, "")
    adds, plain = byte_fallback(), words()
    assert (adds_bos_itself(adds, 1), adds_bos_itself(plain, 1)) == (True, False)
    cases: list[tuple[Any, dict[str, bool | None], bool | None, str | None, Opening]] = [
        (plain, {}, None, None, no),
        (adds, {}, None, None, yes),
        (plain, {}, True, None, yes),
        (adds, {}, False, None, no),
        (plain, {SITE: True}, False, None, yes),
        (adds, {SITE: False, "b": None}, True, None, no),
        (plain, {SITE: True}, True, "never", no),
        (plain, {SITE: False}, False, "always", yes),
        (plain, {SITE: True}, True, "tokenizer", no),
        (adds, {SITE: False}, False, "tokenizer", yes),
        (words(None), {}, True, "tokenizer", no),
        (words(None), {SITE: False}, True, None, no),
    ]
    for tokenizer, said, architecture, chosen, expected in cases:
        assert decided(tokenizer, said, architecture, chosen).token_id == expected.token_id, (said, chosen)


def test_a_choice_that_cannot_be_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the tokenizer has none\. Choose never or tokenizer"):
        decided(words(None), {}, chosen="always")
    with pytest.raises(ValueError, match="No choice of BOS 'yes'"):
        decided(words(), {}, chosen="yes")


def test_dictionaries_that_disagree_are_a_warning_that_names_both() -> None:
    with pytest.warns(UserWarning, match=r"disagree about BOS: a was trained with it, b \(and 1 more\) without"):
        found = decided(words(), {"a": True, "b": False, "c": False}, architecture=True)
    assert found == Opening(1, "TransformerLens' default for this architecture")


def test_dictionaries_that_ask_for_a_bos_that_is_not_there_are_a_warning() -> None:
    with pytest.warns(UserWarning, match="tokenizer has no BOS, so nothing is put there"):
        assert decided(words(None), {"a": True}).token_id is None


def test_the_decision_is_made_once() -> None:
    opening = PromptOpening(words(), 1, None, None)
    assert opening.of("the cat", [5, 6]) == [5, 6]
    with pytest.warns(UserWarning, match="with BOS, but prompts do not open with BOS: that was decided earlier"):
        opening.hear({"a": True})
    assert opening.of("the cat", [5, 6]) == [5, 6]


def test_a_text_that_opens_with_bos_gets_no_second_one_and_says_so_once() -> None:
    opening = PromptOpening(words(), 1, None, "always")
    with pytest.warns(UserWarning, match=r"'<s> the' opens with BOS itself; .* kept once, as written\. Leave it out"):
        assert opening.of("<s> the", [1, 5]) == [1, 5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opening.of("<s> the", [1, 5]) == [1, 5]
    assert opening.of("the", [5]) == [1, 5]
    with pytest.warns(UserWarning, match="opens with BOS itself; prompts do not"):
        assert PromptOpening(words(), 1, None, "never").of("<s> the", [1, 5]) == [1, 5]


def saved(folder: Path, tokenizer: Any) -> Path:
    """A tiny model with this tokenizer."""
    torch.manual_seed(0)
    size = max(len(tokenizer), VOCABULARY)
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=16, initializer_range=0.3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_without_bos_reads_a_prompt_as_its_tokenizer_does(tmp_path: Path) -> None:
    tokenizer = words(None)
    model = LanguageModel.load(saved(tmp_path, tokenizer))
    assert model.bos_id is None
    assert model.token_ids("the cat") == tokenizer("the cat")["input_ids"]
    spliced = SplicedModel(model, saes_on(model, {SITE: JumpReLU}))
    ids = torch.tensor([[tokenizer.eos_token_id, 5, 6]])
    assert spliced.spliced_positions(ids, torch.tensor([2])).all()


def test_the_saes_decide_for_the_model_they_are_spliced_into(tmp_path: Path) -> None:
    folder = saved(tmp_path, words())
    for said in (True, False, None):
        model = LanguageModel.load(folder)
        (sae,) = saes_on(model, {SITE: JumpReLU}).values()
        SplicedModel(model, [replace(sae, prepend_bos=said)])
        opens = model.module.cfg.default_prepend_bos if said is None else said
        assert (model.token_ids("the cat")[0] == model.bos_id) == opens
    assert LanguageModel.load(folder, bos="never").token_ids("the cat") == words()("the cat")["input_ids"]
