"""The splitting test finds planted composites and nothing else, and equals a search through all pairs of directions."""

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from attribution import SAE, ReLU, splitting


def dictionary(directions: Tensor) -> SAE:
    zero = torch.zeros(len(directions), dtype=directions.dtype)
    return ReLU(
        W_enc=directions.T.contiguous(), W_dec=directions, b_dec=zero.new_zeros(directions.shape[1]), b_enc=zero
    )


@pytest.fixture
def atoms() -> Tensor:
    draw = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(draw)[0][:6]


def test_planted_composites_split_into_their_atoms_and_atoms_do_not(atoms: Tensor) -> None:
    planted = normalize(torch.stack([atoms[0] + atoms[1], atoms[2] + 0.5 * atoms[3]]), dim=1)
    found = splitting(dictionary(3 * torch.cat([planted, atoms])))
    assert found.composites().tolist() == [True, True, *[False] * 6]
    assert [sorted(parts) for parts in found.parts[:2].tolist()] == [[2, 3], [4, 5]]
    torch.testing.assert_close(found.residual[:2], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_composite_whose_atom_is_in_no_dictionary_does_not_split(atoms: Tensor) -> None:
    parent_and_child = normalize(atoms[:1] + atoms[1:2], dim=1)
    found = splitting(dictionary(torch.cat([parent_and_child, atoms[:1], atoms[2:]])))
    assert not found.composites().any()
    larger = splitting(dictionary(parent_and_child), dictionary(torch.cat([parent_and_child, atoms])))
    assert larger.composites().tolist() == [True]
    assert sorted(larger.parts[0].tolist()) == [1, 2]


def test_where_directions_are_orthogonal_it_is_the_best_of_all_pairs(atoms: Tensor) -> None:
    mixed = normalize(torch.rand(20, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) @ atoms, dim=1)
    found = splitting(dictionary(mixed), dictionary(atoms))
    for n, direction in enumerate(mixed):
        left = {pair: _left(direction, atoms[list(pair)]) for pair in combinations(range(6), 2)}
        best = min(left, key=lambda pair: left[pair])
        assert tuple(sorted(found.parts[n].tolist())) == best
        assert float(found.residual[n]) == pytest.approx(left[best], abs=1e-12)


def _left(direction: Tensor, pair: Tensor) -> float:
    return float((direction - (direction @ pair.T).relu() @ pair).norm())


def test_one_part_or_other_widths_are_refused(atoms: Tensor) -> None:
    with pytest.raises(ValueError, match="at least two parts; got parts=1"):
        splitting(dictionary(atoms), parts=1)
    with pytest.raises(ValueError, match="of width 12 and 5: give two of the same site"):
        splitting(dictionary(atoms), dictionary(torch.eye(5, dtype=torch.float64)))
