"""In compiled programs the iterated search finds exactly the variables that the program needs, where it has one set."""

import pytest

from attribution import JumpReLU, ReLU
from benchmarks.programs.compiled_model import load_compiled
from benchmarks.programs.exact_saes import splice_exactly
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.program_sets import changed, iterated_set, program_set, suffices
from benchmarks.programs.rasp import Place
from benchmarks.programs.truth import Contrast, contrasts

FAST = ("contains", "pair_balance", "reverse")
"""Programs whose sets are soon found."""


def test_the_set_of_the_histogram_as_worked_out_by_hand() -> None:
    """Only the share and the count at the last position change the answer, which both must follow."""
    pair = Contrast(("b", "a", "c", "a", "a"), ("a", "a", "b", "a", "a"))
    found = program_set(load_compiled("histogram"), pair)
    assert found.several == "one"
    assert found.needed == {Place("count share", 4), Place("count", 4)}


def test_two_of_which_one_is_enough_back_each_other_up() -> None:
    """Two x where there were none: each alone makes the share that the answer needs."""
    compiled, pair = load_compiled("contains"), Contrast(("x", "x", "y", "y", "y"), ("y", "z", "y", "y", "z"))
    found = program_set(compiled, pair)
    ends = {Place("share of x", 4), Place("contains", 4)}
    assert (found.needed, found.several) == (ends, "backed up")
    assert suffices(compiled, pair, ends | {Place("is x", 0)})
    assert suffices(compiled, pair, ends | {Place("is x", 1)})
    assert not suffices(compiled, pair, ends)


def test_one_that_comes_and_one_that_goes_cancel() -> None:
    """x at three positions for x at the fourth: the share needs all, but two of the three are as many."""
    compiled, pair = load_compiled("frac_prevs"), Contrast(("x", "x", "x", "y", "y"), ("y", "y", "y", "x", "y"))
    found = program_set(compiled, pair)
    assert found.several == "cancelling"
    assert suffices(compiled, pair, [Place("is x", 0), Place("is x", 1), Place("share of x", 4)])
    assert set(changed(compiled, pair)) >= found.needed


@pytest.mark.parametrize("kind", [pytest.param(ReLU, marks=pytest.mark.slow), JumpReLU])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in PROGRAMS if n != "dyck"]
)
def test_the_search_finds_exactly_what_the_program_needs(name: str, kind: type[ReLU] | type[JumpReLU]) -> None:
    compiled = load_compiled(name)
    spliced = splice_exactly(compiled, kind)
    pairs = [pair for pair in contrasts(compiled, 8) if program_set(compiled, pair).several == "one"][:2]
    assert pairs
    for pair in pairs:
        assert iterated_set(compiled, spliced, pair) == program_set(compiled, pair).needed, pair


@pytest.mark.parametrize("name", ["contains", "frac_prevs"])
def test_where_programs_have_several_sets_the_search_finds_one_that_suffices(name: str) -> None:
    compiled = load_compiled(name)
    spliced = splice_exactly(compiled, ReLU)
    pair = next(pair for pair in contrasts(compiled, 8) if program_set(compiled, pair).several != "one")
    found = iterated_set(compiled, spliced, pair)
    assert None not in found
    assert suffices(compiled, pair, [place for place in found if place is not None])
