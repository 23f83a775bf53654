"""Where a site lies in a Hugging Face model: the module whose input or output is the activation there.

    hook_resid_pre, hook_resid_post      what enters and leaves the block
    hook_attn_out, hook_mlp_out          what attention and the MLP add to the residual stream, after any norm and
                                         scale of their own: post − pre = scale · (attention's + the MLP's output)
    attn.hook_z                          what enters attention's output projection

The two parts are looked for by name first, then among all modules of the block, the outermost first. In both cases
they are taken only if that sum holds in a run; otherwise the block has the sites of the residual stream alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

BLOCK_LISTS: Final = (
    "model.layers",
    "transformer.h",
    "transformer.blocks",
    "transformer.layers",
    "gpt_neox.layers",
    "model.decoder.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "backbone.layers",
)
ATTENTIONS: Final = (
    "post_attention_layernorm",  # a norm after attention: Gemma 2 and 3, OLMo 2
    "post_self_attn_layernorm",
    "post_attention_norm",
    "self_attn",
    "self_attention",
    "attn",
    "attention",
)
MLPS: Final = (
    "post_feedforward_layernorm",
    "post_mlp_layernorm",
    "post_ffw_norm",
    "mlp",
    "ffn",
    "feed_forward",
    "block_sparse_moe",
    "moe",
    "fc2",
)
OUTPUT_PROJECTIONS: Final = ("o_proj", "c_proj", "out_proj", "dense", "wo", "attention.wo", "out_lin")
FINAL_NORMS: Final = (
    "norm",
    "ln_f",
    "norm_f",
    "final_layernorm",
    "final_layer_norm",
    "final_norm",
    "embedding_norm",
    "ln_out",
    "layer_norm",
    "layernorm",
)

_TOLERANCE: Final = 1e-3
"""Of the sum's size: far above rounding, far below what a wrong module does."""


@dataclass(frozen=True)
class Address:
    """A module and which end of it holds the activation; `scale` times it is what the site's name means."""

    module: nn.Module
    end: Literal["input", "output"]
    scale: float = 1.0


def at(root: Any, path: str) -> nn.Module | None:
    """The module at a dotted path; None if there is none."""
    for name in path.split("."):
        root = getattr(root, name, None)
    return root if isinstance(root, nn.Module) else None


def block_list(hf_model: nn.Module, layers: int) -> nn.ModuleList:
    """The blocks: by name, else the one list of `layers` modules of one class that have parameters.

    Raises:
        LookupError: there is no such list, or several.
    """
    for path in BLOCK_LISTS:
        found = at(hf_model, path)
        if isinstance(found, nn.ModuleList) and len(found) == layers:
            return found
    lists = [m for m in hf_model.modules() if isinstance(m, nn.ModuleList) and len(m) == layers]
    alike = [m for m in lists if len({type(block) for block in m}) == 1 and any(True for _ in m.parameters())]
    inside = {inner for found in alike for inner in found.modules() if inner is not found}
    outermost = [found for found in alike if found not in inside]
    if len(outermost) != 1:
        raise LookupError(f"{len(outermost)} of its lists of modules could be its {layers} blocks")
    return outermost[0]


def final_norm(hf_model: nn.Module, blocks: nn.ModuleList) -> nn.Module | None:
    """The norm after the last block: the module so called beside the list of blocks; None if there is none."""
    beside = [m for m in hf_model.modules() if any(child is blocks for child in m.children())]
    names = [norm for parent in beside for name in FINAL_NORMS if (norm := at(parent, name)) is not None]
    return names[0] if names else None


def addresses_of_block(block: nn.Module, run: "BlockRun") -> dict[str, Address]:
    """The sites of one block, by their names within it."""
    found = {"hook_resid_pre": Address(block, "input"), "hook_resid_post": Address(block, "output")}
    parts = _parts(block, run)
    if parts is None:
        return found
    attention, mlp, scale = parts
    found["hook_attn_out"] = Address(attention, "output", scale)
    found["hook_mlp_out"] = Address(mlp, "output", scale)
    projection = _output_projection(block, attention, run)
    if projection is not None:
        found["attn.hook_z"] = Address(projection, "input")
    return found


@dataclass(frozen=True)
class BlockRun:
    """One block in one run: what entered and left it, and what its modules gave, in the order in which they ended."""

    before: Tensor
    after: Tensor
    outputs: Sequence[tuple[nn.Module, Tensor]]
    inputs: Mapping[nn.Module, Tensor]


def _parts(block: nn.Module, run: BlockRun) -> tuple[nn.Module, nn.Module, float] | None:
    """The modules whose outputs are what attention and the MLP add, and the scale of both."""
    added = (run.after - run.before).double()
    wide = [(module, output.double()) for module, output in run.outputs if output.numel() == added.numel()]
    given = {module: output.reshape(added.shape) for module, output in wide if output.shape[-1] == added.shape[-1]}
    for first, second in _candidates(block, list(given)):
        total = given[first] + given[second]
        scale = float((total * added).sum() / (total * total).sum().clamp_min(torch.finfo(total.dtype).tiny))
        scale = 1.0 if abs(scale - 1) < _TOLERANCE else scale
        if torch.linalg.vector_norm(added - scale * total) <= _TOLERANCE * torch.linalg.vector_norm(added):
            return first, second, scale
    return None


def _candidates(block: nn.Module, modules: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of modules by name, then all pairs in the order of the run, the outermost first."""
    for attention in (at(block, name) for name in ATTENTIONS):
        for mlp in (at(block, name) for name in MLPS):
            if attention in modules and mlp in modules and attention is not None and mlp is not None:
                yield attention, mlp
    depth = {module: name.count(".") for name, module in block.named_modules()}
    inside = [m for m in modules if m is not block]
    yield from sorted(combinations(inside, 2), key=lambda pair: depth[pair[0]] + depth[pair[1]])


def _output_projection(block: nn.Module, attention: nn.Module, run: BlockRun) -> nn.Module | None:
    """By name, else the last matrix that ends before attention's output is there and writes vectors as wide."""
    order = [module for module, _ in run.outputs]
    inside = set(attention.modules())
    before = [module for module in order[: order.index(attention) + 1] if _is_matrix(module)]
    names = {module: name for name, module in block.named_modules()}
    fitting = [m for m in before if m in run.inputs and run.inputs[m].shape[:2] == run.before.shape[:2]]
    named = [m for m in fitting if names[m].endswith(OUTPUT_PROJECTIONS)]
    chosen = [m for m in named if m in inside] or named or [m for m in fitting if m in inside]
    return chosen[-1] if chosen else None


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2
