"""Sums over many entries come out the same, to the last bit, at every run with several threads."""

from collections.abc import Iterator

import pytest
import torch

from attribution.effects.quadrature import midpoint
from attribution.masks.mask_nodes import NodeAddresses, NodeMask
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from circuits import load_model, load_saes, prompt_pairs, splice


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_the_gradient_of_a_mask_whose_nodes_stand_at_many_places(four_threads: None) -> None:
    rows, positions, d_sae, nodes = 40, 20, 100, 30
    generator = torch.Generator().manual_seed(0)
    column = torch.zeros(rows, positions, dtype=torch.long)
    addresses = NodeAddresses(torch.arange(nodes), torch.arange(nodes), column, d_sae)
    key = torch.randint(rows * positions * d_sae, (60_000,), generator=generator).unique()
    weight = torch.randn(len(key), generator=generator)

    def gradient(mask: torch.Tensor) -> torch.Tensor:
        leaf = mask.clone().requires_grad_()
        features = NodeMask(leaf, addresses).of_features(key)
        return torch.autograd.grad((features * weight).sum(), leaf)[0]

    for mask in (torch.rand(1, nodes + 1, generator=generator), torch.rand(rows, nodes + 1, generator=generator)):
        first = gradient(mask)
        assert first.abs().max() > 0
        assert all(torch.equal(gradient(mask), first) for _ in range(5))


def test_integrated_gradients_of_many_nodes(four_threads: None) -> None:
    spliced = splice(load_model(), load_saes())
    pairs = prompt_pairs("agreement", spliced.model, examples=12)
    found = [integrated_gradients(spliced, pairs, logit_difference, points=midpoint(2)).effect for _ in range(3)]
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
