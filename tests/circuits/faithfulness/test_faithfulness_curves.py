"""The sizes at which a certificate shows faithfulness: around the circuit's own, with the whole last."""

import pytest

from circuits.faithfulness.faithfulness_curves import sizes_around


@pytest.mark.parametrize(
    ("size", "members", "expected"),
    [
        (130, 9433, [8, 32, 65, 130, 260, 520, 2080, 9433]),
        (1, 9, [1, 2, 4, 9]),
        (40, 40, [2, 10, 20, 40]),
        (2, 2, [1, 2]),
        (3, 2, [1, 2]),
    ],
)
def test_sizes_rise_hold_the_circuits_own_and_end_with_all(size: int, members: int, expected: list[int]) -> None:
    assert sizes_around(size, members) == expected
