"""Interventions on one feature or one site's error: set, add, scale or ablate it, at some positions or everywhere.

An intervention maps the current value to a new one. An intervention that changes nothing is an error. Positions are
indices into the tokens; -1 is the last of prompts that are equally long.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import index as whole
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graphs.cautions import Caution
from graphs.short_repr import in_brief, short_repr


@dataclass(frozen=True)
class Intervention:
    """Replaces a feature (or the site's error, if `index` is None) by `change(current value)`.

    `change` receives the values at the chosen positions, in their order: [row, position] of a feature,
    [row, position, width] of an error. `positions` None means every spliced position.
    """

    __repr__ = short_repr

    site: str
    index: int | None
    change: Callable[[Tensor], Tensor]
    positions: tuple[int, ...] | None
    label: str

    def __post_init__(self) -> None:
        if self.index is not None:
            _refuse_other_than_whole(self.index, "A feature's index")
        if self.positions is None:
            return
        for position in self.positions:
            _refuse_other_than_whole(position, "A position")
        if not self.positions or len(set(self.positions)) < len(self.positions):
            raise ValueError(f"Positions are named once each, and one at least; got {list(self.positions)}.")

    def applied(
        self,
        features: Float[Tensor, "row pos d_sae"],
        error: Float[Tensor, "row pos width"],
        spliced: Bool[Tensor, "row pos"],
    ) -> tuple[Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]]:
        """Features and error after the intervention; only spliced positions change.

        Raises:
            ValueError: nothing changes.
        """
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

    def places(self, width: int) -> set[int]:
        """Its positions in prompts of so many tokens, counted from 0."""
        return {p % width for p in (range(width) if self.positions is None else self.positions)}

    def __str__(self) -> str:
        where = "everywhere" if self.positions is None else f"at positions {list(self.positions)}"
        node = "error" if self.index is None else str(self.index)
        return f"{self.label} {self.site}/{node} {where}"


def intervened_twice(interventions: Iterable[object], rows: int, width: int) -> tuple[Caution, ...]:
    """A caution for every two interventions of one site on the same node, in prompts of so many rows and positions."""
    found: list[Caution] = []
    own = [(i, i.places(width)) for i in interventions if isinstance(i, Intervention)]
    for (one, here), (other, there) in combinations(own, 2):
        if one.index == other.index and here & there:
            sentence = (
                f"{one} and {other}: both change the same node, and the second acts on what the first wrote. Name a "
                "node once, unless that is meant."
            )
            node = f"{one.site}/{'error' if one.index is None else one.index}"
            found.append(Caution("node_named_twice", node, {"shared": rows, "pairs": rows}, sentence))
    return tuple(found)


Positions = Sequence[int] | None


def set_feature(site: str, index: int, value: float | Tensor, positions: Positions = None) -> Intervention:
    """f := value."""
    _refuse_unfinite(value)
    return Intervention(site, index, lambda f: _like(value, f), _tuple(positions), "set")


def add_to_feature(site: str, index: int, amount: float, positions: Positions = None) -> Intervention:
    """f := f + amount (steering)."""
    _refuse_unfinite(amount)
    return Intervention(site, index, lambda f: f + amount, _tuple(positions), "add to")


def scale_feature(site: str, index: int, factor: float, positions: Positions = None) -> Intervention:
    """f := factor · f."""
    _refuse_unfinite(factor)
    return Intervention(site, index, lambda f: f * factor, _tuple(positions), "scale")


def ablate_feature(site: str, index: int, positions: Positions = None) -> Intervention:
    """f := 0."""
    return Intervention(site, index, lambda f: f * 0, _tuple(positions), "ablate")


def set_error(site: str, value: Tensor, positions: Positions = None) -> Intervention:
    """e := value, broadcast from [width]."""
    _refuse_unfinite(value)
    return Intervention(site, None, lambda e: _like(value, e), _tuple(positions), "set")


def add_to_error(site: str, amount: Tensor, positions: Positions = None) -> Intervention:
    """e := e + amount."""
    _refuse_unfinite(amount)
    return Intervention(site, None, lambda e: e + _like(amount, e), _tuple(positions), "add to")


def scale_error(site: str, factor: float, positions: Positions = None) -> Intervention:
    """e := factor · e."""
    _refuse_unfinite(factor)
    return Intervention(site, None, lambda e: e * factor, _tuple(positions), "scale")


def ablate_error(site: str, positions: Positions = None) -> Intervention:
    """e := 0."""
    return Intervention(site, None, lambda e: e * 0, _tuple(positions), "ablate")


def _tuple(positions: Positions) -> tuple[int, ...] | None:
    if positions is not None and (isinstance(positions, str) or not isinstance(positions, Sequence)):
        raise ValueError(f"Positions are a list of whole numbers, or None for all; got {positions!r}.")
    return None if positions is None else tuple(positions)


def _refuse_other_than_whole(number: Any, what: str) -> None:
    try:
        if isinstance(number, bool):
            raise TypeError
        whole(number)
    except TypeError:
        raise ValueError(f"{what} must be a whole number; got {in_brief(number)}.") from None


def _refuse_unfinite(value: Any) -> None:
    try:
        finite = bool(torch.as_tensor(value).isfinite().all())
    except (TypeError, ValueError, RuntimeError):
        finite = False
    if not finite:
        raise ValueError(f"The value of an intervention must be a finite number or tensor; got {in_brief(value)}.")


def _like(value: float | Tensor, like: Tensor) -> Tensor:
    fresh = like.new_empty(like.shape)
    try:
        fresh[:] = value
    except RuntimeError as error:
        shape = tuple(torch.as_tensor(value).shape)
        raise ValueError(f"A value of shape {shape} cannot be written where {tuple(like.shape)} is needed.") from error
    return fresh
