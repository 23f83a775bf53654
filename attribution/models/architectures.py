"""The architectures whose blocks can be run as plain functions (`plain_blocks.py`), which the cone needs.

From a bridge's Hugging Face modules: GPT-2, GPT-NeoX, Llama (and all with its module names) and Gemma-2, with rotary
positions, grouped queries, soft caps and sliding windows. From a HookedTransformer: its weights, whatever the model.
No block is trusted: `cones/plain_run.py` compares each with what the model itself computed.

To add an architecture: a function from its block to a `PlainBlock`, and one line in `BLOCK_CLASSES`.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from einops import rearrange
from torch import Tensor, nn

from attribution.models.language_model import LanguageModel
from attribution.models.plain_blocks import PlainBlock, PlainModel, Rotation, TensorMap


class UnknownArchitecture(LookupError):
    """No function here builds the model's blocks."""


def plain_model(model: LanguageModel) -> PlainModel:
    """The blocks of a model as plain functions.

    Raises:
        UnknownArchitecture: no function here builds them. Cones cannot be used; whole runs can.
    """
    try:
        return _of_bridge(model) if model.is_bridge else _of_hooked_transformer(model)
    except AttributeError as error:
        raise UnknownArchitecture(str(error)) from None


def _of_bridge(model: LanguageModel) -> PlainModel:
    blocks = tuple(_of_hugging_face_block(_inner(block)) for block in model.module.blocks)
    rotary = [_inner(m) for n, m in model.module.original_model.named_modules() if n.endswith("rotary_emb")]
    if not rotary:
        return PlainModel(blocks, None)

    def rotation(length: int) -> Rotation:
        probe = torch.zeros(1, 1, dtype=model.dtype, device=model.device)
        try:
            cos, sin = rotary[0](probe, torch.arange(length, device=model.device)[None])
        except (TypeError, AttributeError) as error:
            raise UnknownArchitecture(f"rotary positions that are not one table: {error}") from None
        return cos[0], sin[0]

    return PlainModel(blocks, rotation)


def _inner(module: Any) -> Any:
    """The Hugging Face module inside a bridge's wrappers."""
    while "_original_component" in getattr(module, "_modules", {}) or "_original_component" in vars(module):
        module = module._original_component
    return module


def _gpt2(block: Any) -> PlainBlock:
    attention, mlp = _inner(block.attn), _inner(block.mlp)
    heads = attention.num_heads
    joint, output, up, down = (_inner(m) for m in (block.attn.qkv, block.attn.o, mlp.c_fc, mlp.c_proj))

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (rearrange(part, "... (h e) -> ... h e", h=heads) for part in joint(x).chunk(3, dim=-1))
        return q, k, v

    return PlainBlock(
        norm=block.ln_1,
        queries_keys_values=queries_keys_values,
        output=output,
        norm_mlp=block.ln_2,
        mlp=lambda x: down(mlp.act(up(x))),
        scaling=attention.scaling,
    )


def _neox(block: Any) -> PlainBlock:
    attention, mlp = _inner(block.attention), _inner(block.mlp)
    heads = attention.config.num_attention_heads
    joint, output = _inner(block.attention.qkv), _inner(block.attention.o)
    up, down = _inner(mlp.dense_h_to_4h), _inner(mlp.dense_4h_to_h)

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = rearrange(joint(x), "... (h three e) -> three ... h e", h=heads, three=3).unbind(0)
        return q, k, v

    return PlainBlock(
        norm=block.input_layernorm,
        queries_keys_values=queries_keys_values,
        output=output,
        norm_mlp=block.post_attention_layernorm,
        mlp=lambda x: down(mlp.act(up(x))),
        scaling=attention.scaling,
        parallel=block.use_parallel_residual,
    )


def _separate_projections(attention: Any) -> dict[str, Any]:
    """The attention of a block whose queries, keys and values have projections of their own; heads may share keys."""
    head = attention.head_dim
    q, k, v, output = (_inner(getattr(attention, f"{name}_proj")) for name in "qkvo")

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values = (rearrange(part(x), "... (h e) -> ... h e", e=head) for part in (q, k, v))
        return queries, keys, values

    return {
        "queries_keys_values": queries_keys_values,
        "output": output,
        "scaling": attention.scaling,
        "softmax_in": torch.float32,
    }


def _gated_mlp(mlp: Any) -> TensorMap:
    gate, up, down = (_inner(getattr(mlp, f"{name}_proj")) for name in ("gate", "up", "down"))
    return lambda x: down(mlp.act_fn(gate(x)) * up(x))


def _llama(block: Any) -> PlainBlock:
    attention = _inner(block.self_attn)
    return PlainBlock(
        norm=block.input_layernorm,
        norm_mlp=block.post_attention_layernorm,
        mlp=_gated_mlp(_inner(block.mlp)),
        window=getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)),
        **_separate_projections(attention),
    )


def _gemma2(block: Any) -> PlainBlock:
    attention = _inner(block.self_attn)
    return PlainBlock(
        norm=block.input_layernorm,
        norm_mlp=block.pre_feedforward_layernorm,
        mlp=_gated_mlp(_inner(block.mlp)),
        after_attention=block.post_attention_layernorm,
        after_mlp=block.post_feedforward_layernorm,
        softcap=attention.attn_logit_softcapping,
        window=attention.sliding_window,
        **_separate_projections(attention),
    )


BLOCK_CLASSES: Final[dict[str, Callable[[Any], PlainBlock]]] = {
    "GPT2Block": _gpt2,
    "GPTNeoXLayer": _neox,
    "Gemma2DecoderLayer": _gemma2,
}
"""Hugging Face's class of a block -> the function that builds a `PlainBlock` from it."""


def _of_hugging_face_block(block: nn.Module) -> PlainBlock:
    """By the table; any other `...DecoderLayer` is taken for one with Llama's module names."""
    kind = type(block).__name__
    if kind in BLOCK_CLASSES:
        return BLOCK_CLASSES[kind](block)
    if kind.endswith("DecoderLayer"):
        return _llama(block)
    raise UnknownArchitecture(f"blocks of kind {kind}")


def _of_hooked_transformer(model: LanguageModel) -> PlainModel:
    """The blocks of a HookedTransformer, of any architecture it knows: its weights, its own norms and MLPs."""
    cfg = model.module.cfg
    kind = cfg.positional_embedding_type
    if kind not in ("standard", "rotary") or getattr(cfg, "rotary_adjacent_pairs", False):
        raise UnknownArchitecture(f"positions of kind {kind}")
    blocks = tuple(_of_hooked_block(block, cfg) for block in model.module.blocks)
    if kind == "standard":
        return PlainModel(blocks, None)
    attention = model.module.blocks[0].attn
    return PlainModel(blocks, lambda length: (attention.rotary_cos[:length], attention.rotary_sin[:length]))


def _of_hooked_block(block: Any, cfg: Any) -> PlainBlock:
    attention, both_norms = block.attn, getattr(cfg, "use_normalization_before_and_after", False)

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (
            torch.einsum("...d,hde->...he", x, getattr(attention, f"W_{n}")) + getattr(attention, f"b_{n}")
            for n in "QKV"
        )
        return q, k, v

    return PlainBlock(
        norm=block.ln1,
        queries_keys_values=queries_keys_values,
        output=lambda z: z @ attention.W_O.flatten(0, 1) + attention.b_O,
        norm_mlp=block.ln2,
        mlp=lambda x: block.mlp(x.reshape(1, -1, x.shape[-1])).reshape(x.shape),
        scaling=1 / attention.attn_scale,
        after_attention=block.ln1_post if both_norms else None,
        after_mlp=block.ln2_post if both_norms else None,
        parallel=bool(cfg.parallel_attn_mlp),
        softcap=cfg.attn_scores_soft_cap if getattr(cfg, "attn_scores_soft_cap", -1) > 0 else None,
        window=cfg.window_size if attention.attn_type == "local" else None,
    )
