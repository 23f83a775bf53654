"""Cautions about pairs count what they say they count, and say nothing where nothing is the matter."""

from dataclasses import replace

import pytest

from attribution.checking.pair_cautions import (
    FEW,
    OWN,
    TEST,
    VALIDATION,
    PairCount,
    cautions_of_test,
    few_pairs,
    part_cautions,
    shared_pairs,
)
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs


def made(count: int, start: int = 0) -> PromptPairs:
    """Pairs without a prompt in common."""
    rows = range(start, start + count)
    return PromptPairs(tuple(PromptPair((0, 100 + n), (0, 1000 + n), 1, 2) for n in rows))


def joined(*parts: PromptPairs) -> PromptPairs:
    return PromptPairs(tuple(pair for part in parts for pair in part))


def test_pairs_that_are_all_different_and_enough_have_no_cautions() -> None:
    parts = {OWN: made(30), VALIDATION: made(20, 30), "held_out": made(FEW, 50)}
    assert part_cautions(parts) == ()
    assert cautions_of_test(made(2), made(30, 2)) == ()


@pytest.mark.parametrize("turned", [False, True])
def test_pairs_that_judge_what_they_found_are_counted_also_when_turned(turned: bool) -> None:
    known = made(3)
    known = PromptPairs(tuple(pair.turned() for pair in known)) if turned else known
    (found,) = shared_pairs({"held_out": joined(known, made(7, 20)), OWN: made(12)})
    assert (found.kind, found.about, found.figures) == ("shared_pairs", "held out", {"shared": 3, "pairs": 10})
    assert found.sentence.startswith("3 of the 10 held out pairs also found the circuit")
    assert not found.is_grave


def test_pairs_that_all_found_the_circuit_are_grave() -> None:
    (found,) = cautions_of_test(made(12), made(30))
    assert found.is_grave
    assert found.value == "12 of 12 pairs"
    assert found.sentence.startswith(f"All 12 {TEST} pairs also found")
    (chosen,) = shared_pairs({OWN: made(12), VALIDATION: made(2)})
    assert "does not show which size suits new prompts" in chosen.sentence
    (one,) = shared_pairs({OWN: made(12), "held_out": made(1)})
    assert one.sentence.startswith("The only held out pair also found")


def test_validation_pairs_are_said_where_they_found_and_where_they_judge() -> None:
    found = shared_pairs({OWN: made(12), VALIDATION: made(10, 10), "held_out": made(10, 19)})
    assert [c.about for c in found] == ["validation", "held out and validation"]
    assert [c.figures["shared"] for c in found] == [2, 1]
    assert found[0].sentence.startswith("2 of the 10 validation pairs also found the circuit, which flatters")
    assert "also chose the circuit's size" in found[1].sentence


def test_a_pair_that_occurs_several_times_is_counted_whatever_its_roles_are_called() -> None:
    pairs = made(10)
    named = replace(pairs[0], roles=("bos", "noun"), template="other")
    (found,) = PairCount.of((*pairs, named, pairs[0], pairs[1])).repeated("held_out")
    assert found.figures == {"different": 10, "pairs": 13}
    assert found.value == "10 different of 13"
    assert found.sentence.startswith("Only 10 of the 13 held out pairs are different; one occurs 3 times.")


def test_pairs_with_another_answer_or_turned_are_not_the_same() -> None:
    pair = made(1)[0]
    assert PairCount.of((pair, replace(pair, foil_id=7), pair.turned())).repeated() == ()


@pytest.mark.parametrize(("count", "said"), [(1, False), (2, True), (FEW - 1, True), (FEW, False)])
def test_few_pairs_are_said_but_one_has_no_interval_to_mistrust(count: int, said: bool) -> None:
    assert bool(few_pairs({OWN: count})) is said


def test_a_single_pair_that_judges_is_said() -> None:
    (caution,) = few_pairs({OWN: 30, "test": 1})
    assert caution.figures == {"pairs": 1}
    assert "only 1 test pair." in caution.sentence


def test_all_parts_with_few_pairs_share_one_caution() -> None:
    (found,) = few_pairs({OWN: 5, "held_out": 3, TEST: 40})
    assert found.value == "as few as 3"
    assert found.sentence.startswith("There are only 5 training pairs, 3 held out pairs.")
