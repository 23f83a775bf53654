"""Directions that are added to what a site writes: one's own, from a file, or a feature's decoder direction."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Final

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
from graphs.files.typed_content import FileContent, typed

_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError, RuntimeError),
    *(SyntaxError, TokenError, SafetensorError),
)
"""What the readers raise where a file is not what its name says."""


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
        values = FORMATS[path.suffix](path)
    except _UNREADABLE as error:
        raise ValueError(f"Direction {path}: it holds no list of numbers ({error!s:.200}).") from error
    if not values.is_floating_point():
        raise ValueError(f"Direction {path} holds {values.dtype}; expected floating-point numbers.")
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


class _Listed(FileContent):
    numbers: list[float]


def _from_json(path: Path) -> Tensor:
    return torch.tensor(typed(_Listed, {"numbers": parse_json(read_text(path))}).numbers, dtype=torch.float64)


def _from_numpy(path: Path) -> Tensor:
    """Mapped first, so that a header that claims more than the file holds takes no memory."""
    return torch.from_numpy(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))


def _from_safetensors(path: Path) -> Tensor:
    tensors = load_file(path)
    if len(tensors) != 1:
        raise ValueError(f"{len(tensors)} tensors, where one is meant")
    return next(iter(tensors.values()))


FORMATS: Final[Mapping[str, Callable[[Path], Tensor]]] = {
    ".json": _from_json,
    ".npy": _from_numpy,
    ".safetensors": _from_safetensors,
}
"""Reads a file of each kind."""
