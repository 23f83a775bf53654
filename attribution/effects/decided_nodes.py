"""Nodes whose effect float64 decides, or marks as undecided (`cones/decided_in_float64.py`)."""

from dataclasses import dataclass, field, replace

import numpy as np

from attribution.effects.effects import GATES, Effects
from attribution.splice.node_keys import NodeColumns


@dataclass(frozen=True)
class DecidedNodes:
    """Nodes whose effect was measured in float64, because rounding could have decided it (`gate_watch.py`).

    Attributes:
        keys: as in `Effects.keys`, sorted.
        closed, opened: their effects with gates that float64 does not decide closed, and open.
        undecided: whether the two differ.
        near: the keys of nodes whose effect rounding could have decided too, and that were not measured again.
    """

    keys: np.ndarray
    closed: np.ndarray
    opened: np.ndarray
    undecided: np.ndarray
    near: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def none(cls) -> "DecidedNodes":
        """No node."""
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool))

    @classmethod
    def of(cls, effects: Effects) -> "DecidedNodes":
        """Those of measured effects, which are sorted."""
        chosen, near = (effects.subset(those) for those in (effects.repeated, effects.gates == GATES.index("near")))
        return cls(chosen.keys(), chosen.effect, chosen.open_effect, chosen.undecided, near.keys())

    def marked(self, effects: Effects) -> Effects:
        """The effects with those of these nodes instead of their own."""
        keys = effects.keys()
        columns, here = self.columns(keys, effects.effect), np.isin(keys, np.concatenate([self.keys, self.near]))
        before = {name: getattr(effects, name) for name in columns}
        return replace(effects, **{name: np.where(here, new, before[name]) for name, new in columns.items()})

    def columns(self, keys: np.ndarray, effect: np.ndarray) -> NodeColumns:
        """The columns `effect`, `gates` and `open_effect` of nodes, `effect` being what was measured first."""
        place = np.searchsorted(self.keys, keys).clip(max=max(len(self.keys) - 1, 0))
        here = self.keys[place] == keys if len(self.keys) else np.zeros(len(keys), bool)
        place = place[here]
        effect, gates = effect.copy(), np.zeros(len(keys), np.int8)
        effect[here] = self.closed[place]
        opened = effect.copy()
        opened[here] = np.where(self.undecided[place], self.opened[place], self.closed[place])
        gates[here] = np.where(self.undecided[place], GATES.index("undecided"), GATES.index("float64"))
        gates[np.isin(keys, self.near)] = GATES.index("near")
        return {"effect": effect, "gates": gates, "open_effect": opened}
