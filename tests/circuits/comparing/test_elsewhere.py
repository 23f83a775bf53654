"""A circuit judged elsewhere: F is that of the report, firing that of a plain loop, and what is undefined says why."""

from functools import cache

import pytest

from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from circuits.comparing.elsewhere import JudgedElsewhere, judge_elsewhere
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from circuits.embedded.load import load_model, load_saes, splice
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.tasks.prompts import prompt_pairs
from graphs import CircuitGraph, FeatureNode

SITES = ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post"]


@cache
def spliced() -> SplicedModel:
    return splice(load_model(), load_saes("topk", sites=SITES))


@cache
def circuit(positions: str) -> CircuitGraph:
    given = {"select": Selection(nodes=12), "method": "atp", "resamples": 0, "compare": (), "explained": 0}
    return discover(spliced(), sets()["train"], logit_difference, positions=positions, **given).circuit


@cache
def sets() -> dict[str, PromptPairs]:
    return {split: prompt_pairs("ioi", spliced().model, split=split, examples=3) for split in ("train", "adversarial")}


@cache
def judged(positions: str) -> JudgedElsewhere:
    return judge_elsewhere(spliced(), circuit(positions), sets(), batch_size=2)


@pytest.mark.parametrize("positions", ["role", "none"])
def test_f_on_each_set_is_that_of_the_faithfulness_report(positions: str) -> None:
    expected = faithfulness_report(spliced(), sets(), logit_difference, circuit(positions))
    for one, other in zip(judged(positions).faithfulness, expected, strict=True):
        assert one.split == other.split
        assert one.faithfulness == pytest.approx(other.faithfulness, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("positions", ["role", "none"])
def test_how_often_a_feature_fires_is_what_a_loop_over_prompts_counts(positions: str) -> None:
    found = {own.name: own for own in judged(positions).fires}
    graph = circuit(positions)
    for weighted in graph.nodes:
        if not isinstance(node := weighted.node, FeatureNode):
            continue
        label = graph.positions[node.position].label
        for name, pairs in sets().items():
            counted, there = 0, False
            for pair in pairs:
                batch = PromptPairs((pair,)).batch()
                active = spliced().record(batch.clean_ids, batch.last).sites[node.site].features
                _, length, width = active.shape
                here = {(int(key) // width % length, int(key) % width) for key in active.key}
                places = [n for n, role in enumerate(pair.roles or ()) if label in (role, "everywhere")]
                there = there or bool(places)
                counted += any((place, node.index) in here for place in places)
            share = found[graph.name(node)].share
            assert share.get(name) == (pytest.approx(counted / len(pairs)) if there else None)


def test_fires_are_ordered_by_the_size_of_the_effect() -> None:
    sizes = [abs(own.effect) for own in judged("none").fires]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes


def test_a_set_on_which_f_is_undefined_says_why_and_the_others_are_measured() -> None:
    row = {"prompt": "the doctor", "answer": "is", "wrong": "are"}  # m(M) = m(∅): its patch prompt is itself
    found = judge_elsewhere(
        spliced(), circuit("none"), {"plain": prompt_pairs([row], spliced().model), "train": sets()["train"]}
    )
    assert [row.split for row in found.faithfulness] == ["train"]
    assert "undefined" in found.missing["plain"]
    with pytest.raises(ValueError, match="No sets: give pairs by the name of their set"):
        judge_elsewhere(spliced(), circuit("none"), {})
