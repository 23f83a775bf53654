"""The architectures whose blocks can be run as plain functions (`plain_blocks.py`), which the cone needs.

From Hugging Face modules, alone or inside a bridge: GPT-2, GPT-Neo, GPT-NeoX, GPT-J, OPT, and every `...DecoderLayer`
with the module names that Llama's descendants share (`decoder_layers.py`). From a HookedTransformer: its weights,
whatever the model. No block is trusted: `cones/plain_run.py` compares each with what the model itself computed.

To add an architecture: a function from its block to a `PlainBlock`, and one line in `BLOCK_CLASSES`.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from einops import rearrange
from torch import Tensor, nn

from attribution.models.decoder_layers import decoder_layer, in_halves, inner
from attribution.models.language_model import LanguageModel
from attribution.models.plain_blocks import PlainBlock, PlainModel, Rotation


class UnknownArchitecture(LookupError):
    """No function here builds the model's blocks."""


def plain_model(model: LanguageModel) -> PlainModel:
    """The blocks of a model as plain functions.

    Raises:
        UnknownArchitecture: no function here builds them. Cones cannot be used; whole runs can.
    """
    try:
        return _of_hugging_face(model) if model.is_bridge else _of_hooked_transformer(model)
    except AttributeError as error:
        raise UnknownArchitecture(str(error)) from None


def _of_hugging_face(model: LanguageModel) -> PlainModel:
    blocks = tuple(_of_hugging_face_block(inner(block)) for block in model.module.blocks)
    modules = list(model.module.original_model.named_modules())
    rotary = [inner(module) for name, module in modules if name.endswith("rotary_emb")]

    def rotation(length: int) -> Rotation:
        probe = torch.zeros(1, 1, dtype=model.dtype, device=model.device)
        try:
            cos, sin = rotary[0](probe, torch.arange(length, device=model.device)[None])
        except (TypeError, AttributeError) as error:
            raise UnknownArchitecture(f"rotary positions that are not one table: {error}") from None
        return cos[0], sin[0]

    if rotary:
        return PlainModel(blocks, rotation)
    tables = [inner(module).embed_positions for _, module in modules if hasattr(inner(module), "embed_positions")]
    gptj = [table for table in tables if isinstance(table, Tensor)]
    return PlainModel(blocks, (lambda length: _gptj_rotation(gptj[0][:length])) if gptj else None)


def _gptj_rotation(table: Tensor) -> Rotation:
    sin, cos = table.chunk(2, dim=-1)
    return torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)


def _gpt2(block: Any) -> PlainBlock:
    attention, mlp = inner(block.attn), inner(block.mlp)
    heads = attention.num_heads
    joint, output, up, down = (inner(m) for m in (attention.c_attn, attention.c_proj, mlp.c_fc, mlp.c_proj))

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
    attention, mlp = inner(block.attention), inner(block.mlp)
    heads = attention.config.num_attention_heads
    joint, output = inner(attention.query_key_value), inner(attention.dense)
    up, down = inner(mlp.dense_h_to_4h), inner(mlp.dense_4h_to_h)

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


def _gpt_neo(block: Any) -> PlainBlock:
    attention, mlp = inner(inner(block.attn).attention), inner(block.mlp)
    up, down = inner(mlp.c_fc), inner(mlp.c_proj)
    return PlainBlock(
        norm=block.ln_1,
        queries_keys_values=_separate(attention, attention.num_heads),
        output=inner(attention.out_proj),
        norm_mlp=block.ln_2,
        mlp=lambda x: down(mlp.act(up(x))),
        scaling=1.0,
        window=attention.config.window_size if attention.attention_type == "local" else None,
        scores_in=torch.float32,
    )


def _gptj(block: Any) -> PlainBlock:
    attention, mlp = inner(block.attn), inner(block.mlp)
    up, down, rotary = inner(mlp.fc_in), inner(mlp.fc_out), attention.pos_embd_dim
    separate = _separate(attention, attention.num_attention_heads)

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = separate(x)
        return in_halves(q, rotary), in_halves(k, rotary), v

    return PlainBlock(
        norm=block.ln_1,
        queries_keys_values=queries_keys_values,
        output=inner(attention.out_proj),
        norm_mlp=block.ln_1,
        mlp=lambda x: down(mlp.act(up(x))),
        scaling=1 / float(attention.scale_attn),
        parallel=True,
        scores_in=torch.float32,
    )


def _opt(block: Any) -> PlainBlock:
    if not block.do_layer_norm_before:
        raise AttributeError("OPT with norms after attention and MLP")
    attention = inner(block.self_attn)
    up, down = inner(block.fc1), inner(block.fc2)
    return PlainBlock(
        norm=block.self_attn_layer_norm,
        queries_keys_values=_separate(attention, attention.num_heads),
        output=inner(attention.out_proj),
        norm_mlp=block.final_layer_norm,
        mlp=lambda x: down(block.activation_fn(up(x))),
        scaling=attention.scaling,
        softmax_in=torch.float32,
    )


def _separate(attention: Any, heads: int) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    parts = [inner(getattr(attention, f"{name}_proj")) for name in "qkv"]

    def queries_keys_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (rearrange(part(x), "... (h e) -> ... h e", h=heads) for part in parts)
        return q, k, v

    return queries_keys_values


BLOCK_CLASSES: Final[dict[str, Callable[[Any], PlainBlock]]] = {
    "GPT2Block": _gpt2,
    "GPTNeoBlock": _gpt_neo,
    "GPTNeoXLayer": _neox,
    "GPTJBlock": _gptj,
    "OPTDecoderLayer": _opt,
}
"""Hugging Face's class of a block -> the function that builds a `PlainBlock` from it."""


def _of_hugging_face_block(block: nn.Module) -> PlainBlock:
    """By the table; any other `...DecoderLayer` is taken for one with Llama's module names."""
    kind = type(block).__name__
    if kind in BLOCK_CLASSES:
        return BLOCK_CLASSES[kind](block)
    if kind.endswith("DecoderLayer"):
        return decoder_layer(block)
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
