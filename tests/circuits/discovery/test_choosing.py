"""A search inside `discover`: other pairs choose the size of its circuit, and no pair judges what it found."""

from functools import cache
from typing import Any

import pytest

from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from circuits import KEEP_ONLY, Ablation, ablate, load_model, load_saes, prompt_pairs, splice
from circuits.discovery.discover import Found, discover
from circuits.discovery.selection import Selection
from circuits.selection.pair_parts import split_pairs
from graphs import ErrorNode, FeatureNode


@cache
def world() -> Any:
    sites = {site: sae for site, sae in load_saes().items() if site.endswith("hook_resid_post")}
    return splice(load_model(), sites)


@cache
def parts() -> tuple[PromptPairs, PromptPairs, PromptPairs]:
    held_out = split_pairs(
        prompt_pairs("agreement", world().model, split="held_out", examples=40), validation=0.5, by_words=True
    )
    assert held_out.validation is not None
    return prompt_pairs("agreement", world().model, examples=16), held_out.validation, held_out.train


@cache
def found(positions: str = "auto") -> Found:
    train, validation, judge = parts()
    return discover(
        world(),
        train,
        logit_difference,
        positions=positions,
        validation=validation,
        splits={"held_out": judge},
        resamples=0,
        compare=(),
        explained=0,
    )


@pytest.mark.parametrize("positions", [pytest.param("auto", marks=pytest.mark.slow), "none"])
def test_the_circuit_generalises_and_its_certificate_says_who_chose_its_size(positions: str) -> None:
    circuit = found(positions).circuit
    certificate = circuit.certificate
    assert certificate is not None
    assert certificate.size_choice is not None
    assert [f.split for f in certificate.faithfulness] == ["held_out", "validation", "own"]
    judged, validation, own = certificate.faithfulness
    choice = certificate.size_choice
    assert (choice.split, choice.new_words, choice.reached) == ("validation", True, True)
    assert validation.faithfulness >= 0.78  # pruning costs at most .01
    assert judged.faithfulness > 0.65
    assert own.faithfulness > 0.8
    assert circuit.measurement.ranked_by == "iterated mask path"
    labels = {p.label for p in circuit.positions}
    assert ("everywhere" in labels) == (positions == "none")
    assert ("subject" in labels) == (positions == "auto")


def test_keeping_only_the_circuits_nodes_is_its_faithfulness() -> None:
    circuit, (train, _, _) = found("none").circuit, parts()
    names = [circuit.name(w.node) for w in circuit.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    outcome = ablate(world(), train, logit_difference, Ablation.named(names, world(), train, operation=KEEP_ONLY))
    assert circuit.certificate is not None
    own = next(f for f in circuit.certificate.faithfulness if f.split == "own")
    assert outcome.faithfulness == pytest.approx(own.faithfulness, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"faithful": 0.8, "most": 0}, "At least 1 node"),
        ({"threshold": 0.1, "by": "iterated"}, "belong to a ranking"),
        ({"faithful": 0.8, "by": "luck"}, "No selection 'luck'. Selections: iterated, learned, ranking"),
        ({"share": 0.5, "by": "learned"}, "belong to a ranking"),
        ({"faithful": 0.8, "by": "learned", "drop": 0.1}, "Only the iterated search drops"),
        ({"nodes": 5, "drop": 0.1}, "Only the iterated search drops"),
        ({"faithful": 0.8, "drop": 1.0}, "lies between 0 and 1; got 1.0"),
        ({"faithful": 0.8, "by": "learned", "stable": 0.9}, "Only the iterated search can keep its stable nodes"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**arguments)


@pytest.mark.slow
def test_a_search_for_a_number_of_nodes() -> None:
    train, _, _ = parts()
    circuit = discover(
        world(), train, logit_difference, select=Selection(nodes=20, by="iterated"), compare=(), explained=0
    ).circuit
    members = [w for w in circuit.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    assert len(members) + circuit.measurement.pruned == 20


@pytest.mark.slow
def test_learned_masks_find_a_circuit_that_is_certified_like_any_other() -> None:
    train, validation, judge = parts()
    select = Selection(faithful=0.7, by="learned", seed=2)
    given: dict[str, Any] = {
        "select": select,
        "validation": validation,
        "splits": {"judge": judge},
        "compare": (),
        "explained": 0,
    }
    circuit = discover(world(), train, logit_difference, **given).circuit
    assert circuit.measurement.ranked_by == "learned masks"
    assert circuit.certificate is not None
    size = circuit.certificate.size_choice
    assert size is not None
    assert (size.by, size.split, size.reached) == ("learned masks", "validation", True)
    assert size.faithfulness >= 0.7
    assert "resampled pairs" in (circuit.certificate.missing or {})["stability"]
    assert circuit.certificate.faithfulness[0].split == "judge"


def test_a_smaller_share_is_dropped_in_a_round_where_asked_for() -> None:
    select = Selection(faithful=0.8, drop=0.4)
    assert select.search().keywords["drop"] == 0.4  # pyright: ignore[reportFunctionMemberAccess]
    assert Selection(faithful=0.8).search().keywords["drop"] == 0.15  # pyright: ignore[reportFunctionMemberAccess]


@pytest.mark.parametrize("select", [Selection(faithful=0.8, by="learned"), Selection(faithful=0.8, drop=0.2)])
def test_a_search_takes_no_ranking(select: Selection) -> None:
    train, _, _ = parts()
    with pytest.raises(ValueError, match="ranking"):
        discover(world(), train, logit_difference, select=select, rank_by="atp")
