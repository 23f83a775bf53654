"""Patched runs in which a gate downstream stands within rounding of its threshold: rounding would decide their effect.

    near(run)   some gate of it has |margin| <= K · eps · (|x| · |w| + |b| + |θ|) and a value above that,
                or stood at its threshold in the clean run and has moved by more than half of what it may
                or a search for features (`Pursuit`) was as close to another choice

Only gates that the patch can have changed count, and none that keeps its clean state by the rule of `gate_rounding.py`.
Nothing dense is kept: one flag for each run.

    K = 4    in float32, where a run is near it is repeated in float64
    K = 1    there, of float32's eps: no weight of a file in float32 is known better, so such a gate is undecided
    K = 8    in a model and SAEs that are float64 throughout, of its own eps, for both

Measured on a real model (5 layers, 15 JumpReLU SAEs, patched runs of a pair of 13 tokens), in roundings of a gate's own
terms: margins in float32 are off by 0.3 to 0.75 (root mean square by site), 3 of 10,000 by more than 4, and the gates
that fell wrong stood within 1.6. Margins in float64 move by 0.15 at the most, the largest single one by 1.0, if every
weight is moved by up to half a unit in float32's last place.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.dictionaries.kinds.sae import SAE, Encoding, places_of
from attribution.splice.gate_rounding import EPS, GateRule, HeldGates, decided, gates_within, input_size

NEAR: Final = 4.0
"""Roundings within which a gate of a float32 run is not trusted."""
UNDECIDED: Final = 1.0
"""Roundings of float32 within which float64 does not decide either."""
UNSEEN: Final = -1
"""The number of the run of a vector whose gates do not count."""


@dataclass(frozen=True)
class GateWatch:
    """Watches runs that are executed together.

    Attributes:
        rule: which gates are near.
        decides: near gates fall as the rule says; otherwise by their margin.
        near: the flag of each run, set while they are executed.
        pos: the position of each run's patch.
    """

    rule: GateRule
    decides: bool
    near: Bool[Tensor, " run"]
    pos: Int[Tensor, " run"]

    @classmethod
    def over(cls, rule: GateRule, decides: bool, pos: Int[Tensor, " run"]) -> "GateWatch":
        """A watch over runs with these positions."""
        return cls(rule, decides, torch.zeros_like(pos, dtype=torch.bool), pos)

    def run_of(self, here: Int[Tensor, "run *pos"], spliced: Bool[Tensor, "run *pos"]) -> Int[Tensor, " place"]:
        """The run of every vector at these positions, rows one after the other; `UNSEEN` where no gate counts."""
        each = torch.arange(len(self.pos), device=here.device), self.pos
        run, pos = (own if spliced.ndim == 1 else own[:, None] for own in each)
        return torch.where(spliced & (here >= pos), run, UNSEEN).flatten()

    def seen(
        self,
        sae: SAE,
        x: Float[Tensor, "*batch d_in"],
        encoding: Encoding,
        held: HeldGates | None,
        run: Int[Tensor, " place"],
    ) -> Encoding:
        """The encoding of vectors, with gates that are near decided by the rule if the watch does so."""
        self._flag_loose(held, run)
        self._flag_close_choices(sae, x, encoding, run)
        found = gates_within(sae, x, encoding, self.rule.unit(x, sae), (run != UNSEEN).reshape(x.shape[:-1]))
        if found is None:
            return encoding
        place, index = found[:2]
        new = ~_is_held(place * sae.d_sae + index, held)
        place, index = place[new], index[new]
        self.near[run[place]] = True
        return decided(encoding, place, index, sae.threshold_moves, self.rule.opened) if self.decides else encoding

    def active(
        self,
        sae: SAE,
        x: Float[Tensor, "place d_in"],
        encoding: Encoding,
        held: HeldGates | None,
        run: Int[Tensor, " place"],
    ) -> tuple[Int[Tensor, " open"], Int[Tensor, " open"], Float[Tensor, " open"]]:
        """As `Encoding.active` after `seen`; a gate that is near and closed may be among them, with value 0.

        No further pass over all features is needed: the search for open gates also finds those that are a little below
        their threshold. A moving threshold, of which as many gates must stay open, takes the longer way.
        """
        if encoding.margin is None:
            self._flag_close_choices(sae, x, encoding, run)
            return encoding.active()
        if self.decides and sae.threshold_moves:
            return self.seen(sae, x, encoding, held, run).active()
        self._flag_loose(held, run)
        unit, size = self.rule.unit(x, sae), input_size(sae, x, encoding)
        widest, most = sae.largest_margin_terms
        bound = size.amax() * (unit * widest) + unit * most
        key = places_of((encoding.margin > -bound).flatten())
        place = key.div(sae.d_sae, rounding_mode="floor")
        margin, value = (v.flatten().index_select(0, key) for v in (encoding.margin, encoding.value))
        index, close = key - place * sae.d_sae, places_of(margin <= bound)
        if len(close):
            directions, constants = sae.margin_terms
            at, of, closed = place[close], index[close], margin[close] <= 0
            tolerance = unit * (size[at] * directions[of] + constants[of])
            near = (margin[close].abs() <= tolerance) & (value[close] > tolerance) & (run[at] != UNSEEN)
            near &= ~_is_held(key[close], held)
            self.near[run[at[near]]] = True
            if self.decides:
                closed = torch.where(near, not self.rule.opened, closed)
            value[close[closed]] = 0
        return place, index, value

    def _flag_close_choices(self, sae: SAE, x: Tensor, encoding: Encoding, run: Int[Tensor, " place"]) -> None:
        """Flag the runs in which a search was close to another choice; the one that decides takes it as it falls."""
        if encoding.slack is None or self.decides:
            return
        widest, most = sae.largest_margin_terms
        within = self.rule.unit(x, sae) * (input_size(sae, x, encoding) * widest + most)
        close = run[(encoding.slack <= within).flatten()]
        self.near[close[close != UNSEEN]] = True

    def _flag_loose(self, held: HeldGates | None, run: Int[Tensor, " place"]) -> None:
        if held is not None:
            loose = run[held.loose]
            self.near[loose[loose != UNSEEN]] = True


def watched_by(dtype: torch.dtype) -> GateRule:
    """Which gates of a run are near, by the dtype that it is computed in."""
    return GateRule() if dtype == torch.float64 else GateRule(NEAR, EPS)


def undecided_by(dtype: torch.dtype, *, opened: bool) -> GateRule:
    """Which gates float64 does not decide, by the dtype that weights were used in, and how they fall."""
    return GateRule(opened=opened) if dtype == torch.float64 else GateRule(UNDECIDED, EPS, opened)


def _is_held(key: Int[Tensor, " gate"], held: HeldGates | None) -> Bool[Tensor, " gate"]:
    return torch.zeros_like(key, dtype=torch.bool) if held is None else torch.isin(key, held.key)
