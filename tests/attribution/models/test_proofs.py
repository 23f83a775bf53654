"""What a model must prove at load, and mutants that do not: another weight, the future, a wrong row, other lengths."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.checking.model_report import model_report
from attribution.dictionaries import JumpReLU
from attribution.methods.exact_patching import exact_patching
from attribution.models.block_calls import BlockCall, row_axes
from attribution.models.hooks import logits_with
from attribution.models.language_model import LanguageModel
from attribution.models.prompt_lengths import PromptLengths
from attribution.models.proofs import difference
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from tests.twins import architectures_with_hooks as plain_transformers
from tests.worlds.architectures import ARCHITECTURES, VOCABULARY, Architecture, save_model
from tests.worlds.tiny_models import OnlyBOS, PlainModel, fitting_sae

LLAMA = ARCHITECTURES["Llama"]
SITE = "blocks.0.hook_mlp_out"
SHORT = PromptPair((2, 5, 9, 3, 17), (2, 5, 12, 3, 26), 4, 7)
LONG = PromptPair((2, 5, 9, 3, 17, 8, 11, 2, 6, 20, 13, 7), (2, 5, 12, 3, 26, 8, 11, 2, 6, 20, 13, 7), 4, 7)


def bridge_class() -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge


@pytest.mark.parametrize("weight", ["model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.weight"])
def test_a_bridge_with_one_weight_changed_is_not_used(
    weight: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, LLAMA)
    real = bridge_class().boot_transformers

    def boot(name: str, *, hf_model: Any, **options: Any) -> Any:
        with torch.no_grad():
            hf_model.get_parameter(weight)[0, 0] += 0.1
        return real(name, hf_model=hf_model, **options)

    monkeypatch.setattr(bridge_class(), "boot_transformers", staticmethod(boot))
    with pytest.raises(
        ValueError, match=r"TransformerLens computes other logits than LlamaForCausalLM: they differ by"
    ):
        LanguageModel.load(tmp_path, backend="transformer-lens")
    model = LanguageModel.load(tmp_path)
    assert model.backend == "hugging-face"
    ids = torch.tensor([[2, 5, 9]])
    fresh = model.module.original_model.from_pretrained(tmp_path)
    torch.testing.assert_close(model.logits(ids), fresh(ids).logits, rtol=1e-5, atol=1e-5)


class SeesTheFuture(PlainModel):
    """Position 0 also reads the last position."""

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        logits = super().forward(ids, attention_mask)
        return logits + 0.1 * logits[:, -1:]


class SeesItsNeighbours(PlainModel):
    """Every prompt also reads the next one of its batch."""

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        logits = super().forward(ids, attention_mask)
        return logits + 0.1 * logits.roll(1, 0)


class CountsTokens(PlainModel):
    """Logits are scaled by the length of the batch."""

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return super().forward(ids, attention_mask) * ids.shape[1]


class Overflows(PlainModel):
    """The unembedding gives infinities."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        with torch.no_grad():
            self.unembed.bias[3] = float("inf")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (SeesTheFuture, "is not causal: changing the tokens after a position changes its logits by"),
        (SeesItsNeighbours, "logits change by .* when other prompts stand beside it in the batch"),
        (Overflows, "not finite. The first output that is not is that of 'unembed'"),
    ],
)
def test_a_model_that_is_not_a_left_to_right_model_is_refused(kind: type[PlainModel], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_report(LanguageModel(kind(torch.tanh), OnlyBOS()))


def test_a_model_that_is_said_to_look_both_ways_runs_one_length_at_a_time() -> None:
    model = LanguageModel(SeesTheFuture(torch.tanh), OnlyBOS(), causal=False)
    assert model.lengths == PromptLengths("equal")
    assert model_report(model).lengths == PromptLengths("equal").in_words


def test_the_first_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    model = save_model(tmp_path, LLAMA)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[2, 3] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' has 1 of 384 values"):
        LanguageModel.load(tmp_path)


def test_a_model_that_counts_tokens_is_run_one_length_at_a_time() -> None:
    model = LanguageModel(CountsTokens(torch.tanh), OnlyBOS())
    assert model.lengths == PromptLengths("equal")
    pairs = PromptPairs(
        tuple(PromptPair(p.clean_ids[:n], p.patch_ids[:n], 4, 7) for p in (SHORT, LONG) for n in (4, 5))
    )
    assert [list(part) for part in pairs.cut(8, model.lengths)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_effects_of_prompts_whose_rotary_positions_depend_on_the_length_are_their_own(
    kind: str, tmp_path: Path
) -> None:
    rope = {
        "longrope": {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.5, 4.0]},
        "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    }[kind]
    settings: dict[str, Any] = {"rope_parameters": {**rope, "rope_theta": 1e4, "original_max_position_embeddings": 8}}
    settings["original_max_position_embeddings"] = 8
    if kind == "dynamic":
        settings["max_position_embeddings"] = 8
    architecture = Architecture("llama", {**LLAMA.settings, **settings})
    plain = save_model(tmp_path, architecture)
    x = plain_transformers.activations(plain, architecture, torch.randint(2, VOCABULARY, (8, 7)), (SITE,))[SITE]
    sae = fitting_sae(JumpReLU, x.flatten(0, 1).double(), SITE)
    saes = {SITE: sae.to(device=torch.device("cpu"), dtype=torch.float32)}
    model = LanguageModel.load(tmp_path)
    assert model.lengths == {"longrope": PromptLengths("longrope", 8), "dynamic": PromptLengths("dynamic", 8, 32)}[kind]
    spliced = SplicedModel(model, saes)
    found = exact_patching(spliced, PromptPairs((LONG, SHORT, LONG, SHORT)), logit_difference, batch_size=16)
    for example, pair in enumerate((LONG, SHORT, LONG, SHORT)):
        fresh = plain.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            clean, patch = (fresh(torch.tensor([ids])).logits[0, -1] for ids in (pair.clean_ids, pair.patch_ids))
        total = float((patch[4] - patch[7]) - (clean[4] - clean[7]))
        assert abs(found.total_effect[example] - total) < 1e-4
    assert np.abs(found.effect).max() > 0.01


def test_batches_hold_prompts_that_compute_alike() -> None:
    lengths = [5, 12, 5, 5, 20, 20, 30]
    assert [list(p) for p in PromptLengths().cut(lengths, 4)] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [list(p) for p in PromptLengths("longrope", 8).cut(lengths, 4)] == [[0], [1], [2, 3], [4, 5, 6]]
    assert [list(p) for p in PromptLengths("dynamic", 8).cut(lengths, 4)] == [[0], [1], [2, 3], [4, 5], [6]]
    assert [list(p) for p in PromptLengths("equal").cut(lengths, 1)] == [[n] for n in range(7)]


def test_arguments_of_a_block_are_taken_for_other_rows_along_the_axis_that_holds_them() -> None:
    def call(rows: int) -> BlockCall:
        alibi = torch.arange(rows * 4 * 2).reshape(rows * 4, 1, 2)
        heads = torch.arange(4 * 3).reshape(4, 3)
        turned = torch.arange(6 * rows).reshape(6, rows)
        return BlockCall((alibi,), {"heads": heads, "tables": (turned, torch.zeros(1, 5))})

    axes = row_axes(call(3), call(5), (3, 5))
    assert axes == {"0": (0, 4), "heads": None, "tables.0": (1, 1), "tables.1": None}
    whole = call(3)
    taken = BlockCall(whole.arguments, whole.keywords, axes).for_rows(torch.tensor([2, 0, 2, 2]))
    by_row = whole.arguments[0].unflatten(0, (3, 4))
    assert torch.equal(taken.arguments[0].unflatten(0, (4, 4)), by_row[[2, 0, 2, 2]])
    assert torch.equal(taken.keywords["heads"], whole.keywords["heads"])
    assert torch.equal(taken.keywords["tables"][0], whole.keywords["tables"][0][:, [2, 0, 2, 2]])
    one = call(1)
    alone = BlockCall(one.arguments, one.keywords, axes).for_rows(torch.tensor([0, 0]))
    assert torch.equal(alone.arguments[0].unflatten(0, (2, 4))[1], one.arguments[0])


def test_arguments_that_are_indexed_wrongly_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, ARCHITECTURES["BLOOM"])
    monkeypatch.setattr("attribution.models.proofs.axes_of_blocks", lambda few, *_: tuple({} for _ in few))
    model = LanguageModel.load(tmp_path)
    assert not model.proof.resumes
    assert not model_report(model).resumes


def test_a_hook_that_fires_on_demand_is_asked_in_the_way_it_fires(tmp_path: Path) -> None:
    architecture = ARCHITECTURES["Granite"]
    plain = save_model(tmp_path, architecture)
    ids = torch.tensor([[2, 5, 9, 3]])
    expected = plain_transformers.activations(plain, architecture, ids, ("blocks.0.hook_attn_out",))
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return x

    model = LanguageModel.load(tmp_path, backend="transformer-lens")
    with torch.no_grad():
        logits_with(model, ids, {"blocks.0.hook_attn_out": keep})
    torch.testing.assert_close(seen[0], expected["blocks.0.hook_attn_out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_experts_that_flip_are_no_fault_of_a_site(seed: int, tmp_path: Path) -> None:
    many = {"num_experts": 16, "num_experts_per_tok": 4, "num_hidden_layers": 3}
    settings = {**ARCHITECTURES["OLMoE"].settings, **many}
    architecture = Architecture("olmoe", settings)
    plain = save_model(tmp_path, architecture, seed=seed)
    sites = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
    ids = torch.randint(2, VOCABULARY, (8, 7), generator=torch.Generator().manual_seed(seed))
    x = plain_transformers.activations(plain, architecture, ids, sites)
    saes = {site: fitting_sae(JumpReLU, x[site].flatten(0, 1).double(), site) for site in sites}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SplicedModel(LanguageModel.load(tmp_path), saes).sites == sites


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "t5"}', "is a t5 model, an encoder with a decoder: circuits are found in decoder-only"),
        ('{"model_type": "vit"}', "is a vit model, which transformers cannot open as a causal language model"),
    ],
)
def test_what_is_no_decoder_is_one_sentence(config: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message) as caught:
        LanguageModel.load(tmp_path)
    assert len(str(caught.value)) < 200


def test_the_difference_of_single_logits_is_a_share_of_their_size() -> None:
    expected = torch.tensor([[[-2.0], [1.0]]])
    assert difference(expected + 0.1, expected) == pytest.approx(0.05)
    assert difference(torch.zeros(2, 1), torch.zeros(2, 1)) == 0
