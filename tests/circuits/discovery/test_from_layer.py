"""A circuit with the layers below a boundary kept as they are: found and judged there, and judged without them too."""

from functools import cache
from typing import Any

import pytest

from circuits import (
    Selection,
    certificate_lines,
    discover,
    faithfulness_report,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
    trial_of_sites,
)
from graphs import FeatureNode


@cache
def world() -> Any:
    sites = {site: sae for site, sae in load_saes().items() if site.endswith(("resid_post", "attn_out"))}
    return splice(load_model(), sites)


@cache
def pairs(split: str, count: int) -> Any:
    return prompt_pairs("agreement", world().model, split=split, examples=count)


@cache
def circuit() -> Any:
    options: dict[str, Any] = {"compare": (), "explained": 0, "select": Selection(nodes=15, by="iterated")}
    spliced = world().from_layer(2)
    trial = trial_of_sites(spliced, pairs("train", 6), others=pairs("held_out", 4), split="held_out")
    splits = {"held_out": pairs("held_out", 4)}
    return discover(spliced, pairs("train", 6), splits=splits, trial=trial, method="atp", **options).circuit


@pytest.mark.slow
def test_the_circuit_lies_above_and_says_what_is_kept() -> None:
    found = circuit()
    assert found.measurement.from_layer == 2
    assert all(site.startswith(("blocks.2.", "blocks.3.")) for site in found.sites)
    assert any(isinstance(w.node, FeatureNode) for w in found.nodes)
    judged = [line for line in certificate_lines(found) if line.name.startswith("faithfulness")]
    assert len(judged) == 2
    assert all("layers below 2 kept as they are" in line.reading for line in judged)
    assert found.certificate.trial.every.sites == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_both_numbers_are_those_that_are_measured_directly(number: int) -> None:
    found, split = circuit(), ("held_out", "own")[number]
    judging = {split: pairs("held_out", 4) if split == "held_out" else pairs("train", 6)}
    (kept,) = faithfulness_report(world().from_layer(2), judging, logit_difference, found)
    (alone,) = faithfulness_report(world(), judging, logit_difference, found)
    assert found.certificate.faithfulness[number] == kept
    assert found.certificate.alone[number] == alone
    assert kept.m_full == alone.m_full
    assert kept.faithfulness > alone.faithfulness + 0.1
