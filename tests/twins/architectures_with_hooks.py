"""Effects of nodes by plain transformers and torch hooks, one forward a node: knows nothing of splices or batches.

live     the model runs as it is; node u moves its site's activation by Δu
frozen   every site writes D(E(x)) + ε_clean
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.dictionaries import SAE
from tests.worlds.architectures import Architecture, place_of

Write = Callable[[Tensor], Tensor]


def logits(model: Any, architecture: Architecture, ids: Tensor, writes: Mapping[str, Write]) -> Tensor:
    """Logits of one run in which each site's activation x [row, pos, width] becomes writes[site](x)."""
    handles: list[Any] = []

    def apply(write: Write, x: Tensor, factor: float) -> Tensor:
        shaped = x if x.ndim == 3 else x.unflatten(0, ids.shape)
        return (write(shaped * factor) / factor).reshape(x.shape).clone()

    for site, write in writes.items():
        module, end, factor = place_of(model, architecture, site)

        def after(_module: Any, _inputs: Any, output: Any, write: Write = write, factor: float = factor) -> Any:
            if isinstance(output, tuple):
                return (apply(write, output[0], factor), *output[1:])
            return apply(write, output, factor)

        def before(_module: Any, inputs: Any, keywords: Any, write: Write = write, factor: float = factor) -> Any:
            if inputs:
                return (apply(write, inputs[0], factor), *inputs[1:]), keywords
            return inputs, {**keywords, "hidden_states": apply(write, keywords["hidden_states"], factor)}

        if end == "output":
            handles.append(module.register_forward_hook(after))
        else:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
    try:
        with torch.no_grad():
            return model(ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def activations(model: Any, architecture: Architecture, ids: Tensor, sites: tuple[str, ...]) -> dict[str, Tensor]:
    """The activation at each site."""
    found: dict[str, Tensor] = {}

    def keeper(site: str) -> Write:
        def write(x: Tensor) -> Tensor:
            found[site] = x.clone()
            return x

        return write

    logits(model, architecture, ids, {site: keeper(site) for site in sites})
    return found


def effects(
    model: Any,
    architecture: Architecture,
    saes: Mapping[str, SAE],
    clean: tuple[int, ...],
    patch: tuple[int, ...],
    answers: tuple[int, int],
    mode: str,
) -> dict[tuple[str, int, int], float]:
    """Effect of each feature that differs, and of each error (index -1), by site, position and index."""
    sites = tuple(saes)
    own, other = torch.tensor([clean]), torch.tensor([patch])
    x, y = activations(model, architecture, own, sites), activations(model, architecture, other, sites)
    f = {s: _encoded(saes[s], x[s]) for s in sites}
    g = {s: _encoded(saes[s], y[s]) for s in sites}
    error = {s: x[s] - f[s] @ saes[s].W_dec - saes[s].b_dec for s in sites}
    there = {s: y[s] - g[s] @ saes[s].W_dec - saes[s].b_dec for s in sites}

    def metric(writes: Mapping[str, Write]) -> float:
        last = logits(model, architecture, own, writes)[0, -1]
        return float(last[answers[0]] - last[answers[1]])

    def writer(site: str, moved: str, position: int, change: Tensor) -> Write:
        def write(arrived: Tensor) -> Tensor:
            out = arrived.clone()
            if mode == "frozen":
                out = _encoded(saes[site], arrived) @ saes[site].W_dec + saes[site].b_dec + error[site]
            if site == moved:
                out[:, position] += change
            return out

        return write

    clean_metric, found = metric({}), dict[tuple[str, int, int], float]()
    for site in sites:
        for position in range(len(clean)):
            differ = torch.nonzero(f[site][0, position] != g[site][0, position])[:, 0].tolist()
            for index in [*differ, -1]:
                change = (there[site] - error[site])[0, position]
                if index >= 0:
                    change = (g[site] - f[site])[0, position, index] * saes[site].W_dec[index]
                moved = sites if mode == "frozen" else (site,)
                writes = {s: writer(s, site, position, change) for s in moved}
                found[site, position, index] = metric(writes) - clean_metric
    return found


def _encoded(sae: SAE, x: Tensor) -> Tensor:
    """JumpReLU features of x: pre-activations above their thresholds."""
    before = x @ sae.W_enc + sae.b_enc  # pyright: ignore[reportAttributeAccessIssue]
    return torch.where(before > sae.threshold, before, 0)  # pyright: ignore[reportAttributeAccessIssue]
