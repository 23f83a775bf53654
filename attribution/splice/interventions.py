"""Interventions on features and errors: set, add, scale, ablate, at some positions or everywhere.

An intervention is a callable from the current value to the new one. One that changes nothing is an error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Intervention:
    """Replace a feature (or, with `index` None, the site's error) by `change(current value)`.

    `change` sees [row, position] values of the feature, or [row, position, width] of the error, at the chosen
    positions in their order. `positions` None means every spliced position.
    """

    site: str
    index: int | None
    change: Callable[[Tensor], Tensor]
    positions: tuple[int, ...] | None
    label: str

    def applied(
        self,
        features: Float[Tensor, "row pos d_sae"],
        error: Float[Tensor, "row pos width"],
        spliced: Bool[Tensor, "row pos"],
    ) -> tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]]:
        """Features and error afterwards; only spliced positions change. No change at all is an error."""
        old = error if self.index is None else features[..., self.index]
        chosen = list(range(old.shape[1]) if self.positions is None else self.positions)
        new = old.clone()
        new[:, chosen] = self.change(old[:, chosen]).to(old.dtype)
        here = spliced if self.index is not None else spliced[..., None]
        new = torch.where(here, new, old)
        if torch.equal(new, old):
            raise ValueError(
                f"Cannot {self}: it would change nothing. The value there is already what it would be set to"
                + (" (the feature is inactive)." if not old[:, chosen].any() else ".")
            )
        if self.index is None:
            return features, new
        features = features.clone()
        features[..., self.index] = new
        return features, error

    def __str__(self) -> str:
        where = "everywhere" if self.positions is None else f"at positions {list(self.positions)}"
        node = "error" if self.index is None else str(self.index)
        return f"{self.label} {self.site}/{node} {where}"


Positions = Sequence[int] | None


def set_feature(site: str, index: int, value: float | Tensor, positions: Positions = None) -> Intervention:
    """f := value."""
    return Intervention(site, index, lambda f: _like(value, f), _tuple(positions), "set")


def add_to_feature(site: str, index: int, amount: float, positions: Positions = None) -> Intervention:
    """f := f + amount (steering)."""
    return Intervention(site, index, lambda f: f + amount, _tuple(positions), "add to")


def scale_feature(site: str, index: int, factor: float, positions: Positions = None) -> Intervention:
    """f := factor · f."""
    return Intervention(site, index, lambda f: f * factor, _tuple(positions), "scale")


def ablate_feature(site: str, index: int, positions: Positions = None) -> Intervention:
    """f := 0."""
    return Intervention(site, index, lambda f: f * 0, _tuple(positions), "ablate")


def set_error(site: str, value: Tensor, positions: Positions = None) -> Intervention:
    """e := value, broadcast from [width]."""
    return Intervention(site, None, lambda e: _like(value, e), _tuple(positions), "set")


def add_to_error(site: str, amount: Tensor, positions: Positions = None) -> Intervention:
    """e := e + amount."""
    return Intervention(site, None, lambda e: e + amount, _tuple(positions), "add to")


def scale_error(site: str, factor: float, positions: Positions = None) -> Intervention:
    """e := factor · e."""
    return Intervention(site, None, lambda e: e * factor, _tuple(positions), "scale")


def ablate_error(site: str, positions: Positions = None) -> Intervention:
    """e := 0."""
    return Intervention(site, None, lambda e: e * 0, _tuple(positions), "ablate")


def _tuple(positions: Positions) -> tuple[int, ...] | None:
    return None if positions is None else tuple(positions)


def _like(value: float | Tensor, like: Tensor) -> Tensor:
    fresh = like.new_empty(like.shape)
    fresh[:] = value
    return fresh
