"""From features to variables: what methods say of single dimensions, summed over the dimensions of one variable.

    effect(v@i) = Σ effects of v's dimensions at i            e(v@i→w@j) = Σ e(u→d) over u in v@i, d in w@j

A sum, because a gradient's first-order statement about dimensions that change together is the sum of its statements
about each; for exact patching, which is not additive, see `exact_variables.py`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attribution import Edges, Effects
from attribution.edges.edges import METRIC_KEY
from attribution.splice.node_keys import node_of_key
from attribution.splice.resuming import TOKENS
from benchmarks.programs.compiled_model import Compiled
from benchmarks.programs.rasp import Place, variables
from benchmarks.programs.truth import METRIC, written_by

Nodes = dict[tuple[int, Place], float]
"""A number for each example and variable."""
Links = dict[tuple[int, Place, Place], float]
"""A number for each example, source and target."""


@dataclass(frozen=True)
class Grouping:
    """Which variable every site and feature belongs to; features of other sites are no variable's."""

    compiled: Compiled
    sites: tuple[str, ...]

    def place(self, site: str, position: int, index: int) -> Place | None:
        """The variable of a node; positions are the model's, BOS at 0. None where no variable is written."""
        if site == TOKENS:
            return Place("tokens", position - 1)
        variable = self.compiled.variable_of[index % self.compiled.model.d_model] if index >= 0 else None
        if variable is None or self.written.get(variable) != site:
            return None
        return Place(variable, position - 1)

    @cached_property
    def written(self) -> dict[str, str]:
        """The site that each computed variable is written at."""
        made = [v.name for v in variables(self.compiled.program.output) if v.inputs]
        return {name: self.sites[written_by(self.compiled, name)] for name in made}

    def places(self, effects: Effects) -> list[Place | None]:
        """The variable of each entry."""
        columns = zip(effects.site.tolist(), effects.position.tolist(), effects.index.tolist(), strict=True)
        return [self.place(effects.sites[site], position, index) for site, position, index in columns]

    def nodes(self, effects: Effects) -> Nodes:
        """Summed effects of every variable."""
        found: Nodes = {}
        for example, place, effect in zip(
            effects.example.tolist(), self.places(effects), effects.effect.tolist(), strict=True
        ):
            if place is not None:
                found[example, place] = found.get((example, place), 0.0) + effect
        return found

    def links(self, example: np.ndarray, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Links:
        """Summed weights of edges between variables; nodes are given by key."""
        found: Links = {}
        for number, *ends, value in zip(*(c.tolist() for c in (example, source, target, weight)), strict=True):
            first, second = (self._place_of_key(key) for key in ends)
            if first is not None and second is not None:
                found[number, first, second] = found.get((number, first, second), 0.0) + value
        return found

    def of_edges(self, edges: Edges) -> Links:
        """As `links`, for edges of a flow."""
        return self.links(edges.example, edges.source, edges.target, edges.weight)

    def _place_of_key(self, key: int) -> Place | None:
        if key == METRIC_KEY:
            return METRIC
        node = node_of_key(key, self.sites)
        return self.place(node.site, node.position, node.index)
