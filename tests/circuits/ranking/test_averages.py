"""Averages over examples: those of a plain loop, whole or grown batch by batch."""

import numpy as np
import pytest

from circuits.ranking.averages import Averages, RunningAverages, group_averages

EXAMPLES = 40


def grown(group: np.ndarray, example: np.ndarray, values: np.ndarray, at_once: int) -> Averages:
    running = RunningAverages(1)
    for start in range(0, EXAMPLES, at_once):
        here = (example >= start) & (example < start + at_once)
        running.add(group[here], example[here], np.stack([values[here]] * 3))
    return running.finished(EXAMPLES).averages


@pytest.mark.parametrize("at_once", [1, 7, EXAMPLES])
def test_missing_examples_count_as_0(at_once: int) -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(5, EXAMPLES)) * (draw.random((5, EXAMPLES)) < 0.6)
    group, example = np.nonzero(table)
    values = table[group, example]
    for found in (group_averages(group, values, 5, EXAMPLES), grown(group, example, values, at_once)):
        assert found.standard_error is not None
        np.testing.assert_allclose(found.mean, table.mean(1), rtol=1e-13)
        np.testing.assert_allclose(found.mean_absolute, np.abs(table).mean(1), rtol=1e-13)
        np.testing.assert_allclose(found.standard_error, table.std(1, ddof=1) / EXAMPLES**0.5, rtol=1e-13)
        assert found.count.tolist() == (table != 0).sum(1).tolist()


@pytest.mark.parametrize("at_once", [1, 7, EXAMPLES])
def test_equal_values_far_from_0_have_next_to_no_error(at_once: int) -> None:
    example, values = np.arange(EXAMPLES), np.full(EXAMPLES, 1e6 / 3)
    error = grown(np.zeros(EXAMPLES, np.int64), example, values, at_once).error(0)
    assert error == pytest.approx(0, abs=1e-9)
