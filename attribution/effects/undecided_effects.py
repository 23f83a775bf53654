"""The undecided among measured effects, as the certificate and the verdict list them."""

import numpy as np

from attribution.effects.effects import GATES, Effects
from attribution.splice.node_keys import KINDS
from graphs import ErrorNode, FeatureNode, TokenNode
from graphs.undecided import EffectsInRounding, UndecidedEffect

LISTED = 100
"""Most undecided effects that are listed."""


def effects_in_rounding(effects: Effects) -> EffectsInRounding | None:
    """How many effects rounding could have decided, and what became of them; None where there is none."""
    repeated, near = int(effects.repeated.sum()), int((effects.gates == GATES.index("near")).sum())
    if not repeated + near:
        return None
    listed = undecided_effects(effects)
    return EffectsInRounding(repeated, len(listed), listed[:LISTED], near)


def undecided_effects(effects: Effects) -> tuple[UndecidedEffect, ...]:
    """All undecided effects, those whose two values are furthest apart first; positions are those of the prompt."""
    chosen = np.flatnonzero(effects.undecided)
    apart = np.abs(effects.open_effect - effects.effect)[chosen]
    return tuple(_undecided(effects, n) for n in chosen[np.argsort(-apart, kind="stable")].tolist())


def _undecided(effects: Effects, n: int) -> UndecidedEffect:
    site, position, index = effects.sites[effects.site[n]], int(effects.position[n]), int(effects.index[n])
    nodes = {"token": TokenNode(position), "error": ErrorNode(site, position)}
    node = nodes.get(KINDS[effects.kind[n]], FeatureNode(site, position, index))
    return UndecidedEffect(node, int(effects.example[n]), float(effects.effect[n]), float(effects.open_effect[n]))
