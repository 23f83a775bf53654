"""One of two circuits to compare, with what measures it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from graphs import CircuitGraph, ErrorNode, FeatureNode
from graphs.circuit_graph import refuse_other_than_circuit
from graphs.nodes import EVERYWHERE
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class Side:
    """A circuit to compare.

    Attributes:
        circuit: nodes, edges and effects.
        spliced: the model and the SAEs that it was found on; needed to measure F, and to match features of other SAEs.
        judging: pairs of its task that did not find it; F is measured on them.
        found_on: the pairs that found it; more prompts to match features on.
        name: what it is called in the comparison.

    Examples:
        >>> side = Side(found.circuit, spliced, judging=pairs, name="agreement")
        >>> len(side.circuit.strongest()) <= 20
        True
    """

    __repr__ = short_repr

    circuit: CircuitGraph
    spliced: SplicedModel | None = None
    judging: PromptPairs | None = None
    found_on: PromptPairs | None = None
    name: str = ""

    @classmethod
    def of(cls, given: "CircuitGraph | Side", name: str) -> "Side":
        """What was given, under its own name or this one.

        Raises:
            ValueError: the circuit has neither features nor errors.
        """
        if not isinstance(given, cls):
            refuse_other_than_circuit(given)
        side = cls(given) if isinstance(given, CircuitGraph) else given
        side = replace(side, name=side.name or name)
        if not any(isinstance(w.node, FeatureNode | ErrorNode) for w in side.circuit.nodes):
            raise ValueError(f"The circuit {side.name!r} has no feature and no error: there is nothing to compare.")
        return side

    @property
    def without_positions(self) -> bool:
        """Whether all nodes stand in one column for every position."""
        return [position.label for position in self.circuit.positions] == [EVERYWHERE]

    def hash_of_sae(self, site: str) -> str | None:
        """sha256 of the SAE at a site, from the spliced model or else from the circuit; None if neither says."""
        if self.spliced is not None and site in self.spliced.saes:
            return self.spliced.saes[site].digest()
        known: Any = self.circuit.measurement.inputs.get("hashes")
        return known.get("saes", {}).get(site) if isinstance(known, Mapping) else None

    def prompts(self) -> list[tuple[int, ...]]:
        """Every different clean and patch prompt of its pairs."""
        pairs = [pair for given in (self.found_on, self.judging) if given is not None for pair in given]
        return list(dict.fromkeys(tuple(ids) for pair in pairs for ids in (pair.clean_ids, pair.patch_ids)))
