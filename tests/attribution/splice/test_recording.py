"""Sparse features and changes against dense arithmetic."""

import torch

from attribution.splice.recording import FeatureChange, SparseFeatures


def random_features(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 5, generator=generator).clamp(min=0)


def test_sparse_and_back_is_the_same() -> None:
    dense = random_features(0)
    sparse = SparseFeatures.of(dense)
    assert torch.equal(sparse.dense(), dense)
    assert (sparse.key.diff() > 0).all()


def test_features_within_some_positions_are_those_of_the_masked_tensor() -> None:
    dense, within = random_features(0), torch.arange(12).reshape(4, 3) % 3 != 1
    found, expected = SparseFeatures.of(dense, within), torch.where(within[..., None], dense, 0)
    assert torch.equal(found.dense(), expected)
    assert torch.equal(torch.stack([found.row, found.pos, found.index], dim=1), torch.nonzero(expected))
    assert found.starts.tolist() == [0, *(expected != 0).sum(-1).flatten().cumsum(0).tolist()[:-1]]


def test_lookup_finds_values_and_zero_elsewhere() -> None:
    dense = random_features(0)
    row, pos, index = torch.cartesian_prod(torch.arange(4), torch.arange(3), torch.arange(5)).T
    assert torch.equal(SparseFeatures.of(dense).lookup(row, pos, index), dense.flatten())
    assert torch.equal(SparseFeatures.of(0 * dense).lookup(row, pos, index), 0 * dense.flatten())


def test_stacked_features_are_the_rows_of_all_parts() -> None:
    parts = [random_features(0), random_features(1)[:1], random_features(2)]
    found = SparseFeatures.stacked([SparseFeatures.of(part) for part in parts])
    assert torch.equal(found.dense(), torch.cat(parts))
    assert (found.key.diff() > 0).all()


def test_a_change_lists_what_differs_with_old_and_new_value() -> None:
    old, new = random_features(0), random_features(1)
    new[1] = old[1]
    change = FeatureChange.between(SparseFeatures.of(old), SparseFeatures.of(new))
    at = (change.row, change.pos, change.index)
    assert torch.equal(torch.stack(at, dim=1), torch.nonzero(old != new))
    assert torch.equal(change.old, old[at])
    assert torch.equal(change.new, new[at])
    assert len(FeatureChange.between(SparseFeatures.of(old), SparseFeatures.of(old)).row) == 0
