"""The shipped model, tokenizer and SAEs: complete, small, loadable, and as good as their table says."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from circuits.embedded.language import documents
from circuits.embedded.recipe.accuracy import Accuracy, Scores, accuracy, bigram_scores, model_scores, nearest_scores
from circuits.embedded.recipe.plain_sae import decode, encode, read_sae
from circuits.embedded.recipe.sites import activation_replaced, hook_names, read_activations
from circuits.embedded.recipe.tokenizer import build_tokenizer, encode_documents, word_ids
from circuits.embedded.recipe.train_model import load_model
from circuits.embedded.recipe.train_saes import SaeRun, sae_runs
from circuits.tasks.lexicon import vocabulary
from circuits.tasks.templates import SPLITS, TASKS, text_pairs

EMBEDDED = Path(__file__).parents[3] / "circuits" / "embedded"
RUNS = sae_runs(layers=4)
QUALITY = json.loads((EMBEDDED / "quality.json").read_text())
WEIGHT_NAMES = {
    "standard": {"W_enc", "b_enc", "W_dec", "b_dec"},
    "jumprelu": {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"},
    "topk": {"W_enc", "b_enc", "W_dec", "b_dec"},
    "gated": {"W_enc", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec"},
    "prolu": {"W_enc", "b_enc", "W_dec", "b_dec"},
}


def folder_of(run: SaeRun) -> Path:
    return EMBEDDED / "saes" / run.sae_set / run.hook_name


@cache
def model() -> LlamaForCausalLM:
    return load_model(EMBEDDED / "model")


@cache
def held_out_tokens() -> Tensor:
    return encode_documents(documents(60, seed=77), 60).long()


def test_everything_that_ships_fits_in_25_megabytes() -> None:
    files = [*(EMBEDDED / "model").rglob("*"), *(EMBEDDED / "saes").rglob("*")]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 25e6


def test_weights_are_stored_in_half_and_load_as_float32() -> None:
    for file in EMBEDDED.rglob("*.safetensors"):
        for tensor in load_file(file).values():
            assert tensor.dtype == torch.float16
            assert tensor.isfinite().all()
    assert {p.dtype for p in model().parameters()} == {torch.float32}
    assert json.loads((EMBEDDED / "model" / "config.json").read_text())["dtype"] == "float32"


def test_tokenizer_gives_one_known_token_per_word_and_goes_back() -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "model")
    words = vocabulary()
    ids = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    assert ids == [word_ids()[word] for word in words]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == " ".join(words)
    assert len(tokenizer) == model().config.vocab_size


def test_tokenizer_puts_bos_first_only_when_asked_and_splits_off_punctuation() -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "model")
    ids = word_ids()
    assert tokenizer("the wolf zzz")["input_ids"] == [ids["<s>"], ids["the"], ids["wolf"], ids["<unk>"]]
    assert tokenizer("the wolf", add_special_tokens=False)["input_ids"] == [ids["the"], ids["wolf"]]
    assert tokenizer.tokenize('mary said "the wolf is old", then') == [
        "mary",
        "said",
        '"',
        "the",
        "wolf",
        "is",
        "old",
        '"',
        ",",
        "then",
    ]
    assert (tokenizer.bos_token, tokenizer.unk_token, tokenizer.pad_token) == ("<s>", "<unk>", "<pad>")


def test_shipped_tokenizer_is_the_one_the_recipe_builds() -> None:
    shipped = json.loads((EMBEDDED / "model" / "tokenizer.json").read_text())
    assert shipped["model"]["vocab"] == build_tokenizer().get_vocab()


@pytest.mark.parametrize("task", TASKS)
def test_every_pair_is_tokenized_word_by_word(task: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "model")
    for split in SPLITS:
        for pair in text_pairs(task, split, 40, seed=4):
            for text in (pair.clean, pair.patch, pair.answer, pair.wrong):
                assert tokenizer.tokenize(text) == text.split()
                assert tokenizer.unk_token not in tokenizer.tokenize(text)


@cache
def bigram() -> Scores:
    return bigram_scores(documents(2000, seed=1))


@cache
def judged(task: str, split: str) -> tuple[Accuracy, Accuracy, Accuracy]:
    pairs = text_pairs(task, split, 150, seed=21)
    return (
        accuracy(pairs, model_scores(model())),
        accuracy(pairs, bigram()),
        accuracy(pairs, nearest_scores),
    )


@pytest.mark.parametrize("task", TASKS)
def test_model_solves_the_task_on_clean_and_patch(task: str) -> None:
    by_model, _, _ = judged(task, "train")
    assert by_model.both >= 0.95
    assert by_model.difference > 1


@pytest.mark.parametrize("task", TASKS)
def test_model_is_as_good_on_held_out_words_as_the_table_says(task: str) -> None:
    by_model, _, _ = judged(task, "held_out")
    in_table = QUALITY["tasks"][task]["held_out"]["model"]
    assert by_model.both == pytest.approx(in_table["both"], abs=0.12)
    assert in_table["both"] > 0.6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_heuristics_do_not_solve_the_task(task: str, split: str) -> None:
    by_model, by_bigram, by_nearest = judged(task, split)
    assert (by_bigram.clean + by_bigram.patch) / 2 == pytest.approx(0.5)
    assert by_bigram.both <= 0.25
    if split != "out_of_distribution":
        assert by_nearest.both < by_model.both - 0.2


def test_the_set_of_saes_is_complete() -> None:
    shipped = {str(path.parent.relative_to(EMBEDDED / "saes")) for path in EMBEDDED.glob("saes/*/*/cfg.json")}
    assert shipped == {f"{run.sae_set}/{run.hook_name}" for run in RUNS}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.sae_set}/{run.hook_name}")
def test_sae_folder_has_the_saelens_format_with_the_right_shapes(run: SaeRun) -> None:
    config, weights = read_sae(folder_of(run))
    assert config["architecture"] == {"relu": "standard"}.get(run.sae_set, run.sae_set)
    assert config["dtype"] == "float32"
    assert config["normalize_activations"] == "none"
    metadata = config["metadata"]
    assert metadata["hook_name"] == run.hook_name
    assert metadata["prepend_bos"] is True
    assert {"model_name", "context_size"} <= set(metadata)
    d_in, d_sae = config["d_in"], config["d_sae"]
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    assert set(weights) == WEIGHT_NAMES[config["architecture"]]
    for name, weight in weights.items():
        assert tuple(weight.shape) == shapes.get(name, (d_sae,))


def test_sae_table_covers_every_sae_and_none_is_weak() -> None:
    assert {(row["set"], row["hook_name"]) for row in QUALITY["saes"]} == {(r.sae_set, r.hook_name) for r in RUNS}
    for row in QUALITY["saes"]:
        assert row["ce_recovered"] >= 0.9, row
        assert row["dead"] <= 0.2, row
        assert 8 <= row["l0"] <= 30, row


@pytest.mark.parametrize("sae_set", ["jumprelu", "relu", "gated", "topk", "prolu"])
def test_sae_measured_again_agrees_with_the_table(sae_set: str) -> None:
    name = "blocks.2.hook_resid_post"
    x = read_activations(model(), held_out_tokens(), [name])[name][:, 1:].flatten(0, 1)
    config, weights = read_sae(EMBEDDED / "saes" / sae_set / name)
    f = encode(config, weights, x)
    fvu = (decode(weights, f) - x).square().sum() / (x - x.mean(0)).square().sum()
    (row,) = (row for row in QUALITY["saes"] if (row["set"], row["hook_name"]) == (sae_set, name))
    assert float((f > 0).sum(1).float().mean()) == pytest.approx(row["l0"], rel=0.05)
    assert float(fvu) == pytest.approx(row["fvu"], rel=0.15)


def test_readme_has_a_row_for_every_sae_and_every_task_split() -> None:
    text = (EMBEDDED / "README.md").read_text()
    for run in RUNS:
        assert f"| {run.sae_set} | {run.hook_name} |" in text
    for task in TASKS:
        for split in SPLITS:
            assert f"| {task} | {split} |" in text


def test_replacing_an_activation_by_itself_changes_nothing_and_by_zero_something() -> None:
    tokens = held_out_tokens()[:4]
    with torch.no_grad():
        plain = model()(input_ids=tokens).logits
        for name in hook_names(4):
            with activation_replaced(model(), name, lambda x: x):
                assert torch.equal(model()(input_ids=tokens).logits, plain)
            with activation_replaced(model(), name, torch.zeros_like):
                assert not torch.allclose(model()(input_ids=tokens).logits, plain)
        assert torch.equal(model()(input_ids=tokens).logits, plain)


def test_sites_are_the_ones_transformer_lens_means_by_their_names() -> None:
    from transformer_lens.model_bridge import TransformerBridge

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "model")
    bridge = TransformerBridge.boot_transformers(
        str(EMBEDDED / "model"), hf_model=load_model(EMBEDDED / "model"), tokenizer=tokenizer
    )
    tokens = held_out_tokens()[:2]
    names = hook_names(4)
    ours = read_activations(model(), tokens, names)
    with torch.no_grad():
        _, cache_ = bridge.run_with_cache(tokens, names_filter=list(names))
    for name in names:
        torch.testing.assert_close(cache_[name], ours[name], rtol=1e-4, atol=1e-5)
