"""Tiny random Hugging Face models of many architectures, and where their sites are, written by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY, WIDTH, HEADS, LAYERS = 32, 16, 4, 2

_SIZES: Final[dict[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
_GROUPED: Final = {**_SIZES, "num_key_value_heads": 2}
_OF_GPT2: Final = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64}
_SCALE: Final = {"initializer_range": 0.3}
_EXPERTS: Final = {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}
_GEMMA: Final = {**_GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 3}
_FALCON: Final = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    **_SCALE,
}


@dataclass(frozen=True)
class Architecture:
    """A kind of model.

    Attributes:
        model_type: Hugging Face's name.
        settings: of its configuration.
        blocks: path of its list of blocks.
        z: path, in a block, of attention's output projection, which z enters.
        attention, mlp: paths of the modules whose outputs, times `scale`, are added to the residual stream.
    """

    model_type: str
    settings: dict[str, Any]
    blocks: str = "model.layers"
    z: str = "self_attn.o_proj"
    attention: str = "self_attn"
    mlp: str = "mlp"
    scale: float = 1.0


def _sandwich(model_type: str, settings: dict[str, Any]) -> "Architecture":
    """Norms after attention and MLP."""
    return Architecture(model_type, settings, attention="post_attention_layernorm", mlp="post_feedforward_layernorm")


ARCHITECTURES: Final[dict[str, Architecture]] = {
    "GPT-2": Architecture("gpt2", {**_OF_GPT2, **_SCALE}, "transformer.h", "attn.c_proj", "attn"),
    "GPT-Neo": Architecture(
        "gpt_neo",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "intermediate_size": 24,
            **_SCALE,
        },
        "transformer.h",
        "attn.attention.out_proj",
        "attn",
    ),
    "GPT-NeoX (Pythia)": Architecture("gpt_neox", _SIZES, "gpt_neox.layers", "attention.dense", "attention"),
    "GPT-J": Architecture("gptj", {**_OF_GPT2, "rotary_dim": 4, **_SCALE}, "transformer.h", "attn.out_proj", "attn"),
    "GPT-BigCode": Architecture("gpt_bigcode", {**_OF_GPT2, **_SCALE}, "transformer.h", "attn.c_proj", "attn"),
    "OPT": Architecture(
        "opt",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "ffn_dim": 24,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": 64,
            "init_std": 0.3,
            "word_embed_proj_dim": WIDTH,
        },
        "model.decoder.layers",
        "self_attn.out_proj",
        mlp="fc2",
    ),
    "BLOOM": Architecture(
        "bloom",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS, **_SCALE},
        "transformer.h",
        "self_attention.dense",
        "self_attention.dense",
        "mlp.dense_4h_to_h",
    ),
    "MPT": Architecture(
        "mpt",
        {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "max_seq_len": 64,
            "expansion_ratio": 2,
            **_SCALE,
        },
        "transformer.blocks",
        "attn.out_proj",
        "attn",
        "ffn.down_proj",
    ),
    "Falcon": Architecture(
        "falcon",
        {**_FALCON, "alibi": False, "multi_query": True, "parallel_attn": True},
        "transformer.h",
        "self_attention.dense",
        "self_attention",
    ),
    "Falcon with ALiBi": Architecture(
        "falcon",
        {**_FALCON, "alibi": True, "multi_query": False, "parallel_attn": False},
        "transformer.h",
        "self_attention.dense",
        "self_attention",
    ),
    "Llama": Architecture("llama", _GROUPED),
    "Mistral": Architecture("mistral", {**_GROUPED, "sliding_window": 3}),
    "Qwen2": Architecture("qwen2", _GROUPED),
    "Qwen3": Architecture("qwen3", {**_GROUPED, "head_dim": 8}),
    "Phi": Architecture("phi", {**_SIZES, "partial_rotary_factor": 0.5}, z="self_attn.dense"),
    "Phi-3": Architecture("phi3", {**_GROUPED, "pad_token_id": 1}),
    "OLMo": Architecture("olmo", _GROUPED),
    "OLMo-2": _sandwich("olmo2", _GROUPED),
    "Gemma": Architecture("gemma", {**_GROUPED, "head_dim": 8}),
    "Gemma-2": _sandwich("gemma2", {**_GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 6.0}),
    "Gemma-3": _sandwich("gemma3_text", {**_GEMMA, "sliding_window_pattern": 2}),
    "Granite": Architecture(
        "granite",
        {
            **_GROUPED,
            "logits_scaling": 4.0,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.3,
        },
        scale=0.5,
    ),
    "StableLM": Architecture("stablelm", {**_GROUPED, "partial_rotary_factor": 0.5}),
    "Cohere": Architecture("cohere", {**_GROUPED, "logit_scale": 0.25}),
    "GLM-4": Architecture(
        "glm4",
        {**_GROUPED, "head_dim": 8, "pad_token_id": 1},
        attention="post_self_attn_layernorm",
        mlp="post_mlp_layernorm",
    ),
    "SmolLM3": Architecture("smollm3", {**_GROUPED, "pad_token_id": 1}),
    "Mixtral": Architecture("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "OLMoE": Architecture("olmoe", _EXPERTS),
    "Qwen3 MoE": Architecture(
        "qwen3_moe", {**_EXPERTS, "head_dim": 8, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
    ),
    "BioGPT": Architecture("biogpt", _SIZES, "biogpt.layers", "self_attn.out_proj", mlp="fc2"),
    "DiffLlama": Architecture("diffllama", _GROUPED),
    "Phi-3.5 MoE": Architecture("phimoe", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
}


def save_model(folder: Path, architecture: Architecture, *, seed: int = 0, **settings: Any) -> Any:
    """A random model with a tokenizer of words; norms and biases are moved away from 1 and 0, so that each counts."""
    torch.manual_seed(seed)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(architecture.model_type, **{**tokens, **architecture.settings, **settings})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(folder)
    words = {"<bos>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, VOCABULARY)}
    rule = Tokenizer(WordLevel(words, unk_token="<unk>"))
    rule.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=rule, bos_token="<bos>", unk_token="<unk>").save_pretrained(folder)
    return model.eval()


def place_of(model: Any, architecture: Architecture, site: str) -> tuple[nn.Module, str, float]:
    """The module at a site, whether its `input` or `output` is the activation, and the factor that belongs to it."""
    _, layer, name = site.split(".", 2)
    block = model.get_submodule(architecture.blocks)[int(layer)]
    if name in ("hook_resid_pre", "hook_resid_post"):
        return block, "input" if name.endswith("pre") else "output", 1.0
    if name == "attn.hook_z":
        return block.get_submodule(architecture.z), "input", 1.0
    path = architecture.attention if name == "hook_attn_out" else architecture.mlp
    return block.get_submodule(path), "output", architecture.scale
