"""An SAE that learned "a and b": its numbers are right, and what they are numbers of is not what changed."""

import pytest

from benchmarks.composite_features import composite_report


@pytest.fixture(scope="module")
def report() -> dict[tuple[str, str], dict[str, object]]:
    return {(row["basis"], row["question"]): row for row in composite_report()}


def exact(row: dict[str, object]) -> object:
    return row["exact"]


def test_the_atomic_basis_finds_what_changed(report: dict[tuple[str, str], dict[str, object]]) -> None:
    assert exact(report["atomic", "x_a"]) == pytest.approx({"a": -1})
    assert exact(report["atomic", "x_b"]) == pytest.approx({"a": 0})
    assert exact(report["atomic", "both"]) == pytest.approx({"a": -1})


def test_the_composite_basis_finds_two_nodes_where_nothing_matters(
    report: dict[tuple[str, str], dict[str, object]],
) -> None:
    row = report["composite", "x_b"]
    assert row["total effect"] == pytest.approx(0)
    for method in ("exact", "AtP", "chord IG"):
        assert row[method] == pytest.approx({"a and b": -1, "b alone": 1})


def test_the_checker_sees_the_gate_that_swaps_the_features_at_the_token(
    report: dict[tuple[str, str], dict[str, object]],
) -> None:
    assert report["atomic", "x_b"]["flags on AtP"] == []
    assert report["composite", "x_b"]["flags on AtP"] == ["TokenNode(position=1): phantom"]


def test_the_composite_counts_twice_for_a_gradient_and_once_for_a_patch(
    report: dict[tuple[str, str], dict[str, object]],
) -> None:
    row = report["composite", "both"]
    assert row["total effect"] == pytest.approx(-1)
    assert exact(row) == pytest.approx({"a and b": -1, "b alone": 1})
    assert row["AtP"] == pytest.approx({"a and b": -2, "b alone": 1})
    assert row["chord IG"] == pytest.approx({"a and b": -2, "b alone": 1})


def test_ito_over_what_does_not_split_is_the_atomic_basis(report: dict[tuple[str, str], dict[str, object]]) -> None:
    for question in ("x_a", "x_b", "both"):
        split, atomic = (exact(report[basis, question]) for basis in ("composite, split", "atomic"))
        assert split == pytest.approx(atomic, abs=1e-12), question
