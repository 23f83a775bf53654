"""The truth of one contrast pair per program, worked out by hand."""

import pytest

from benchmarks.programs.compiled_model import load_compiled
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.rasp import (
    INDICES,
    TOKENS,
    Average,
    Map,
    Mixture,
    Place,
    Value,
    run_program,
    same_value,
    variables,
)
from benchmarks.programs.truth import METRIC, Contrast, contrasts, truth_of

BY_HAND: dict[str, tuple[tuple[Value, ...], tuple[Value, ...], Value, Value, str]] = {
    # The first token is what the last position reads.
    "reverse": (("a", "b", "c", "a", "b"), ("b", "b", "a", "c", "b"), "a", "b", "tokens 0, reverse 4"),
    # 7 in place of 5 is the largest. 5 called fourth makes two of that place, 6 called third leaves none.
    "sort": (
        (2, 5, 6, 3),
        (4, 7, 6, 3),
        6,
        7,
        "tokens 1, place share 1, place share 2, place 1, place 2, sort 3",
    ),
    # Only b -> a at position 0 makes one a more.
    "histogram": (("b", "a", "c", "a", "a"), ("a", "a", "b", "a", "a"), 3, 4, "tokens 0, count share 4, count 4"),
    "frac_prevs": (
        ("x", "y", "z", "y", "y"),
        ("y", "x", "x", "y", "y"),
        0.2,
        0.4,
        "tokens 0, tokens 1, tokens 2, is x 0, is x 1, is x 2, share of x 4",
    ),
    # Two x: each alone is enough, so taking one away does nothing.
    "contains": (("x", "x", "y", "y", "y"), ("y", "z", "y", "y", "z"), True, False, "share of x 4, contains 4"),
    # ( moves, so its share at the end does not change; each end of the move alone would change it.
    "pair_balance": (
        ("(", ".", ")", ".", "."),
        (")", ".", ")", "(", "."),
        0.0,
        -0.2,
        "tokens 0, tokens 3, is ( 0, is ( 3, is ) 0, closes 4, balance 4",
    ),
    # The first pair is turned round: the end still balances, but the balance is negative once.
    "dyck": (
        ("(", ")", "(", ")", "(", ")"),
        (")", "(", "(", ")", "(", ")"),
        True,
        False,
        "tokens 0, tokens 1, is ( 0, is ( 1, is ) 0, is ) 1, balance 0, negative 0, ever negative 5, never negative 5, "
        "balanced 5",
    ),
    # b twice is first of equals, then c three times. Position 0 called strongest answers its own token, a.
    "most_frequent": (
        ("a", "b", "b", "c", "c"),
        ("c", "b", "b", "c", "c"),
        "b",
        "c",
        "tokens 0, count share 0, count share 3, count share 4, count 0, count 3, count 4, strength 0, strength 3, "
        "strength 4, rank share 0, rank share 1, rank 0, rank 1, most frequent 4",
    ),
    # After a came b; a at position 2 instead of 0 is followed by d. One of the two moves alone: none, or both.
    "induction": (
        ("a", "b", "c", "d", "c", "a"),
        ("b", "b", "a", "d", "c", "a"),
        "b",
        "d",
        "tokens 0, tokens 2, previous 1, previous 3, next 5",
    ),
}


def places(words: str) -> set[Place]:
    return {Place(*_split(word)) for word in words.split(", ")}


def _split(word: str) -> tuple[str, int]:
    variable, _, position = word.rpartition(" ")
    return variable, int(position)


def test_every_program_has_a_hand_checked_example() -> None:
    assert BY_HAND.keys() == PROGRAMS.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_nodes_are_true_as_worked_out_by_hand(name: str) -> None:
    clean, patch, answer, other, true = BY_HAND[name]
    output = PROGRAMS[name].output
    last = Place(output.name, len(clean) - 1)
    assert same_value(run_program(output, clean)[last], answer)
    assert same_value(run_program(output, patch)[last], other)
    truth = truth_of(load_compiled(name), Contrast(clean, patch))
    assert {place for place, matters in truth.nodes.items() if matters} == places(true)
    assert not all(truth.nodes.values())


def test_edges_of_the_histogram_as_worked_out_by_hand() -> None:
    clean, patch, *_ = BY_HAND["histogram"]
    truth = truth_of(load_compiled("histogram"), Contrast(clean, patch))
    true = {ends for ends, carries in truth.edges.items() if carries}
    share, count = Place("count share", 4), Place("count", 4)
    assert true == {(Place("tokens", 0), share), (share, count), (count, METRIC)}
    assert (Place("tokens", 2), share) in truth.edges
    assert (Place("tokens", 0), count) not in truth.edges, "an MLP reads its own position only"


def test_one_of_two_is_enough_is_lopsided_and_either_end_is_not() -> None:
    compiled, (clean, patch, *_) = load_compiled("contains"), BY_HAND["contains"]
    pair = Contrast(clean, patch)
    here, there = truth_of(compiled, pair), truth_of(compiled, pair.exchanged())
    token = Place("tokens", 0)
    assert (here.nodes[token], there.nodes[token]) == (False, True)
    assert here.either(there).nodes[token]
    assert not here.either(there).nodes[Place("tokens", 4)], "y or z is all the same"


@pytest.mark.parametrize("name", PROGRAMS)
def test_pairs_have_two_answers_and_no_mixtures(name: str) -> None:
    compiled = load_compiled(name)
    output, last = compiled.program.output, compiled.program.length - 1
    pairs = contrasts(compiled, 4)
    assert len(set(pairs)) == 4
    for pair in pairs:
        ends = [run_program(output, tokens) for tokens in (pair.clean, pair.patch)]
        assert not same_value(*(end[Place(output.name, last)] for end in ends))
        assert not any(isinstance(value, Mixture) for end in ends for value in end.values())
        assert pair.clean[0] != pair.patch[0]


def test_more_pairs_than_are_found_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"reverse: .* pairs found in 30 attempts; 40 were asked for"):
        contrasts(load_compiled("reverse"), 40, attempts=30)


def test_a_variable_that_reads_a_mixture_is_an_error() -> None:
    mixed = Average("all", keys=TOKENS, queries=TOKENS, predicate=lambda _k, _q: True, values=INDICES)
    with pytest.raises(ValueError, match="A mixture of values is read"):
        run_program(Map("next", f=lambda i: i + 1, of=mixed), ["a", "b"])


def test_two_variables_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="have one name: again, again, tokens"):
        variables(Map("again", of=Map("again")))
