"""Circuits of the embedded model to compare: two tasks' worth of pairs, two sets of SAEs."""

from dataclasses import dataclass

import pytest

from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.comparing.side import Side
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs
from graphs import CircuitGraph


@dataclass(frozen=True)
class Trial:
    """Two circuits of one model and SAEs, on the pairs of two seeds, and the pairs that judge them."""

    spliced: SplicedModel
    found_on: tuple[PromptPairs, PromptPairs]
    judging: tuple[PromptPairs, PromptPairs]
    circuits: tuple[CircuitGraph, CircuitGraph]

    def sides(self) -> tuple[Side, Side]:
        one, two = zip(self.circuits, self.judging, self.found_on, ("one", "two"), strict=True)
        return Side(one[0], self.spliced, *one[1:]), Side(two[0], self.spliced, *two[1:])


def circuit_of(spliced: SplicedModel, pairs: PromptPairs, nodes: int = 20) -> CircuitGraph:
    return discover(spliced, pairs, logit_difference, method="atp", select=Selection(nodes=nodes)).circuit


@pytest.fixture(scope="session")
def trial() -> Trial:
    spliced = SplicedModel(embedded_model(), embedded_saes("topk"))
    found_on = _of_both_seeds(spliced, "train")
    one, two = (circuit_of(spliced, pairs) for pairs in found_on)
    return Trial(spliced, found_on, _of_both_seeds(spliced, "held_out"), (one, two))


def _of_both_seeds(spliced: SplicedModel, split: str) -> tuple[PromptPairs, PromptPairs]:
    return task_pairs("agreement", split, 3, 0, spliced.model), task_pairs("agreement", split, 3, 1, spliced.model)
