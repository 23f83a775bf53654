"""Faults of one tensor of an SAE, each as the end of a sentence; None if there is no fault."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def shape_fault(name: str, tensor: Tensor, axes: tuple[str, ...], sizes: Mapping[str, int]) -> str | None:
    """A shape other than that of its named axes."""
    expected = tuple(sizes[axis] for axis in axes)
    if tuple(tensor.shape) == expected:
        return None
    return f"{name} has shape {tuple(tensor.shape)}; expected ({', '.join(axes)}) = {expected}"


def number_fault(name: str, tensor: Tensor) -> str | None:
    """Entries that are not finite floating-point numbers."""
    if tensor.dtype not in FLOATS:
        return f"{name} has dtype {tensor.dtype}; expected floating-point numbers of 16, 32 or 64 bits"
    broken = ~torch.isfinite(tensor)
    if not broken.any():
        return None
    first = tuple(broken.nonzero()[0].tolist())
    return (
        f"{name} has {int(broken.sum())} entries that are NaN or infinite, the first at {first}; "
        "expected finite numbers"
    )


def negative_fault(name: str, tensor: Tensor) -> str | None:
    """Entries below zero."""
    if not (tensor < 0).any():
        return None
    return f"{name} has negative entries, the least {tensor.min().item():.6g}; expected every entry >= 0"
