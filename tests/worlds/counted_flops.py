"""FLOPs and operations inside a `with`; torch's own counter of FLOPs cannot be used with several leaves."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Counted(TorchDispatchMode):
    """Counts FLOPs of matrix products in `flops`, and in `operations` all that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += not func.is_view
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out
