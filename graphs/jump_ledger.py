"""JumpLedger: every gate that differs between the clean and the patch run of a pair, and what its flip contributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphs.short_repr import short_repr

_COLUMNS: Final = {
    "example": np.int32,
    "site": np.int16,
    "position": np.int32,
    "index": np.int32,
    "opened": np.bool_,
    "contribution": np.float64,
    "undivided": np.float64,
}


@dataclass(frozen=True)
class JumpLedger:
    """Columns of equal length, one entry per example and flipped gate.

    Attributes:
        sites: names of the sites.
        example, site, position, index: the gate's feature; `site` counts into `sites`.
        opened: True where the gate is closed in the clean run and open in the patch run.
        contribution: J = M(f) · v̄ · Δg: how much the flip changes the metric, in its units.
        undivided: the part of the contribution that the slope cap does not pass on upstream.
        total_effect: m(patch) − m(clean) per example.
        crossings: the α at which each gate crosses its threshold on the real path, increasing; None where they were not
            computed.
    """

    __repr__ = short_repr

    sites: tuple[str, ...]
    example: np.ndarray
    site: np.ndarray
    position: np.ndarray
    index: np.ndarray
    opened: np.ndarray
    contribution: np.ndarray
    undivided: np.ndarray
    total_effect: np.ndarray
    crossings: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def of(cls, parts: Sequence[Mapping[str, np.ndarray]], sites: tuple[str, ...], total: np.ndarray) -> "JumpLedger":
        """Concatenate the columns of several parts; an empty part has no columns."""
        columns: dict[str, Any] = {}
        for name, dtype in _COLUMNS.items():
            columns[name] = np.concatenate([np.empty(0, dtype), *(part[name].astype(dtype) for part in parts if part)])
        return cls(sites=sites, total_effect=total, **columns)

    def __len__(self) -> int:
        return len(self.contribution)

    @property
    def share(self) -> np.ndarray:
        """Each contribution as a share of its example's total effect; infinite where that effect is 0."""
        total = self.total_effect[self.example]
        return np.divide(self.contribution, total, out=np.full(len(self), np.inf), where=total != 0)

    def strongest(self, count: int) -> "JumpLedger":
        """The `count` entries with the largest |contribution|, strongest first."""
        order = np.argsort(-np.abs(self.contribution), kind="stable")[:count]
        columns: dict[str, Any] = {name: getattr(self, name)[order] for name in _COLUMNS}
        crossings = None if self.crossings is None else tuple(self.crossings[n] for n in order)
        return JumpLedger(sites=self.sites, total_effect=self.total_effect, crossings=crossings, **columns)
