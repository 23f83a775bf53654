"""The normalisations against their formulas, and what happens where they are not defined."""

import math

import pytest
import torch

from attribution.dictionaries import Normalisation, ReLU
from attribution.dictionaries.kinds.normalisation import normalise, restore
from tests.worlds.random_saes import D_IN, activations, random_sae


def test_none_leaves_the_activation_alone_and_gives_no_frame():
    x = activations(3)
    normalised, frame = normalise(x, "none")
    assert normalised is x
    assert frame is None


def test_layer_norm_is_mean_and_unbiased_deviation_with_epsilon_on_the_way_in_only():
    x = activations(4, dtype=torch.float64)
    normalised, frame = normalise(x, "layer_norm")
    assert frame is not None
    for row, got, scale, mean in zip(x.tolist(), normalised.tolist(), frame.scale, frame.mean, strict=True):
        average = sum(row) / D_IN
        deviation = math.sqrt(sum((value - average) ** 2 for value in row) / (D_IN - 1))
        assert got == pytest.approx([(value - average) / (deviation + 1e-5) for value in row], rel=1e-12)
        assert scale.item() == pytest.approx(deviation, rel=1e-12)
        assert mean.item() == pytest.approx(average, rel=1e-12)


def test_constant_norm_rescale_gives_every_activation_the_norm_sqrt_d_in():
    x = activations(4, dtype=torch.float64)
    normalised, frame = normalise(x, "constant_norm_rescale")
    assert frame is not None
    torch.testing.assert_close(normalised.norm(dim=-1), torch.full((4,), D_IN**0.5, dtype=torch.float64))
    torch.testing.assert_close(frame.scale * normalised, x)
    assert torch.equal(frame.mean, torch.zeros(4, 1, dtype=torch.float64))


@pytest.mark.parametrize(("normalisation", "lost"), [("layer_norm", 2e-5), ("constant_norm_rescale", 1e-12)])
def test_restore_undoes_normalise(normalisation: Normalisation, lost: float):
    x = activations(2, 3, dtype=torch.float64)
    normalised, frame = normalise(x, normalisation)
    assert frame is not None
    torch.testing.assert_close(restore(normalised, frame), x, rtol=0, atol=lost * x.abs().max().item())


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_a_zero_activation_gives_finite_features_and_gradients(normalisation: Normalisation):
    sae = random_sae(ReLU, normalisation=normalisation)
    x = torch.zeros(2, D_IN, requires_grad=True)
    encoding = sae.encode(x)
    reconstruction = sae.decode(encoding.features, encoding.frame)
    (gradient,) = torch.autograd.grad(reconstruction.sum(), x)
    assert torch.isfinite(encoding.features).all()
    assert torch.equal(reconstruction, torch.zeros(2, D_IN))
    assert torch.isfinite(gradient).all()
