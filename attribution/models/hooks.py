"""The only file that installs hooks: functions on activations, installed by a `with` and removed at its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attribution.models.block_calls import BlockCall
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import ENTRY_SITE

SiteFunction = Callable[[Float[Tensor, "row pos width"]], Float[Tensor, "row pos width"]]


@contextmanager
def hooked(
    model: LanguageModel,
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
) -> Iterator[None]:
    """Inside the `with`, each site's activation is replaced by its function's value; afterwards no hook is left.

    Functions get activations flattened to [row, pos, width]. `enter` acts on the residual stream that enters block 0,
    before a splice there. `blocks` collects each block's input and its other arguments.
    """
    handles: list[Any] = []
    try:
        if enter is not None:
            handles.append(_on_output(model.hook_point(ENTRY_SITE), enter))
        for site, function in functions.items():
            handles.append(_on_output(model.hook_point(site), function))
        if blocks is not None:
            recorder = _block_recorder(blocks)
            handles += [b.register_forward_pre_hook(recorder, with_kwargs=True) for b in model.module.blocks]
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits_with(
    model: LanguageModel,
    ids: Tensor,
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
    cache: Any = None,
) -> Float[Tensor, "row pos vocab"]:
    """One forward pass with the functions installed. With a cache, `ids` continue the text that the cache holds."""
    with hooked(model, functions, enter=enter, blocks=blocks):
        return model.logits(ids, cache)


def logits_at(
    model: LanguageModel,
    ids: Tensor,
    at: Int[Tensor, " row"],
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
) -> Float[Tensor, "row vocab"]:
    """As `logits_with`, but only at position `at[row]` of each row: no other position is unembedded."""
    row = torch.arange(len(at), device=at.device)

    def only(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = arguments
        return (hidden[row, at][:, None], *rest)

    handle = model.module.unembed.register_forward_pre_hook(only)
    try:
        with hooked(model, functions, enter=enter, blocks=blocks):
            logits = model.logits(ids)
    finally:
        handle.remove()
    return logits[:, 0] if logits.shape[1] == 1 else logits[row, at]


def constant(output: Float[Tensor, "row pos width"]) -> SiteFunction:
    """A function that writes `output`, whatever the activation is."""
    return lambda _: output


def _on_output(point: nn.Module, function: SiteFunction) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if output.ndim == 3:
            return function(output)
        return function(output.flatten(2)).reshape(output.shape)

    return point.register_forward_hook(hook)


def _block_recorder(blocks: list[tuple[Tensor, BlockCall]]) -> Callable[..., None]:
    def hook(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if arguments:
            blocks.append((arguments[0], BlockCall(arguments[1:], keywords)))
        else:
            rest = {k: v for k, v in keywords.items() if k != "hidden_states"}
            blocks.append((keywords["hidden_states"], BlockCall((), rest)))

    return hook
