"""The positions whose activations an SAE was trained on; at others it is not spliced in."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class TrainedPositions:
    """Every `step`-th position from `start` (BOS counts) up to but not including `stop`; None: to the end."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def mask(self, width: int, device: torch.device | str = "cpu") -> Bool[Tensor, " pos"]:
        """True at these positions of a prompt of `width` tokens."""
        found = torch.zeros(width, dtype=torch.bool, device=device)
        found[slice(self.start, self.stop, self.step)] = True
        return found

    def __str__(self) -> str:
        end = "on" if self.stop is None else f"to {self.stop - 1}"
        return f"positions {self.start} {end}" + (f", every {self.step}" if self.step > 1 else "")


ALL_POSITIONS: Final = TrainedPositions()
