"""No pair finds a circuit and judges it, not even with its prompts exchanged."""

from dataclasses import replace

import pytest

from attribution.checking.pair_cautions import OWN, TEST, VALIDATION, shared_pairs
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from circuits.selection.pair_parts import both_directions, has_new_words, split_pairs

WORDS = 8


def made(count: int = 40) -> PromptPairs:
    """Pairs that differ in one of `WORDS` words, each in several contexts."""
    return PromptPairs(
        tuple(PromptPair((0, 10 + n % WORDS, 50 + n), (0, 30 + n % WORDS, 50 + n), 4, 7) for n in range(count))
    )


def turned(pair: PromptPair) -> PromptPair:
    return replace(
        pair, clean_ids=pair.patch_ids, patch_ids=pair.clean_ids, answer_id=pair.foil_id, foil_id=pair.answer_id
    )


@pytest.mark.parametrize("by_words", [False, True])
def test_parts_have_about_their_shares_and_share_no_pair(by_words: bool) -> None:
    pairs = made()
    parts = split_pairs(pairs, validation=0.25, test=0.25, by_words=by_words)
    assert parts.validation is not None
    assert parts.test is not None
    sizes = [len(parts.train), len(parts.validation), len(parts.test)]
    assert sizes == [20, 10, 10]
    everything = [*parts.train, *parts.validation, *parts.test]
    assert sorted(p.clean_ids for p in everything) == sorted(p.clean_ids for p in pairs)
    assert has_new_words(parts.train, parts.test) == by_words
    assert shared_pairs({OWN: parts.train, VALIDATION: parts.validation, TEST: parts.test}) == ()


def test_a_pair_that_occurs_twice_stays_in_one_part_also_if_it_is_turned() -> None:
    pairs = made(20)
    doubled = PromptPairs((*pairs, *pairs, *map(turned, pairs)))
    for seed in range(5):
        parts = split_pairs(doubled, validation=0.3, test=0.3, seed=seed)
        assert parts.validation is not None
        assert parts.test is not None
        assert all(len(part) % 3 == 0 for part in (parts.train, parts.validation, parts.test))


def test_few_pairs_all_find_the_circuit_and_shares_must_leave_some() -> None:
    assert split_pairs(made(8), validation=0.25).validation is None
    with pytest.raises(ValueError, match="leave pairs to find the circuit on"):
        split_pairs(made(), validation=0.5, test=0.5)


def test_both_directions_hold_each_pair_twice_or_half_of_them_turned() -> None:
    few, many, crowd = made(4), made(40), made(200)
    assert [own.pairs for own in both_directions(few)] == [few.pairs, tuple(map(turned, few))]
    forward, back = both_directions(many)
    assert forward.pairs == many.pairs[::2]
    assert back.pairs == tuple(map(turned, many.pairs[1::2]))
    taken = [*both_directions(crowd)[0], *map(turned, both_directions(crowd)[1])]
    assert len(set(taken)) == len(taken) == 64
    assert set(taken) <= set(crowd)
