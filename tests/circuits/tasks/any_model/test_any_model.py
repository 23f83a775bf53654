"""Tasks for any tokenizer: every pair is aligned, its answers are one token, and what cannot be written is counted."""

import re
import tempfile
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from circuits.tasks.any_model.registry import ANY_TASKS, FORMS, splits_of_any
from circuits.tasks.any_model.task import Task
from circuits.tasks.any_model.writing import TaskRefused, written_pairs
from tests.worlds import tokenizers

CELLS = [(task, split) for task in ANY_TASKS for split in splits_of_any(task)]
KINDS = ("byte-level", "byte fallback", "words")
REFUSED = {("words", "greater_than")}
"""A number is one word."""
CHANGED = {
    "ioi": {"s2"},
    "greater_than": {"start"},
    "gender": {"name"},
    "agreement": {"subject"},
    "induction": {"first_next", "other_next"},
    "docstring": {"next", "after"},
    "capital": {"country"},
}
"""The roles in which clean and patch prompt differ."""


@cache
def a_module() -> torch.nn.Module:
    """A model whose vocabulary is large enough for every tokenizer of these tests."""
    size: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=4000, max_position_embeddings=256, bos_token_id=1, **size)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizers.words().save_pretrained(folder)
        return LanguageModel.load(folder).module


def model_with(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    return LanguageModel(a_module(), tokenizer)


def texts_of_tasks() -> list[str]:
    """Every template and every word of the tasks."""
    texts: list[str] = []
    for task in (task for forms in FORMS.values() for task in forms):
        every = [*task.train.values(), *task.other_templates.values(), *task.adversarial.values()]
        texts += [re.sub(r"\{\w+\}", "the", template) for template in every]
        texts += [f"the {word}" for own in task.fillers.values() for word in own]
        texts += [f"the {form}" for keys in task.keys.values() for entry in keys.entries for form in entry]
    numbers = [f"\n{n:02}" for n in range(100)]
    return [*texts, *numbers * 2, *[f" {n}" for n in range(11, 20)] * 30]


@cache
def model(kind: str) -> LanguageModel:
    texts = texts_of_tasks()
    if kind == "words":
        return model_with(tokenizers.words(texts=texts))
    make = tokenizers.byte_level if kind == "byte-level" else tokenizers.byte_fallback
    return model_with(make(texts=texts, size=4000))


@cache
def pairs(kind: str, task: str, split: str) -> PromptPairs:
    return written_pairs(task, split, 14, 0, model(kind))


def cells() -> list[tuple[str, str, str]]:
    return [(kind, *cell) for kind in KINDS for cell in CELLS if (kind, cell[0]) not in REFUSED]


def words_by_role(pair: PromptPair) -> dict[str, int]:
    assert pair.roles is not None
    return dict(zip(pair.roles, pair.clean_ids, strict=True))


@pytest.mark.parametrize(("kind", "task", "split"), cells())
def test_every_pair_is_aligned_and_its_answers_are_single_tokens(kind: str, task: str, split: str) -> None:
    found = pairs(kind, task, split)
    assert len({(pair.clean_ids, pair.patch_ids) for pair in found}) == 14
    for pair in found:
        assert len(pair.clean_ids) == len(pair.patch_ids) == len(pair.roles or ())
        assert all(len(tokens) == 1 for tokens in (*pair.every_answer, *pair.every_foil))
        assert not {*pair.every_answer} & {*pair.every_foil}
        both = zip(pair.roles or (), pair.clean_ids, pair.patch_ids, strict=True)
        assert {role for role, clean, patch in both if clean != patch} == CHANGED[task]
        assert [*words_by_role(pair)][-1] == "end"
        assert model(kind).unknown_id not in pair.clean_ids


@pytest.mark.parametrize(("kind", "task", "split"), cells())
def test_prompts_of_one_template_are_equally_long_and_name_the_same_roles_at_the_same_places(
    kind: str, task: str, split: str
) -> None:
    lengths: dict[str | None, set[int]] = {}
    for pair in pairs(kind, task, split):
        lengths.setdefault(pair.template, set()).add(len(pair))
    assert all(len(own) == 1 for own in lengths.values())
    names = form(kind, task).templates(split)
    assert set(lengths) == set(names)


def form(kind: str, task: str) -> Task:
    """The form of a task that a tokenizer has: digits one by one, but where two are a token."""
    return FORMS[task][-1 if kind == "byte fallback" else 0]


@pytest.mark.parametrize(("kind", "task"), [(k, t) for k in KINDS for t in ANY_TASKS if (k, t) not in REFUSED])
def test_other_words_share_no_changed_word_with_training_and_other_templates_no_template(kind: str, task: str) -> None:
    def words(split: str) -> set[int]:
        return {words_by_role(pair)[role] for pair in pairs(kind, task, split) for role in CHANGED[task]}

    def templates(split: str) -> set[str | None]:
        return {pair.template for pair in pairs(kind, task, split)}

    assert not words("train") & words("other_words")
    assert templates("train") == templates("other_words")
    assert not templates("train") & templates("other_templates")


def test_answers_are_what_the_task_asks_for() -> None:
    for pair in pairs("words", "ioi", "adversarial"):
        named = words_by_role(pair)
        assert pair.answer_id == named["io"]
        assert pair.foil_id == named["s1"] == named["s2"]
    for pair in pairs("byte-level", "greater_than", "train"):
        start = int(model("byte-level").token_text(words_by_role(pair)["start"]))
        after = [int(model("byte-level").token_text(token)) for (token,) in pair.every_answer]
        not_after = [int(model("byte-level").token_text(token)) for (token,) in pair.every_foil]
        assert after == list(range(start + 1, 100))
        assert max(not_after) == start
    for pair in pairs("byte fallback", "docstring", "train"):
        named = words_by_role(pair)
        assert (pair.answer_id, pair.foil_id) == (named["next"], named["after"])


def test_adversarial_templates_of_ioi_name_the_giver_again_bring_a_third_person_swap_and_change_the_verb() -> None:
    by_template = {pair.template: pair for pair in pairs("words", "ioi", "adversarial")}
    again, receiver = words_by_role(by_template["giver_again"]), words_by_role(by_template["receiver_again"])
    assert again["s_again"] == again["s2"]
    assert receiver["io_again"] == receiver["io"]
    third = words_by_role(by_template["third_person"])
    assert third["third"] not in (third["io"], third["s1"])
    order = list(words_by_role(by_template["swapped"]))
    assert order.index("s1") < order.index("io")
    assert "gave" not in {*words_by_role(by_template["showed"]), *words_by_role(by_template["said"])}


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others() -> None:
    first, again, other = (written_pairs("ioi", "train", 10, seed, model("words")) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_a_tokenizer_of_few_words_is_refused_with_counts(kind: str) -> None:
    """All but greater_than where every digit is a token of its own."""
    few = model_with(tokenizers.KINDS[kind]())
    digits = {"greater_than"} if kind.startswith("byte") else set[str]()
    for task in {*ANY_TASKS} - digits:
        with pytest.raises(TaskRefused, match=r"with the tokenizer of this model: .*\d+ of \d+ "):
            written_pairs(task, "train", 1, 0, few)


def with_words(*own: str) -> LanguageModel:
    """The words of the templates of ioi, its places and objects, and these."""
    (task,) = FORMS["ioi"]
    texts = [re.sub(r"\{\w+\}", "", template) for template in (*task.train.values(), *task.other_templates.values())]
    return model_with(tokenizers.words(texts=[*texts, *(w for f in task.fillers.values() for w in f), *own]))


def test_counts_say_which_words_a_tokenizer_lacks_and_which_split_has_none() -> None:
    with pytest.raises(TaskRefused, match=r"Task 'ioi' cannot be written .* 2 of 72 names \(3 needed\)\. Choose"):
        written_pairs("ioi", "train", 1, 0, with_words("Mary", "John"))
    few = with_words("Mary", "John", "Lily", "Tim")
    assert len(written_pairs("ioi", "train", 10, 0, few)) == 10
    with pytest.raises(TaskRefused, match=r"Split 'other_words' of task 'ioi' .* 4 of 72 names \(6 needed\), so that"):
        written_pairs("ioi", "other_words", 1, 0, few)
    own = model_with(tokenizers.words(texts=["When Mary, John and Lily went to the store. gave a book ball"]))
    assert {pair.template for pair in written_pairs("ioi", "adversarial", 4, 0, own)} == {"swapped"}
    with pytest.raises(TaskRefused, match=r"Split 'other_templates' .* none of 3 templates .*\(3: a word is unknown"):
        written_pairs("ioi", "other_templates", 1, 0, own)


def test_fewer_pairs_than_asked_for_are_an_error_that_counts_them_or_all_there_are() -> None:
    (task,) = FORMS["ioi"]
    only = [task.train["went"].replace("{place}", "store").replace("{object}", "book"), "Mary John Lily"]
    few = model_with(tokenizers.words(texts=[re.sub(r"\{\w+\}", "", text) for text in only]))
    with pytest.raises(TaskRefused, match=r"has 6 different pairs with the tokenizer of this model; got 7\."):
        written_pairs("ioi", "train", 7, 0, few)
    assert len(written_pairs("ioi", "train", 7, 0, few, at_most=True)) == 6


def test_lower_case_and_marks_apart_where_a_tokenizer_knows_nothing_else() -> None:
    texts = [text.lower() for text in texts_of_tasks()]
    lower = model_with(tokenizers.words(texts=texts))
    shown = lower.shown(written_pairs("ioi", "train", 1, 0, lower)[0].clean_ids)
    assert shown == shown.lower()

    from tokenizers import pre_tokenizers

    apart = tokenizers.words(texts=texts_of_tasks())
    apart.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (pair,) = written_pairs("ioi", "train", 1, 0, model_with(apart))
    assert {",", "."} & {*(pair.roles or ())}


def test_a_tokenizer_that_drops_what_it_does_not_know_is_refused() -> None:
    """BPE without an unknown token leaves such characters out without a word."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    rule = Tokenizer(BPE())
    rule.pre_tokenizer, rule.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    texts = [text.replace("W", "") for text in texts_of_tasks()]
    rule.train_from_iterator(texts * 9, BpeTrainer(vocab_size=4000, special_tokens=["<s>"], show_progress=False))
    dropping = model_with(PreTrainedTokenizerFast(tokenizer_object=rule, bos_token="<s>"))
    assert {pair.template for pair in written_pairs("ioi", "train", 20, 0, dropping)} == {"were", "sentence"}
