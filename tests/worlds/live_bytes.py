"""How many bytes of tensors are alive at a time: every storage that an operation makes, until it is freed.

Counts what torch's operations return, saved for a backward pass or not. What a kernel allocates for itself and frees
again is not seen.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Inside the block, `most` has the peak of every stage, in bytes above what was alive when the block began."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.stage = ""
        self.most: dict[str, int] = {}
        self._known = set[int]()

    def enters(self, stage: str) -> None:
        """What follows counts for this stage."""
        self.stage = stage
        self._seen()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        result = func(*args, **(kwargs or {}))
        old = {id(t.untyped_storage()) for t in given}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self._count(tensor, old)
        return result

    def _count(self, tensor: torch.Tensor, old: set[int]) -> None:
        storage = tensor.untyped_storage()
        address = id(storage)
        if address in old or address in self._known:
            return
        size = storage.nbytes()
        self._known.add(address)
        self.alive += size
        self._seen()
        weakref.finalize(storage, self._freed, address, size)

    def _freed(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.alive -= size

    def _seen(self) -> None:
        self.most[self.stage] = max(self.most.get(self.stage, 0), self.alive)
