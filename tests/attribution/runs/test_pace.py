"""Seconds follow from operations and FLOPs at a pace that two probes give."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attribution.runs.pace import Pace, Work

AMOUNT = st.floats(1e-6, 1e6)


@given(AMOUNT, AMOUNT, AMOUNT, st.floats(1.5, 1e3))
def test_two_probes_give_the_pace_that_they_ran_at(operation: float, flop: float, flops: float, times: float) -> None:
    true = Pace(operation, flop)
    few = Work(operations=100.0, flops=flops)
    many = few.side_by_side(times)
    found = Pace.between((few, true.seconds(few)), (many, true.seconds(many)))
    other = Work(operations=3.0, flops=7.0 * flops, seconds=2.0)
    assert found.seconds(many) == pytest.approx(true.seconds(many))
    assert found.seconds(other) == pytest.approx(true.seconds(other), rel=1e-3, abs=1e-3 * true.seconds(many))


@given(AMOUNT, AMOUNT, AMOUNT)
@example(23.0, 1.0, 414423.0)  # by rounding a little more than all seconds were those of FLOPs
def test_a_disturbed_probe_gives_no_negative_pace(flops: float, short: float, long: float) -> None:
    few = Work(100.0, flops)
    many = few.side_by_side(4)
    found = Pace.between((few, short), (many, long))
    assert found.operation >= 0
    assert found.flop >= 0
    assert found.seconds(many) == pytest.approx(long)


def test_a_single_probe_gives_the_seconds_of_a_flop() -> None:
    one = Work(100.0, 1e9)
    assert Pace.between((one, 2.0), (one, 2.0)) == Pace(0.0, 2e-9)


def test_side_by_side_more_flops_but_no_more_operations() -> None:
    one = Work(10.0, 5.0, 1.0)
    assert 3 * one == Work(30.0, 15.0, 3.0)
    assert one.side_by_side(3) == Work(10.0, 15.0, 1.0)
    assert sum([one, one], Work()) == 2 * one
