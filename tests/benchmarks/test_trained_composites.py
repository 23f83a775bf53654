"""Dictionaries trained on known atoms: atoms apart are learned apart, and a child that needs its parent is not."""

import pytest

from benchmarks.composites.atom_worlds import AtomWorld, Kind
from benchmarks.composites.learned import Learned, learned
from benchmarks.composites.training import train
from benchmarks.trained_composites import markdown_table, means

WORLDS: tuple[tuple[Kind, float], ...] = (("pairs", 0.0), ("pairs", 1.0), ("hierarchies", 0.5))


@pytest.fixture(scope="module")
def found() -> dict[tuple[Kind, float], Learned]:
    worlds = [AtomWorld(kind, together, couples=3, d_in=8) for kind, together in WORLDS]
    saes = train(worlds, "relu", 6, steps=800)
    return {key: learned(world, sae) for key, world, sae in zip(WORLDS, worlds, saes, strict=True)}


def test_atoms_that_never_meet_are_learned_apart(found: dict[tuple[Kind, float], Learned]) -> None:
    apart = found["pairs", 0.0]
    assert (apart.first, apart.second, apart.composites) == (1, 1, 0)
    assert apart.right is None


def test_atoms_that_always_meet_are_learned_as_one(found: dict[tuple[Kind, float], Learned]) -> None:
    assert found["pairs", 1.0].composites > 0.6


def test_a_child_that_needs_its_parent_is_learned_as_both_and_splits_into_nothing(
    found: dict[tuple[Kind, float], Learned],
) -> None:
    tree = found["hierarchies", 0.5]
    assert (tree.first, tree.second, tree.composites) == (1, 0, 1)
    assert tree.found == 0


def test_the_table_has_a_line_for_each_row(found: dict[tuple[Kind, float], Learned]) -> None:
    rows = [
        {"encoder": "relu", "features": 6, "world": kind, "together": together, **means([one])}
        for (kind, together), one in found.items()
    ]
    lines = markdown_table(rows).splitlines()
    assert len(lines) == 2 + len(WORLDS)
    assert "| relu, 6 | hierarchies | 50% | 100% / 0% / 100% |" in lines[-1]
