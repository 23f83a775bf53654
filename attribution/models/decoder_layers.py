"""Blocks of Llama's descendants as plain functions, told apart by the modules that they have.

    norms       before attention and MLP (Llama), after them (OLMo 2), both (Gemma 2 and 3, GLM-4), or one for both,
                which then run in parallel (Cohere, Phi, StableLM)
    q, k, v     one projection each, or one for all (Phi-3); a norm of queries and keys by head (Qwen 3, Gemma 3,
                Cohere) or of all heads together (OLMo 2)
    MLP         gated, gate and up in one projection (Phi-3), or any module of one vector: mixtures of experts
    residual    what a part adds may be scaled (Granite)

Sources: the modelling files of transformers 5.
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from attribution.models.plain_blocks import PlainBlock, TensorMap


def inner(module: Any) -> Any:
    """The Hugging Face module inside a bridge's wrappers."""
    while "_original_component" in getattr(module, "_modules", {}) or "_original_component" in vars(module):
        module = module._original_component
    return module


def in_halves(values: Tensor, rotated: int) -> Tensor:
    """Queries or keys whose first `rotated` dimensions pair up neighbours, reordered so that halves pair up."""
    first = values[..., :rotated]
    return torch.cat([first[..., ::2], first[..., 1::2], values[..., rotated:]], -1)


def decoder_layer(block: Any) -> PlainBlock:
    """The block as plain functions.

    Raises:
        AttributeError: it has other modules than those above.
    """
    attention = inner(block.self_attn)
    scale = float(getattr(block, "residual_multiplier", 1.0))
    output = inner(attention.o_proj if hasattr(attention, "o_proj") else attention.dense)
    mlp = _mlp(inner(block.mlp if hasattr(block, "mlp") else block.block_sparse_moe))
    interleaved = type(block).__name__.startswith("Cohere")
    softcap = getattr(attention, "attn_logit_softcapping", None)
    return PlainBlock(
        **_norms(block),
        queries_keys_values=_queries_keys_values(attention, interleaved),
        output=output if scale == 1 else lambda z: scale * output(z),
        mlp=mlp if scale == 1 else lambda x: scale * mlp(x),
        scaling=attention.scaling,
        softcap=softcap,
        window=_window(attention),
        softmax_in=torch.float32,
        interleaved=interleaved,
    )


def _norms(block: Any) -> dict[str, Any]:
    if hasattr(block, "pre_feedforward_layernorm"):  # Gemma 2 and 3
        return {
            "norm": block.input_layernorm,
            "norm_mlp": block.pre_feedforward_layernorm,
            "after_attention": block.post_attention_layernorm,
            "after_mlp": block.post_feedforward_layernorm,
        }
    if hasattr(block, "post_mlp_layernorm"):  # GLM-4
        return {
            "norm": block.input_layernorm,
            "norm_mlp": block.post_attention_layernorm,
            "after_attention": block.post_self_attn_layernorm,
            "after_mlp": block.post_mlp_layernorm,
        }
    if hasattr(block, "post_feedforward_layernorm"):  # OLMo 2
        return {
            "norm": _unchanged,
            "norm_mlp": _unchanged,
            "after_attention": block.post_attention_layernorm,
            "after_mlp": block.post_feedforward_layernorm,
        }
    if getattr(block, "use_parallel_residual", not hasattr(block, "post_attention_layernorm")):  # Cohere, Phi
        return {"norm": block.input_layernorm, "norm_mlp": block.input_layernorm, "parallel": True}
    return {"norm": block.input_layernorm, "norm_mlp": block.post_attention_layernorm}


def _unchanged(x: Tensor) -> Tensor:
    return x


def _window(attention: Any) -> int | None:
    """How many keys a query sees; where a configuration says it for all layers, the layer's own word counts."""
    if hasattr(attention, "sliding_window"):
        return attention.sliding_window
    kinds, number = getattr(attention.config, "layer_types", None), getattr(attention, "layer_idx", None)
    if kinds is not None and number is not None and kinds[number] != "sliding_attention":
        return None
    return getattr(attention.config, "sliding_window", None)


def _queries_keys_values(attention: Any, interleaved: bool) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    head = attention.head_dim
    joint = inner(attention.qkv_proj) if hasattr(attention, "qkv_proj") else None
    parts = [] if joint is not None else [inner(getattr(attention, f"{name}_proj")) for name in "qkv"]
    norms = [_norm_of(attention, name) for name in "qk"]
    groups = attention.config.num_key_value_heads * head

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if joint is None:
            flat = [part(x) for part in parts]
        else:
            together = joint(x)
            flat = list(together.split([together.shape[-1] - 2 * groups, groups, groups], dim=-1))
        for i, norm in enumerate(norms):
            flat[i] = flat[i] if norm is None else norm(flat[i])
        q, k, v = (rearrange(part, "... (h e) -> ... h e", e=head) for part in flat)
        return (in_halves(q, head), in_halves(k, head), v) if interleaved else (q, k, v)

    return queries_keys_values


def _norm_of(attention: Any, name: str) -> TensorMap | None:
    """The norm of queries or keys as a map of all heads together; None without one."""
    found = getattr(attention, f"{name}_norm", None)
    if found is None:
        if getattr(attention, f"{name}_layernorm", None) is not None:
            raise AttributeError(f"{type(attention).__name__} has a norm of queries and keys that is not known here")
        return None
    norm, head = inner(found), attention.head_dim
    if norm.weight.ndim == 1 and norm.weight.numel() != head:
        return norm
    return lambda flat: norm(rearrange(flat, "... (h e) -> ... h e", e=head)).flatten(-2)


def _mlp(mlp: Any) -> TensorMap:
    if all(hasattr(mlp, f"{name}_proj") for name in ("gate", "up", "down")):
        gate, up, down = (inner(getattr(mlp, f"{name}_proj")) for name in ("gate", "up", "down"))
        return lambda x: down(mlp.act_fn(gate(x)) * up(x))

    def any_mlp(x: Tensor) -> Tensor:
        written = mlp(x.reshape(1, -1, x.shape[-1]))
        return (written[0] if isinstance(written, tuple) else written).reshape(x.shape)

    return any_mlp
