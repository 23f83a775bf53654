"""A circuit carries its warnings: planted faults are found by `discover`, and a run without any has none."""

from dataclasses import replace
from functools import cache
from typing import Any

from attribution.dictionaries.kinds.trained_on import TrainedOn
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery.discover import Found, discover, discover_each
from circuits.discovery.selection import Selection
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs

QUICK: dict[str, Any] = {"method": "atp", "select": Selection(nodes=10), "compare": (), "resamples": 0}


@cache
def spliced() -> SplicedModel:
    return SplicedModel(embedded_model(), embedded_saes("topk"))


@cache
def pairs(split: str = "train", count: int = 12) -> PromptPairs:
    return task_pairs("agreement", split, count, 0, spliced().model)


def found(own: PromptPairs, on: SplicedModel | None = None, **options: Any) -> Found:
    return discover(on or spliced(), own, logit_difference, **QUICK, **options)


def test_a_circuit_judged_on_other_pairs_has_no_warnings() -> None:
    assert found(pairs(), splits={"held_out": pairs("held_out")}).warnings == ()


def test_pairs_that_judge_what_they_found_are_a_warning_in_place_of_an_error() -> None:
    own = pairs()
    mixed = PromptPairs((*own.pairs[:5], *pairs("held_out").pairs))
    judged = found(own, splits={"mixed": mixed, "same": own}, validation=own)
    said = {c.about: dict(c.figures) for c in judged.warnings if c.kind == "shared_pairs"}
    assert said["mixed"] == {"shared": 5, "pairs": 17}
    assert said["same"] == said["validation"] == {"shared": 12, "pairs": 12}
    certificate = judged.circuit.certificate
    assert certificate is not None
    assert judged.warnings == certificate.warnings


def test_repeated_and_few_pairs_and_a_foreign_dictionary_are_warnings() -> None:
    own = PromptPairs((*pairs().pairs[:3], pairs()[0]))
    saes = {s: replace(sae, trained_on=TrainedOn("gpt2", s)) for s, sae in spliced().saes.items()}
    kinds = [c.kind for c in found(own, SplicedModel(spliced().model, saes)).warnings]
    assert kinds == ["repeated_pairs", "few_pairs", "other_model"]


def test_a_circuit_of_one_pair_has_no_warnings() -> None:
    (one,) = discover_each(spliced(), PromptPairs(pairs().pairs[:1]), logit_difference, **QUICK)
    assert one.warnings == ()
