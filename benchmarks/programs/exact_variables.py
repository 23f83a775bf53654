"""Exact patching of whole variables: all dimensions of one variable at one position take their patch values together.

    effect(v@i)   = m(do(all of v@i = patch)) − m(clean)
    e(v@i→w@j)    = m(do(all of w@j = what its encoder makes of it when v@i alone is patched)) − m(clean)
    e(v@i→metric) = m(v@i patched, every other site as in the clean run) − m(clean)

Patching one dimension of a one-hot value leaves no value of the program behind, and the effects of its dimensions do
not add up to the effect of the whole.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution import ErrorMode, PromptPairs, Situation, SplicedModel, counterfactual, prepare
from attribution.chord.stretches import METRIC as METRIC_END
from attribution.cones.exact_engine import effects_of_patches
from attribution.effects.patches import Patches
from attribution.splice.resuming import TOKENS, run_between
from benchmarks.programs.grouping import Grouping, Links, Nodes
from benchmarks.programs.rasp import Place
from benchmarks.programs.truth import METRIC
from circuits import logit_difference


@dataclass(frozen=True)
class ExactVariables:
    """One set of pairs in one error mode, ready to be patched variable by variable."""

    grouping: Grouping
    situation: Situation

    @classmethod
    def of(cls, grouping: Grouping, spliced: SplicedModel, pairs: PromptPairs, mode: ErrorMode) -> "ExactVariables":
        with spliced.model.frozen():
            return cls(grouping, prepare(spliced, pairs.batch(), logit_difference, mode, counterfactual))

    def nodes(self, wanted: list[tuple[int, Place]]) -> Nodes:
        """The effect of every wanted variable, by example and place."""
        found: Nodes = {}
        for site in (TOKENS, *self.situation.spliced.sites):
            here = [(row, place) for row, place in wanted if self._site(place) == site]
            if here:
                effect = self._effects(site, *_columns(here), self._patch_amounts(site, here))
                found |= dict(zip(here, effect.tolist(), strict=True))
        return found

    def links(self, wanted: list[tuple[int, Place, Place]]) -> Links:
        """The weight of every wanted edge, by example, source and target."""
        found: Links = {}
        for ends in dict.fromkeys((self._site(source), self._site(target)) for _, source, target in wanted):
            here = [edge for edge in wanted if (self._site(edge[1]), self._site(edge[2])) == ends]
            with torch.no_grad():
                found |= dict(zip(here, self._edges(*ends, here).tolist(), strict=True))
        return found

    def _site(self, place: Place) -> str:
        if place == METRIC:
            return METRIC_END
        return TOKENS if place.variable == "tokens" else self.grouping.written[place.variable]

    def _effects(self, site: str, row: Tensor, pos: Tensor, amount: Float[Tensor, "patch width"]) -> Tensor:
        every = torch.arange(len(row))
        patches = Patches(site, "feature", row, pos, torch.full_like(row, -1), every, lambda n: amount[n])
        return effects_of_patches(self.situation, patches, every)

    def _patch_amounts(self, site: str, nodes: list[tuple[int, Place]]) -> Float[Tensor, "node width"]:
        """What each variable's patch values add to the site's output."""
        row, pos = _columns(nodes)
        if site == TOKENS:
            entry = self.situation.changes.entry
            assert entry is not None
            return (entry - self.situation.clean.entry)[row, pos]
        patch = self.situation.changes.patch
        assert patch is not None
        new, old = (run.sites[site].features.dense()[row, pos] for run in (patch, self.situation.clean))
        return self._decoded(site, [place for _, place in nodes], new - old)

    def _decoded(self, site: str, places: list[Place], change: Float[Tensor, "node d_sae"]) -> Tensor:
        """What a change of the features of each place's own variable adds to the site's output."""
        variable_of = self.grouping.compiled.variable_of * 2
        own = torch.tensor([[name == place.variable for name in variable_of] for place in places])
        return (change * own) @ self.situation.spliced.saes[site].W_dec

    def _edges(self, source: str, target: str, edges: list[tuple[int, Place, Place]]) -> Float[Tensor, " edge"]:
        situation = self.situation
        clean, sites = situation.clean, situation.spliced.sites
        row, pos = _columns([(row, first) for row, first, _ in edges])
        amount = self._patch_amounts(source, [(row, first) for row, first, _ in edges])
        written = {site: clean.sites[site].output[row].clone() for site in sites}
        entry = clean.entry[row].clone()
        moved = entry if source == TOKENS else written[source]
        moved[torch.arange(len(row)), pos] += amount
        arrived: dict[str, Tensor] = {}
        functions = {site: _Setter(site, output, arrived) for site, output in written.items()}
        logits = run_between(situation.spliced, clean, row, TOKENS, entry, functions, None)
        if target == METRIC_END:
            return situation.metric(logits, situation.batch.rows(row)) - situation.clean_metric[row]
        target_row, target_pos = _columns([(row, second) for row, _, second in edges])
        new = situation.spliced.saes[target].encode(arrived[target][torch.arange(len(row)), target_pos]).features
        old = clean.sites[target].features.dense()[target_row, target_pos]
        change = self._decoded(target, [second for *_, second in edges], new - old)
        return self._effects(target, target_row, target_pos, change)


@dataclass(frozen=True)
class _Setter:
    """Remembers what arrives at a site and writes something else."""

    site: str
    output: Tensor
    arrived: dict[str, Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        self.arrived[self.site] = x
        return self.output


def _columns(nodes: list[tuple[int, Place]]) -> tuple[Int[Tensor, " node"], Int[Tensor, " node"]]:
    """Rows and the model's positions, where BOS is 0."""
    return torch.tensor([row for row, _ in nodes]), torch.tensor([place.position + 1 for _, place in nodes])
