"""Gates that stand at their threshold, within rounding: which way they fall is a rule, not a rounding error.

    τ = K · eps · (|x| · |w| + |b| + |θ|)      of gate d: w its encoder direction, b and θ what its margin adds, K = 8

A gate is *at its threshold* in a recorded run where its margin |μ| <= τ and its value > τ, so that it would jump.

    a recorded run in frozen or zero mode        such a gate is closed, as at μ = 0
    a run that departs from it (patched)         a gate at its threshold in the clean run, and whose margin moves by no
                                                 more than τ, keeps its clean state; every other gate is open where its
                                                 margin is positive
    TopK, in both                                as many of them stay open as torch.topk chose: those of lowest index

So no effect contains a jump that nothing caused, and cones, whole runs and batches of any size agree on such gates,
though they add up in different orders. Everything else is untouched, to the last bit. In `live` mode and on paths SAEs
are read as they are: there the metric meets no gate, or every flip is accounted for.

eps is that of the coarser of the SAE's and the activation's dtype, and of float32 for half precision, whose rounding is
too coarse for a rule to undo. |x| is in the units of the encoder's input, |b_dec| included: that bounds all that is
added up in p. Measured: 1.6 million margins of the embedded model, computed in batches of 1 and 32 and by three
kernels, differ by 0.15 eps of that size (root mean square), 8 at the most; 1 to 4 stand within 8 of their threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE, Encoding, places_of
from graphs.short_repr import short_repr

ROUNDINGS: Final = 8.0
"""K: how many roundings a margin may be from 0, and move, and still count as standing at 0."""

EPS: Final = torch.finfo(torch.float32).eps
"""The rounding that a file's weights are taken to have, unless they are float64."""


@dataclass(frozen=True)
class GateRule:
    """Which gates stand at their threshold, and how they fall.

    Attributes:
        roundings: K; None for `ROUNDINGS`.
        eps: of what; None for the coarser of the SAE's and the activation's dtype.
        opened: such gates are open in a recorded run instead of closed; of TopK's, those of highest index.
    """

    roundings: float | None = None
    eps: float | None = None
    opened: bool = False

    def unit(self, x: Tensor, sae: SAE) -> float:
        """K · eps."""
        eps = _eps(x.dtype, sae.W_enc.dtype) if self.eps is None else self.eps
        return (ROUNDINGS if self.roundings is None else self.roundings) * eps


Keep = Callable[[Encoding], Encoding]
"""What a patched run does to the encoding [run pos d_sae] at a site."""


def as_is(encoding: Encoding) -> Encoding:
    """Where no gate stands at its threshold."""
    return encoding


@dataclass(frozen=True)
class HeldGates:
    """Gates of patched runs that keep the state of the clean run: gate n is number `key[n]` of the flattened encoding.

    `loose` are the vectors in which a gate at its threshold in the clean run moved by more than half of what it may.
    """

    key: Int[Tensor, " gate"]
    loose: Int[Tensor, " moved"]


@dataclass(frozen=True)
class GatesAtThreshold:
    """Gates of one site of a recorded run that stand at their threshold, ordered by place and feature.

    `place` numbers the positions, rows one after the other, `positions` in each row. `margin` is the recorded one.
    """

    __repr__ = short_repr

    place: Int[Tensor, " gate"]
    index: Int[Tensor, " gate"]
    margin: Float[Tensor, " gate"]
    tolerance: Float[Tensor, " gate"]
    positions: int
    moving: bool
    opened: bool = False

    def __len__(self) -> int:
        return len(self.place)

    def places(self, row: Int[Tensor, "..."], pos: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """The numbers of positions of the recorded rows."""
        return row * self.positions + pos

    def at_rows(self, rows: Int[Tensor, " run"]) -> Keep:
        """Keeps the states of runs that continue these rows, at every position."""
        place = self.places(rows[:, None], torch.arange(self.positions, device=rows.device)).flatten()
        return lambda encoding: self.keep(encoding, place)

    def keep(self, encoding: Encoding, place: Int[Tensor, " place"]) -> Encoding:
        """The encoding of patched runs at some places, one a vector, where gates that did not move keep their state."""
        return self.followed(encoding, place)[0]

    def followed(self, encoding: Encoding, place: Int[Tensor, " place"]) -> tuple[Encoding, HeldGates | None]:
        """As `keep`, with the gates that keep their state; None where these places have no gate at its threshold."""
        assert encoding.margin is not None
        place = place.contiguous()
        first, end = (torch.searchsorted(self.place, place, right=right) for right in (False, True))
        count = end - first
        vector = torch.repeat_interleave(torch.arange(len(place), device=place.device), count)
        if not len(vector):
            return encoding, None
        gate = first[vector] + _number_in_group(vector)
        margin = encoding.margin.detach().flatten(0, -2)
        moved, tolerance = (margin[vector, self.index[gate]] - self.margin[gate]).abs(), self.tolerance[gate]
        still = moved <= tolerance
        vectors, index = vector[still], self.index[gate[still]]
        held = HeldGates(vectors * margin.shape[-1] + index, vector[2 * moved > tolerance])
        return decided(encoding, vectors, index, self.moving, self.opened), held

    def tolerances(self, like: Float[Tensor, "row pos d_sae"]) -> Float[Tensor, "row pos d_sae"]:
        """How far each gate at its threshold must at least be moved to flip; 0 elsewhere."""
        found = torch.zeros_like(like).flatten(0, 1)
        found[self.place, self.index] = self.tolerance.to(like.dtype)
        return found.unflatten(0, like.shape[:2])


def settled(
    sae: SAE,
    x: Float[Tensor, "*batch d_in"],
    encoding: Encoding,
    within: Bool[Tensor, "*batch"] | None = None,
    rule: GateRule | None = None,
) -> tuple[Encoding, GatesAtThreshold | None]:
    """A run's own encoding of x with the gates at their threshold decided by the rule, and those gates.

    None where there are none: the encoding is then the one given. `within` are the positions that count.
    """
    found = _at_threshold(sae, x, encoding, within, rule or GateRule())
    if found is None:
        return encoding, None
    return decided(encoding, found.place, found.index, found.moving, found.opened), found


def rounding(sae: SAE, x: Float[Tensor, "*batch d_in"], encoding: Encoding) -> Float[Tensor, "*batch d_sae"]:
    """τ / K of every gate: eps of the size of the terms that its margin is made of."""
    directions, constants = sae.margin_terms
    return _eps(x.dtype, sae.W_enc.dtype) * (input_size(sae, x, encoding)[..., None] * directions + constants)


@torch.no_grad()
def _at_threshold(
    sae: SAE,
    x: Float[Tensor, "*batch d_in"],
    encoding: Encoding,
    within: Bool[Tensor, "*batch"] | None,
    rule: GateRule,
) -> GatesAtThreshold | None:
    found = gates_within(sae, x, encoding, rule.unit(x, sae), within)
    if found is None:
        return None
    place, index, margin, tolerance = found
    return GatesAtThreshold(place, index, margin, tolerance, x.shape[-2], sae.threshold_moves, rule.opened)


@torch.no_grad()
def gates_within(
    sae: SAE,
    x: Float[Tensor, "*batch d_in"],
    encoding: Encoding,
    unit: float,
    within: Bool[Tensor, "*batch"] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Place, feature, margin and tolerance of the gates that would jump and whose |margin| is at most the tolerance.

    That is `unit` · (|x| · |w| + |b| + |θ|). None where there is no such gate.
    """
    if encoding.margin is None:
        return None
    size = input_size(sae, x, encoding)
    margin, (widest, most) = encoding.margin.detach(), sae.largest_margin_terms
    near = margin.abs().amin(-1) <= size * (unit * widest) + unit * most
    place = places_of((near if within is None else near & within).flatten())
    if not len(place):
        return None
    directions, constants = sae.margin_terms
    tolerance = unit * (size.flatten()[place, None] * directions + constants)
    margin, value = (v.flatten(0, -2)[place] for v in (margin, encoding.value.detach()))
    own, index = torch.nonzero((margin.abs() <= tolerance) & (value > tolerance), as_tuple=True)
    return (place[own], index, margin[own, index], tolerance[own, index]) if len(own) else None


def decided(encoding: Encoding, vector: Tensor, index: Tensor, moving: bool, opened: bool = False) -> Encoding:
    """The encoding with some gates closed, or `opened`.

    Of those with a moving threshold as many stay open, by lowest index, or by highest.
    """
    assert encoding.margin is not None
    margin = encoding.margin.detach().flatten(0, -2).clone()
    before, smallest = margin[vector, index], torch.finfo(margin.dtype).tiny
    fallen = torch.full_like(before, smallest if opened and not moving else 0.0)
    if moving:
        group = torch.zeros(len(margin), dtype=torch.long, device=margin.device)
        number_open, size = (group.index_add(0, vector, own.long()) for own in (before > 0, before == before))
        number = _number_in_group(vector)
        number = size[vector] - 1 - number if opened else number
        fallen[number < number_open[vector]] = smallest
    margin[vector, index] = fallen
    return replace(encoding, margin=margin.unflatten(0, encoding.margin.shape[:-1]))


def input_size(sae: SAE, x: Float[Tensor, "*batch d_in"], encoding: Encoding) -> Float[Tensor, "*batch"]:
    """|x| in the units of the encoder's input."""
    size = x.detach().to(sae.W_enc.dtype).norm(dim=-1)
    if encoding.frame is None:
        return size
    scale = encoding.frame.scale.detach()[..., 0]
    return torch.where(scale > 0, size / torch.where(scale > 0, scale, 1), 0)


def _eps(*dtypes: torch.dtype) -> float:
    half = (torch.float16, torch.bfloat16)
    return max(torch.finfo(torch.float32 if dtype in half else dtype).eps for dtype in dtypes)


def _number_in_group(key: Int[Tensor, " entry"]) -> Int[Tensor, " entry"]:
    return torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)
