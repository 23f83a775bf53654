"""Transformer blocks as plain functions of activations at chosen positions, without hooks: what the cone runs.

    x -> norm -> q, k, v -> attention -> z -> output [-> norm] = a        mid = x + a
                                       mid -> norm -> MLP [-> norm] = m   out = mid + m

A parallel block feeds its MLP from x. Built from the model's own modules for GPT-2, GPT-NeoX, Llama (and what has its
module names) and Gemma-2, with rotary positions, grouped queries, soft caps and sliding windows; and from the weights
of a HookedTransformer. Nothing is taken on trust: `plain_run.py` compares every block with what the model computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from attribution.models.language_model import LanguageModel

Map = Callable[[Tensor], Tensor]
Rotation = tuple[Float[Tensor, "*pos rotated"], Float[Tensor, "*pos rotated"]]


class UnknownArchitecture(LookupError):
    """The model's blocks are not of a kind that is known here."""


@dataclass(frozen=True)
class PlainBlock:
    """One block. Maps act on the last axis; queries, keys and values come as [..., head, d_head], not yet rotated.

    `softmax_in` is the dtype of the attention pattern's softmax, None for that of the scores.
    """

    norm: Map
    queries_keys_values: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    output: Map
    norm_mlp: Map
    mlp: Map
    scaling: float
    after_attention: Map | None = None
    after_mlp: Map | None = None
    parallel: bool = False
    softcap: float | None = None
    window: int | None = None
    softmax_in: torch.dtype | None = None

    def mlp_written(
        self, x: Float[Tensor, "*places d_model"], attention: Float[Tensor, "*places d_model"]
    ) -> Float[Tensor, "*places d_model"]:
        """What the MLP writes, before its site and a norm, given the block's input and what attention added."""
        return self.mlp(self.norm_mlp(x if self.parallel else x + attention))

    def norm_after(self, part: str) -> Map | None:
        """The norm between a part (`hook_attn_out`, `hook_mlp_out`) and the residual stream; None where none is."""
        return self.after_attention if part == "hook_attn_out" else self.after_mlp


@dataclass(frozen=True)
class PlainModel:
    """All blocks, and the rotation of queries and keys at each position (None without rotary positions)."""

    blocks: tuple[PlainBlock, ...]
    rotation: Callable[[int], Rotation] | None


def rotated(values: Float[Tensor, "*batch pos head d_head"], rotation: Rotation | None) -> Tensor:
    """Queries or keys with the first dimensions of each head rotated by position, in halves."""
    if rotation is None:
        return values
    cos, sin = (part[..., None, :].to(values.dtype) for part in rotation)
    size = cos.shape[-1]
    half, turned = size // 2, values[..., :size] * cos
    turned[..., :half] -= values[..., half:size] * sin[..., :half]
    turned[..., half:] += values[..., :half] * sin[..., half:]
    return turned if size == values.shape[-1] else torch.cat([turned, values[..., size:]], -1)


def plain_model(model: LanguageModel) -> PlainModel:
    """The blocks of a model; one of an unknown architecture is an `UnknownArchitecture` error."""
    try:
        return _of_bridge(model) if model.is_bridge else _hooked(model)
    except AttributeError as error:
        raise UnknownArchitecture(str(error)) from None


def _of_bridge(model: LanguageModel) -> PlainModel:
    blocks = tuple(_bridged(_inner(block)) for block in model.module.blocks)
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
    """The module that a bridge wraps, itself unwrapped."""
    while "_original_component" in getattr(module, "_modules", {}) or "_original_component" in vars(module):
        module = module._original_component
    return module


def _bridged(block: nn.Module) -> PlainBlock:
    kind = type(block).__name__
    makers = {"GPT2Block": _gpt2, "GPTNeoXLayer": _neox, "Gemma2DecoderLayer": _gemma2}
    if kind in makers:
        return makers[kind](block)
    if kind.endswith("DecoderLayer"):
        return _llama(block)
    raise UnknownArchitecture(f"blocks of kind {kind}")


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


def _separate(attention: Any) -> dict[str, Any]:
    """Queries, keys and values from projections of their own, of which keys and values may be shared by heads."""
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


def _gated(mlp: Any) -> Map:
    gate, up, down = (_inner(getattr(mlp, f"{name}_proj")) for name in ("gate", "up", "down"))
    return lambda x: down(mlp.act_fn(gate(x)) * up(x))


def _llama(block: Any) -> PlainBlock:
    attention = _inner(block.self_attn)
    return PlainBlock(
        norm=block.input_layernorm,
        norm_mlp=block.post_attention_layernorm,
        mlp=_gated(_inner(block.mlp)),
        window=getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None)),
        **_separate(attention),
    )


def _gemma2(block: Any) -> PlainBlock:
    attention = _inner(block.self_attn)
    return PlainBlock(
        norm=block.input_layernorm,
        norm_mlp=block.pre_feedforward_layernorm,
        mlp=_gated(_inner(block.mlp)),
        after_attention=block.post_attention_layernorm,
        after_mlp=block.post_feedforward_layernorm,
        softcap=attention.attn_logit_softcapping,
        window=attention.sliding_window,
        **_separate(attention),
    )


def _hooked(model: LanguageModel) -> PlainModel:
    """Blocks of a HookedTransformer, from its weights and its own norms and MLPs."""
    cfg = model.module.cfg
    kind = cfg.positional_embedding_type
    if kind not in ("standard", "rotary") or getattr(cfg, "rotary_adjacent_pairs", False):
        raise UnknownArchitecture(f"positions of kind {kind}")
    blocks = tuple(_hooked_block(block, cfg) for block in model.module.blocks)
    if kind == "standard":
        return PlainModel(blocks, None)
    attention = model.module.blocks[0].attn
    return PlainModel(blocks, lambda length: (attention.rotary_cos[:length], attention.rotary_sin[:length]))


def _hooked_block(block: Any, cfg: Any) -> PlainBlock:
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
