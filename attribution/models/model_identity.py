"""Which model it is: a hash of its weights, and its configuration as plain data.

Kept work is reused only for a model that is the same in both.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch


def digest_of_weights(module: Any) -> str:
    """sha256 over the name, dtype, shape and bytes of every parameter and buffer."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def settings_of(module: Any) -> dict[str, Any]:
    """The configuration as plain data, without names, paths and versions: what equal weights compute depends on it."""
    sources = [vars(module.cfg)]
    config = getattr(getattr(module, "original_model", None), "config", None)
    if config is not None:
        sources.append({**config.to_dict(), "attention": getattr(config, "_attn_implementation", None)})
    unimportant = ("name", "path", "version")
    return {
        f"{number}.{key}": _as_json(value)
        for number, source in enumerate(sources)
        for key, value in source.items()
        if not any(word in key for word in unimportant)
    }


def _as_json(value: Any) -> Any:
    """A setting as JSON holds it. Of a value that JSON cannot hold, only the type's name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    return str(value) if isinstance(value, torch.dtype) else type(value).__name__
