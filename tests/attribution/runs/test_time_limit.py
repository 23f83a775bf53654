"""A stage ends in time: what does not fit any more is not begun."""

from types import SimpleNamespace

import pytest

from attribution.runs import time_limit
from attribution.runs.time_limit import LEAST, NO_LIMIT, TimeLimit, TimeUp, as_long_as_since


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock whose hand is `now`."""
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def test_what_needs_more_than_is_left_is_not_begun(clock: SimpleNamespace) -> None:
    limit = TimeLimit.after(10.0)
    clock.now = 7.0
    assert limit.seconds_left == 3.0
    limit.check(2.0)
    with pytest.raises(TimeUp):
        limit.check(4.0)
    clock.now = 11.0
    with pytest.raises(TimeUp):
        limit.check()
    NO_LIMIT.check(1e9)


@pytest.mark.parametrize(
    ("spent", "budget", "allowed"), [(20.0, 100.0, 20.0), (70.0, 100.0, 30.0), (99.0, 100.0, LEAST)]
)
def test_no_longer_than_everything_before_and_within_the_budget(
    clock: SimpleNamespace, spent: float, budget: float, allowed: float
) -> None:
    limit = as_long_as_since(0.0, budget)
    clock.now = spent
    assert limit().seconds_left == allowed
