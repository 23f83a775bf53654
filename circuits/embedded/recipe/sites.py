"""Sites of the embedded model: where an SAE reads, and how to read or replace the activation there.

Hook names are those of TransformerLens. They are mapped to the modules of the Hugging Face model, so that training and
evaluation need no other library.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaForCausalLM

SITE_KINDS = ("hook_attn_out", "hook_mlp_out", "hook_resid_post")


def hook_names(layers: int, kinds: Sequence[str] = SITE_KINDS) -> tuple[str, ...]:
    """Hook names of these kinds in every layer, in the order of the forward pass."""
    return tuple(f"blocks.{layer}.{kind}" for layer in range(layers) for kind in kinds)


@contextmanager
def activation_replaced(
    model: LlamaForCausalLM, hook_name: str, change: Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
) -> Iterator[None]:
    """Inside, every forward pass sends the site's activation (batch pos d_model) through `change`."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    handle = _module(model, hook_name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _module(model: LlamaForCausalLM, hook_name: str) -> nn.Module:
    _, layer, kind = hook_name.split(".")
    block = model.model.layers[int(layer)]
    modules = {"hook_attn_out": block.self_attn, "hook_mlp_out": block.mlp, "hook_resid_post": block}
    return modules[kind]


@torch.no_grad()
def read_activations(
    model: LlamaForCausalLM, tokens: Int[Tensor, "batch pos"], names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos d_model"]]:
    """Activations at the named sites, by name."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def change(activation: Tensor) -> Tensor:
            found[name] = activation
            return activation

        return change

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(activation_replaced(model, name, keep(name)))
        model(input_ids=tokens)
    return found
