"""Directions that are added to what a site writes: one's own, from a file, or a feature's decoder direction."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.node_names import NodeName, parse_node
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text

FORMATS: Final = (".json", ".npy", ".safetensors")


def decoder_direction(spliced: SplicedModel, feature: str) -> tuple[Float[Tensor, " width"], NodeName]:
    """The direction that a feature writes per unit of its activation, as its SAE has it, and the feature.

    An SAE that normalises its input scales it, at every position, by the activation's own size there.

    Args:
        feature: by name, as in blocks.2.hook_resid_post/368.

    Raises:
        ValueError, LookupError: it is none of the spliced SAEs' features.
    """
    node = parse_node(feature, spliced)
    if node.is_token or node.is_error:
        raise ValueError(f"{feature!r} has no decoder direction: give a feature, as in blocks.2.hook_resid_post/368.")
    return spliced.saes[node.site].W_dec[node.index].detach(), node


def read_direction(path: str | Path) -> Float[Tensor, " width"]:
    """A direction from a file: a JSON list of numbers, a NumPy array (.npy), or the one tensor of a .safetensors file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no vector of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Direction {path}: no such file.")
    if path.suffix not in FORMATS:
        raise ValueError(f"Direction {path}: give a file that ends in {', '.join(FORMATS)}.")
    try:
        values = torch.as_tensor(_content(path), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, SafetensorError, EOFError) as error:
        raise ValueError(f"Direction {path}: it holds no list of numbers ({error}).") from error
    return usable(values.squeeze(), f"Direction {path}")


def usable(values: Tensor, name: str, width: int | None = None) -> Float[Tensor, " width"]:
    """The vector, if it is one of finite numbers that are not all 0, of the given width."""
    if values.ndim != 1 or not bool(values.isfinite().all()):
        raise ValueError(f"{name} must be one vector of finite numbers; it has shape {tuple(values.shape)}.")
    if not bool(values.any()):
        raise ValueError(f"{name} is 0 everywhere: adding it would change nothing.")
    if width is not None and len(values) != width:
        raise ValueError(f"{name} has {len(values)} entries; the site that it is added to is {width} wide.")
    return values


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return parse_json(read_text(path))
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    tensors = load_file(path)
    if len(tensors) != 1:
        raise ValueError(f"{len(tensors)} tensors, where one is meant")
    return next(iter(tensors.values()))
