"""A model that computes in float64 for a while: its own weights, promoted exactly.

Inside the `with`, parameters and buffers are float64 copies, and code that asks for a coarser dtype by name, as the
norms of most models ask for float32, gets float64. Afterwards every parameter and buffer is the tensor it was. The
copies are made on entry and freed on exit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attribution.models.language_model import LanguageModel

_COARSER: Final = (torch.float32, torch.float16, torch.bfloat16)
_CASTS: Final = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


@contextmanager
def in_float64(model: LanguageModel) -> Iterator[None]:
    """Inside the `with`, the model computes in float64. The copies take 8 bytes for each weight.

    Raises:
        ValueError: the model's device has no float64.
    """
    if model.device.type == "mps":
        raise ValueError("This device has no float64, so gates within rounding cannot be decided. Use a CPU or CUDA.")
    parameters, buffers = _coarse_tensors(model)
    old = [(p, p.data) for p in parameters]
    try:
        for parameter in parameters:
            parameter.data = parameter.data.double()
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer.double())
        with _Promoted():
            yield
    finally:
        for parameter, data in old:
            parameter.data = data
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer)


def _coarse_tensors(model: LanguageModel) -> tuple[list[nn.Parameter], list[tuple[nn.Module, str, Tensor]]]:
    """Parameters, each once, and buffers with their modules, of a dtype coarser than float64."""
    modules: dict[int, nn.Module] = {}
    for root in (model.module, getattr(model.module, "original_model", None)):
        if root is not None:
            modules |= {id(module): module for module in root.modules()}
    parameters = {id(p): p for m in modules.values() for p in m.parameters(recurse=False)}
    buffers = [(m, n, b) for m in modules.values() for n, b in m.named_buffers(recurse=False)]
    return (
        [p for p in parameters.values() if p.dtype in _COARSER],
        [(m, n, b) for m, n, b in buffers if b.dtype in _COARSER],
    )


class _Promoted(TorchFunctionMode):
    """Calls of torch functions in which every float dtype that is named is float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _CASTS:
            return args[0].double()
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in _COARSER:
            kwargs["dtype"] = torch.float64
        if any(type(value) is torch.dtype for value in args):
            args = tuple(torch.float64 if type(v) is torch.dtype and v in _COARSER else v for v in args)
        return func(*args, **kwargs)
