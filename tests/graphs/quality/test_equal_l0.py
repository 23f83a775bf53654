"""Families of dictionaries are compared at equal L0, on lines between their own points, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import compare_at_equal_l0, quality_by_l0
from graphs.quality.equal_l0 import value_at
from tests.worlds.qualities import SITE, at_site, dictionaries, elsewhere, finding_of, quality

A = dictionaries("a", (10.0, 0.3), (20.0, 0.2), (40.0, 0.1))
B = dictionaries("b", (15.0, 0.2), (30.0, 0.1))


def fvu_rows(*found: list) -> dict[str, dict[str, float | None]]:
    rows = compare_at_equal_l0([quality for own in found for quality in own])
    return {row.of: dict(row.values) for row in rows if row.measure == "FVU"}


def test_a_family_between_two_dictionaries_lies_on_the_line_between_them() -> None:
    rows = fvu_rows(A, B)
    assert rows["b 15"] == pytest.approx({"a": 0.25, "b": 0.2})
    assert rows["a 20"] == pytest.approx({"a": 0.2, "b": 0.2 - 0.1 / 3})
    assert rows["b 30"] == pytest.approx({"a": 0.15, "b": 0.1})


def test_what_another_family_does_not_reach_is_not_compared() -> None:
    assert set(fvu_rows(A, B)) == {"b 15", "a 20", "b 30"}
    assert fvu_rows(A[:1], B[:1]) == {}, "10 and 15 are not equal"
    three = fvu_rows(A, B, dictionaries("c", (12.0, 0.1)))
    assert three["c 12"] == pytest.approx({"a": 0.28, "b": None, "c": 0.1})


def test_dictionaries_of_the_same_l0_are_compared_as_they_are() -> None:
    assert fvu_rows(A[:1], dictionaries("b", (10.0, 0.4))) == {
        "a 10": {"a": 0.3, "b": 0.4},
        "b 10": {"a": 0.3, "b": 0.4},
    }


def test_sites_are_compared_by_themselves() -> None:
    other = "blocks.1.hook_resid_post"
    assert fvu_rows(A, dictionaries("b", (15.0, 0.2), (30.0, 0.1), site=other)) == {}


def test_an_undefined_number_is_no_point() -> None:
    assert fvu_rows(dictionaries("a", (10.0, 0.3), (20.0, None)), B) == {}


@given(points=st.dictionaries(st.integers(0, 100), st.floats(0, 1), min_size=2, max_size=8), share=st.floats(0, 1))
def test_an_interpolated_value_lies_between_its_neighbours(points: dict[int, float], share: float) -> None:
    curve = sorted((float(l0), value) for l0, value in points.items())
    l0 = curve[0][0] + share * (curve[-1][0] - curve[0][0])
    found = value_at(curve, l0)
    assert found is not None
    below, above = max(p for p in curve if p[0] <= l0), min(p for p in curve if p[0] >= l0)
    assert min(below[1], above[1]) - 1e-12 <= found <= max(below[1], above[1]) + 1e-12
    assert value_at(curve, curve[-1][0] + 1) is None


def test_qualities_of_other_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="measured on another text, a 10 on a text: measure both on the same"):
        compare_at_equal_l0([A[0], elsewhere(B[0])])
    with pytest.raises(ValueError, match="nothing to compare"):
        compare_at_equal_l0([])


def test_the_figure_says_which_family_is_best_where_they_can_be_compared() -> None:
    figure = quality_by_l0([*A, *B], SITE)
    assert finding_of(figure) == "L0 resid_post: the smallest FVU at equal L0 has b at 3 of 3 L0s"
    traces: Any = figure.data
    assert [len(trace.x) for trace in traces] == [3, 2] * 3
    alone = quality_by_l0([A[0], B[0]], SITE)
    assert "no two families reach the same L0" in finding_of(alone)
    with pytest.raises(ValueError, match=r"No dictionary is at blocks\.9"):
        quality_by_l0([quality("one", "a", at_site())], "blocks.9.hook_mlp_out")
