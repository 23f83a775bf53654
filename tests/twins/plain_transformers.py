"""Effects by plain transformers: forward hooks on the modules of a Hugging Face GPT-2, the SAE's maths written out.

Knows nothing of the splice, of resuming or of cones: every effect is one whole forward pass.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from attribution.dictionaries import SAE

OnActivation = Callable[[Tensor], Tensor]
MetricOfLogits = Callable[[Tensor], Tensor]
"""Logits [position, vocabulary] of one prompt -> a number."""
Key = tuple[str, int, int]
"""Site, position, feature; −1 for the error."""


def gpt2_of(folder: Path) -> Any:
    """The model of a folder in float64, for `logits`."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def logits(
    hf: Any, ids: Sequence[int], functions: Mapping[str, OnActivation] | None = None, *, gradients: bool = False
) -> Tensor:
    """Logits [position, vocabulary] of one prompt in which functions replace the activations of their sites."""
    with ExitStack() as stack, torch.set_grad_enabled(gradients):
        for site, function in (functions or {}).items():
            stack.callback(_install(hf, site, function).remove)
        return hf(torch.tensor([list(ids)]), use_cache=False).logits[0]


def activations(hf: Any, ids: Sequence[int], sites: Sequence[str]) -> dict[str, Tensor]:
    """The activations [position, width] of one prompt."""
    found: dict[str, Tensor] = {}

    def keeper(site: str) -> OnActivation:
        def keep(x: Tensor) -> Tensor:
            found[site] = x[0].clone()
            return x

        return keep

    logits(hf, ids, {site: keeper(site) for site in sites})
    return found


def effects(
    hf: Any,
    saes: Mapping[str, SAE],
    clean: Sequence[int],
    patch: Sequence[int],
    metric: MetricOfLogits,
    *,
    frozen: bool = False,
    first: int = 1,
) -> dict[Key, float]:
    """m(do(u = its value on the patch prompt)) − m(clean) for every feature and error from position `first` on.

    `frozen`: other sites are spliced in, with the errors of the clean run.
    """
    sites = list(saes)
    old, new = ({s: _read(saes[s], x) for s, x in activations(hf, ids, sites).items()} for ids in (clean, patch))
    before = float(metric(logits(hf, clean)))

    def splicer(site: str, change: tuple[int, Tensor] | None) -> OnActivation:
        def splice(x: Tensor) -> Tensor:
            y = x.clone()
            if frozen:
                features, _ = _read(saes[site], x[0])
                y[0, first:] = (_write(saes[site], features) + old[site][1])[first:]
            if change is not None:
                y[0, change[0]] += change[1]
            return y

        return splice

    found: dict[Key, float] = {}
    for site in sites:
        (f_old, e_old), (f_new, e_new) = old[site], new[site]
        for pos in range(first, len(clean)):
            writes = {(site, pos, -1): e_new[pos] - e_old[pos]}
            for index in torch.nonzero(f_new[pos] != f_old[pos])[:, 0].tolist():
                writes[site, pos, index] = (f_new[pos, index] - f_old[pos, index]) * saes[site].W_dec[index]
            for key, write in writes.items():
                touched = sites if frozen else [site]
                functions = {s: splicer(s, (pos, write) if s == site else None) for s in touched}
                found[key] = float(metric(logits(hf, clean, functions))) - before
    return found


def first_order_effects(
    hf: Any,
    saes: Mapping[str, SAE],
    clean: Sequence[int],
    patch: Sequence[int],
    metric: MetricOfLogits,
    *,
    first: int = 1,
) -> dict[Key, float]:
    """(p − c) · ∂m/∂u of every feature and error in the bare model, from position `first` on."""
    sites = list(saes)
    offsets: dict[str, Tensor] = {}

    def offset(site: str) -> OnActivation:
        def function(x: Tensor) -> Tensor:
            offsets[site] = torch.zeros_like(x).requires_grad_()
            return x + offsets[site]

        return function

    old, new = ({s: _read(saes[s], x) for s, x in activations(hf, ids, sites).items()} for ids in (clean, patch))
    with torch.enable_grad():
        value = metric(logits(hf, clean, {site: offset(site) for site in sites}, gradients=True))
        slopes = dict(zip(sites, torch.autograd.grad(value, [offsets[s] for s in sites]), strict=True))
    found: dict[Key, float] = {}
    for site in sites:
        (f_old, e_old), (f_new, e_new) = old[site], new[site]
        for pos in range(first, len(clean)):
            slope = slopes[site][0, pos]
            found[site, pos, -1] = float((e_new[pos] - e_old[pos]) @ slope)
            for index in torch.nonzero(f_new[pos] != f_old[pos])[:, 0].tolist():
                change = f_new[pos, index] - f_old[pos, index]
                found[site, pos, index] = float(change * (saes[site].W_dec[index] @ slope))
    return found


def _read(sae: SAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and error of activations; the SAE does not normalise."""
    features = sae.encode(x).features
    return features, x - _write(sae, features)


def _write(sae: SAE, features: Tensor) -> Tensor:
    return features @ sae.W_dec + sae.b_dec


def _install(hf: Any, site: str, function: OnActivation) -> Any:
    block = hf.transformer.h[int(site.split(".")[1])]
    part = site.split(".", 2)[2]
    if part == "attn.hook_z":
        return block.attn.c_proj.register_forward_pre_hook(lambda _m, inputs: (function(inputs[0]), *inputs[1:]))
    module = {"hook_resid_post": block, "hook_attn_out": block.attn, "hook_mlp_out": block.mlp}[part]

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        return (function(output[0]), *output[1:]) if isinstance(output, tuple) else function(output)

    return module.register_forward_hook(hook)
