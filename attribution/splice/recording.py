"""What is recorded of one forward pass of a spliced model: sparse features, errors, outputs, arguments of blocks."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries import Frame
from attribution.dictionaries.kinds.sae import Encoding, places_of
from attribution.models.block_calls import BlockCall
from attribution.splice.gate_rounding import GatesAtThreshold, HeldGates, Keep, as_is
from graphs.short_repr import in_brief, short_repr

ErrorMode = Literal["live", "frozen", "zero", "path"]
"""What a splice adds to its reconstruction; see `spliced_model.py`."""
INTERVENED: Final = ("live", "frozen", "zero")
"""The error modes of runs with interventions; `path` belongs to path methods."""


def refuse_other_mode(error_mode: str, allowed: Sequence[str] = get_args(ErrorMode)) -> None:
    """Raise a ValueError for an error mode that is not among those allowed."""
    if error_mode not in allowed:
        raise ValueError(f"No error mode {in_brief(error_mode)} here. Choose one of: {', '.join(allowed)}.")


def path_mode(error_mode: ErrorMode) -> ErrorMode:
    """The error mode of a path method that is compared with exact patching in `error_mode`: `path` for `frozen`."""
    refuse_other_mode(error_mode)
    return "path" if error_mode == "frozen" else error_mode


@dataclass(frozen=True)
class SparseFeatures:
    """The nonzero features of one site: value[n] is at (row[n], pos[n], index[n]), in increasing order of the three.

    `key` numbers the entries of the dense tensor [row, pos, index] in that order.
    """

    __repr__ = short_repr

    key: Int[Tensor, " active"]
    value: Float[Tensor, " active"]
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, dense: Float[Tensor, "row pos d_sae"], within: Bool[Tensor, "row pos"] | None = None
    ) -> "SparseFeatures":
        """The nonzero entries; with `within`, only those at the positions where it is True."""
        rows, positions, d_sae = dense.shape
        mask = dense.bool()  # dense != 0, ten times faster on a CPU
        if within is not None and not within.all():
            mask &= within[..., None]
        key = places_of(mask.flatten())
        return cls(key, dense.flatten()[key], (rows, positions, d_sae))

    @cached_property
    def place(self) -> Int[Tensor, " active"]:
        """Number of each entry's position, counted through all rows."""
        return self.key // self.shape[2]

    @cached_property
    def row(self) -> Int[Tensor, " active"]:
        return self.place // self.shape[1]

    @cached_property
    def pos(self) -> Int[Tensor, " active"]:
        return self.place % self.shape[1]

    @cached_property
    def index(self) -> Int[Tensor, " active"]:
        return self.key - self.place * self.shape[2]

    @property
    def starts(self) -> Int[Tensor, " place"]:
        """For each position, counted through all rows: where its entries begin."""
        rows, positions, d_sae = self.shape
        return torch.searchsorted(self.key, torch.arange(0, rows * positions * d_sae, d_sae, device=self.key.device))

    def dense(self) -> Float[Tensor, "row pos d_sae"]:
        full = self.value.new_zeros(math.prod(self.shape))
        full[self.key] = self.value
        return full.unflatten(0, self.shape)

    def dense_at(self, row: Int[Tensor, " place"], pos: Int[Tensor, " place"]) -> Float[Tensor, "place d_sae"]:
        """The dense rows at some places, which are in increasing order."""
        wanted = row * self.shape[1] + pos
        full = self.value.new_zeros(len(wanted), self.shape[2])
        if len(wanted):
            number = torch.searchsorted(wanted, self.place).clamp(max=len(wanted) - 1)
            (here,) = torch.nonzero(wanted[number] == self.place, as_tuple=True)
            full[number[here], self.index[here]] = self.value[here]
        return full

    def lookup(
        self, row: Int[Tensor, " node"], pos: Int[Tensor, " node"], index: Int[Tensor, " node"]
    ) -> Float[Tensor, " node"]:
        """Values at the given places; 0 where a feature is inactive."""
        return self.at((row * self.shape[1] + pos) * self.shape[2] + index)

    def at(self, wanted: Int[Tensor, " node"]) -> Float[Tensor, " node"]:
        """Values by key; 0 where a feature is inactive."""
        if len(self.key) == 0:
            return self.value.new_zeros(len(wanted))
        place = torch.searchsorted(self.key, wanted).clamp(max=len(self.key) - 1)
        return torch.where(self.key[place] == wanted, self.value[place], 0)

    @classmethod
    def stacked(cls, parts: Sequence["SparseFeatures"]) -> "SparseFeatures":
        """The rows of all parts, one part after the other."""
        _, positions, d_sae = parts[0].shape
        first = [0, *itertools.accumulate(part.shape[0] for part in parts)]
        keys = [part.key + row * positions * d_sae for part, row in zip(parts, first, strict=False)]
        return cls(torch.cat(keys), torch.cat([part.value for part in parts]), (first[-1], positions, d_sae))


@dataclass(frozen=True)
class FeatureChange:
    """Features of one site that differ between two runs of the same rows, with their old and new values."""

    __repr__ = short_repr

    row: Int[Tensor, " changed"]
    pos: Int[Tensor, " changed"]
    index: Int[Tensor, " changed"]
    old: Float[Tensor, " changed"]
    new: Float[Tensor, " changed"]

    @classmethod
    def between(
        cls, old: SparseFeatures, new: SparseFeatures, within: Bool[Tensor, "row pos"] | None = None
    ) -> "FeatureChange":
        """Features whose values differ. `within` marks the positions that can differ by more than rounding."""
        _, positions, d_sae = old.shape
        keys, place = torch.unique(torch.cat([old.key, new.key]), return_inverse=True)
        values = old.value.new_zeros(2, len(keys))
        values[0, place[: len(old.value)]] = old.value
        values[1, place[len(old.value) :]] = new.value
        differ = values[0] != values[1]
        at = keys // d_sae
        if within is not None:
            differ &= within.flatten()[at]
        if not differ.all():
            keys, values, at = keys[differ], values[:, differ], at[differ]
        return cls(row=at // positions, pos=at % positions, index=keys - at * d_sae, old=values[0], new=values[1])

    def only(self, chosen: Tensor | slice) -> "FeatureChange":
        """Some of the features, in the order of `chosen`."""
        return FeatureChange(*(column[chosen] for column in (self.row, self.pos, self.index, self.old, self.new)))


def number_in_group(key: Int[Tensor, " entry"]) -> Int[Tensor, " entry"]:
    """0, 1, 2, ... within each group of equal keys; keys are sorted."""
    return torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)


@dataclass(frozen=True)
class SiteRecord:
    """One site in one run. Unspliced positions have no features and error 0.

    Attributes:
        arrival: x, the activation that reached the site.
        output: y, what the splice wrote back.
        error: ε = x − D(E(x)); None in `zero` mode.
        frame: the scale and mean by which x was normalised; None if the SAE does not normalise.
        projections: on the encoder's directions, at the positions of `Recording.projected`.
        at_threshold: gates at their threshold (`gate_rounding.py`); None if there are none, and in patched runs.
    """

    __repr__ = short_repr

    arrival: Float[Tensor, "row pos width"]
    output: Float[Tensor, "row pos width"]
    features: SparseFeatures
    error: Float[Tensor, "row pos width"] | None
    frame: Frame | None
    projections: Float[Tensor, "place d_sae"] | None = None
    at_threshold: GatesAtThreshold | None = None

    def keep(self, rows: Int[Tensor, " run"]) -> Keep:
        """What runs that continue these rows in `frozen` or `zero` mode do to the encoding of what arrives here."""
        return as_is if self.at_threshold is None else self.at_threshold.at_rows(rows)

    def followed(self, rows: Int[Tensor, " run"], encoding: Encoding) -> tuple[Encoding, HeldGates | None]:
        """As `keep`, with the gates that keep their state."""
        gates = self.at_threshold
        if gates is None:
            return encoding, None
        return gates.followed(
            encoding, gates.places(rows[:, None], torch.arange(gates.positions, device=rows.device)).flatten()
        )


@dataclass(frozen=True)
class Recording:
    """One run of a batch of prompts.

    Attributes:
        entry: the residual stream into block 0, where tokens act.
        read: the positions at which the logits were read: each row's last, or several of each row.
        logits: at these positions.
        block_inputs, block_calls: what every block received, so that the run can be resumed from any block.
        projected: positions whose projections are kept for the secants of chord IG; None for none.
    """

    __repr__ = short_repr

    ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    spliced: Bool[Tensor, "row pos"]
    logits: Float[Tensor, "row *read vocab"]
    entry: Float[Tensor, "row pos d_model"]
    sites: Mapping[str, SiteRecord]
    block_inputs: tuple[Float[Tensor, "row pos d_model"], ...]
    block_calls: tuple[BlockCall, ...]
    read: Int[Tensor, "row *read"]
    projected: Bool[Tensor, "row pos"] | None = None

    @property
    def gates_at_threshold(self) -> int:
        """How many gates stand at their threshold, within rounding, over all rows (`gate_rounding.py`)."""
        return sum(len(record.at_threshold) for record in self.sites.values() if record.at_threshold is not None)
