"""The only file that installs hooks: functions on activations, installed by a `with` and removed at its end."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attribution.models.addresses import Address
from attribution.models.block_calls import BlockCall, RowAxes
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import ENTRY_SITE, layer_of

SiteFunction = Callable[[Float[Tensor, "row pos width"]], Float[Tensor, "row pos width"]]


@contextmanager
def hooked(
    model: LanguageModel,
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
    recomputed: bool = False,
) -> Iterator[None]:
    """Inside the `with`, each site's activation is replaced by its function's value; afterwards no hook is left.

    Functions get activations flattened to [row, pos, width]. `enter` acts on the residual stream that enters block 0,
    before a splice there. `blocks` collects each block's input and its other arguments. `recomputed`: the gradient
    graph holds what enters each block; a backward executes one block at a time again, and calls its functions again.
    """
    remove: list[Callable[[], None]] = []
    try:
        if blocks is not None:
            recorder = _block_recorder(blocks, model.row_axes)
            remove += [b.register_forward_pre_hook(recorder, with_kwargs=True).remove for b in model.module.blocks]
        asked = ([] if enter is None else [(ENTRY_SITE, enter)]) + list(functions.items())
        axes = _Axes()
        for number in {layer_of(site) for site, _ in asked if site.startswith("blocks.")} & set(range(model.n_layers)):
            block = model.module.blocks[number]
            remove.append(block.register_forward_pre_hook(axes.note(number), with_kwargs=True).remove)
        remove += [m.register_forward_hook(lambda *_: model.forget_patterns()).remove for m in model.keep_patterns]
        acting = [(site, partial(axes.acted, site, function)) for site, function in asked]
        if recomputed:
            acting = [(site, partial(_checkpointed, function)) for site, function in acting]
            remove += [_recompute(model, number, acting) for number in range(model.n_layers)]
        remove.extend(_install(model, site, function) for site, function in acting)
        yield
    finally:
        for undo in reversed(remove):
            undo()
        model.forget_patterns()


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
    at: Int[Tensor, "row *read"],
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
    recomputed: bool = False,
) -> Float[Tensor, "row *read vocab"]:
    """As `logits_with`, but only at the position or positions `at[row]` of each row: no other is unembedded."""
    read = at if at.ndim == 2 else at[:, None]
    row, chosen = torch.arange(len(at), device=at.device)[:, None], False

    def only(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal chosen
        hidden, *rest = arguments
        chosen = True
        return (hidden[row, read], *rest)

    handle = model.module.unembed.register_forward_pre_hook(only)
    try:
        with hooked(model, functions, enter=enter, blocks=blocks, recomputed=recomputed):
            logits = model.logits(ids)
    finally:
        handle.remove()
    logits = logits if chosen else logits[row, read]
    return logits if at.ndim == 2 else logits[:, 0]


def activations_at(
    model: LanguageModel, ids: Int[Tensor, "row pos"], names: Iterable[str]
) -> dict[str, Float[Tensor, "row _ width"]]:
    """What the bare model computes at some hooks, by name: [row, pos, width], and [row, head, places] of patterns.

    Raises:
        ValueError: a hook that does not fire.
    """
    seen: dict[str, Tensor] = {}

    def watcher(name: str) -> SiteFunction:
        def watch(x: Tensor) -> Tensor:
            seen[name] = x
            return x

        return watch

    watchers = {name: watcher(name) for name in names}
    with torch.no_grad():
        logits_at(model, ids, torch.zeros_like(ids[:, 0]), watchers)
    if missing := watchers.keys() - seen.keys():
        raise ValueError(f"{', '.join(sorted(missing))} does not fire on {model.name}.")
    return seen


def constant(output: Float[Tensor, "row pos width"]) -> SiteFunction:
    """A function that writes `output`, whatever the activation is."""
    return lambda _: output


class _Axes:
    """The batch and position axes of each block's input, for activations in which the two are one axis."""

    def __init__(self) -> None:
        self._shapes: dict[int, torch.Size] = {}

    def note(self, layer: int) -> Callable[..., None]:
        """A hook on a block that notes the axes of its input."""

        def hook(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self._shapes[layer] = _entered(arguments, keywords)[0].shape[:2]

        return hook

    def acted(self, site: str, function: SiteFunction, x: Tensor) -> Tensor:
        """`function` on the activation [row, pos, width], in the shape in which it came.

        Raises:
            ValueError: its rows and positions cannot be told apart.
        """
        if x.ndim == 3:
            return function(x)
        if x.ndim > 3:
            return function(x.flatten(2)).reshape(x.shape)
        axes = self._shapes.get(layer_of(site)) if site.startswith("blocks.") else None
        if axes is None or x.ndim < 2 or axes.numel() != len(x):
            raise ValueError(
                f"The activation at {site!r} has shape {tuple(x.shape)}, which is not [batch, position, ...]. "
                "Splice another site."
            )
        return function(x.unflatten(0, axes)).flatten(0, 1)


def _install(model: LanguageModel, site: str, acted: SiteFunction) -> Callable[[], None]:
    """Let `acted` act on the activation at a site; the function returned undoes it."""
    point = model.hook_point(site)

    def act(x: Tensor) -> Tensor:
        return acted(x).clone() if site in model.overwritten else acted(x)

    if isinstance(point, Address):
        return _on_address(point, act)
    if hasattr(point, "add_hook"):
        return _on_hook_point(point, act)

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        return act(output)

    return point.register_forward_hook(hook).remove


def _recompute(model: LanguageModel, number: int, acting: Sequence[tuple[str, SiteFunction]]) -> Callable[[], None]:
    """Let a backward execute a block again, with the functions that act in it; the function returned undoes it."""
    block = model.module.blocks[number]
    forward, own_attributes = block.forward, vars(block)  # a bridge hands attributes on to the module it wraps
    replaced = {name: value for name, value in own_attributes.items() if name == "forward"}
    own = [(site, function) for site, function in acting if layer_of(site) == number]

    def again(*arguments: Any, **keywords: Any) -> Any:
        undo = [_install(model, site, function) for site, function in own]
        try:
            with model.frozen():
                return forward(*arguments, **keywords)
        finally:
            for one in reversed(undo):
                one()
            model.forget_patterns()

    def recomputed(*arguments: Any, **keywords: Any) -> Any:
        runs = iter((forward,))  # the functions are installed now, and no longer when a backward comes
        return _checkpointed(lambda *a, **k: next(runs, again)(*a, **k), *arguments, **keywords)

    def restore() -> None:
        del own_attributes["forward"]
        own_attributes.update(replaced)

    own_attributes["forward"] = recomputed
    return restore


def _checkpointed(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """The function's value; its graph holds the arguments alone, and a backward calls the function again."""
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)


def _on_hook_point(point: Any, acted: SiteFunction) -> Callable[[], None]:
    """By a hook point's own list, which it consults before it computes activations that only hooks ask for."""
    point.add_hook(lambda x, **_: acted(x))
    handle = point.fwd_hooks[-1]

    def undo() -> None:
        handle.hook.remove()
        point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]

    return undo


def _on_address(address: Address, acted: SiteFunction) -> Callable[[], None]:
    def scaled(x: Tensor) -> Tensor:
        return acted(x) if address.scale == 1 else acted(x * address.scale) / address.scale

    def on_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple | list):
            return type(output)((scaled(output[0]), *output[1:]))
        return scaled(output)

    def on_input(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if arguments:
            return (scaled(arguments[0]), *arguments[1:]), keywords
        return arguments, {**keywords, "hidden_states": scaled(keywords["hidden_states"])}

    if address.end == "output":
        return address.module.register_forward_hook(on_output).remove
    return address.module.register_forward_pre_hook(on_input, with_kwargs=True).remove


@dataclass(frozen=True)
class Calls:
    """The first tensor that each module received and returned, in the order in which the modules ended."""

    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)


@contextmanager
def watched(modules: Iterable[nn.Module]) -> Iterator[Calls]:
    """Inside the `with`, notes what some modules receive and return: copies, since some models overwrite outputs."""
    calls, handles = Calls(), list[Any]()

    def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        given = [x for x in (*arguments, *keywords.values()) if isinstance(x, Tensor)]
        returned = output[0] if isinstance(output, tuple | list) and output else output
        if given:
            calls.inputs[module] = given[0].clone()
        if isinstance(returned, Tensor):
            calls.outputs[module] = returned.clone()

    try:
        handles += [module.register_forward_hook(note, with_kwargs=True) for module in modules]
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _block_recorder(blocks: list[tuple[Tensor, BlockCall]], axes: Sequence[RowAxes]) -> Callable[..., None]:
    def hook(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        known = axes[len(blocks)] if len(blocks) < len(axes) else None
        hidden, others, named = _entered(arguments, keywords)
        blocks.append((hidden, BlockCall(others, named, known)))

    return hook


def _entered(
    arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[Tensor, tuple[Any, ...], Mapping[str, Any]]:
    """The hidden state that a block is called with, and its other arguments."""
    if arguments:
        return arguments[0], arguments[1:], keywords
    return keywords["hidden_states"], (), {k: v for k, v in keywords.items() if k != "hidden_states"}
