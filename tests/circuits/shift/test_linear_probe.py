"""The probe is at its optimum, which a plain Newton iteration finds too."""

import pytest
import torch
from torch import Tensor

from circuits.shift.linear_probe import LinearProbe, fit_probe


def data(texts: int = 60, width: int = 5) -> tuple[Tensor, Tensor]:
    """Activations of unequal scale and offset, one of them constant, and noisy labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(texts, width, generator=generator)
    labels = x[:, 0] + 0.5 * x[:, 1] + torch.randn(texts, generator=generator) > 0.3
    x = x * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]) + torch.tensor([5.0, 0.0, -2.0, 1.0, 7.0])
    return x, labels


def newton(x: Tensor, labels: Tensor, weight_decay: float) -> LinearProbe:
    """Logistic regression by Newton's method on standardised inputs."""
    x = x.double()
    mean, spread = x.mean(0), ((x - x.mean(0)) ** 2).mean(0) ** 0.5
    spread[spread == 0] = 1
    z = torch.cat([(x - mean) / spread, torch.ones(len(x), 1).double()], dim=1)
    decay = torch.full((z.shape[1],), weight_decay).double()
    decay[-1] = 0
    w = torch.zeros(z.shape[1]).double()
    for _ in range(30):
        p = 1 / (1 + torch.exp(-z @ w))
        gradient = z.T @ (p - labels.double()) / len(z) + decay * w
        hessian = (z * (p * (1 - p))[:, None]).T @ z / len(z) + torch.diag(decay)
        w = w - torch.linalg.solve(hessian, gradient)
    weight = w[:-1] / spread
    return LinearProbe(weight, w[-1] - weight @ mean)


@pytest.mark.parametrize("weight_decay", [0.001, 0.1, 10.0])
def test_probe_equals_newtons_method(weight_decay: float) -> None:
    x, labels = data()
    found, plain = fit_probe(x, labels, weight_decay=weight_decay), newton(x, labels, weight_decay)
    torch.testing.assert_close(found.logit(x.double()), plain.logit(x.double()), atol=1e-3, rtol=1e-3)


def test_gradient_is_zero_at_the_optimum_and_not_beside_it() -> None:
    x, labels = data()
    probe = fit_probe(x, labels, weight_decay=0.1)
    spread = x.double().std(0, correction=0)
    z = (x.double() - x.double().mean(0)) / torch.where(spread > 0, spread, 1)

    def gradient(logit: Tensor) -> Tensor:
        miss = torch.sigmoid(logit) - labels.double()
        return torch.cat([z.T @ miss / len(z) + 0.1 * probe.weight * spread, miss.mean()[None]])

    assert gradient(probe.logit(x)).abs().max() < 1e-6
    assert gradient(probe.logit(x) + 0.1).abs().max() > 1e-3


def test_the_same_data_gives_the_same_probe_to_the_last_bit() -> None:
    x, labels = data()
    torch.manual_seed(1)
    first = fit_probe(x, labels)
    torch.manual_seed(2)
    assert torch.equal(first.weight, fit_probe(x, labels).weight)


def test_labels_of_one_class_are_an_error() -> None:
    x, labels = data()
    with pytest.raises(ValueError, match="All 60 labels are True"):
        fit_probe(x, labels | True)
    with pytest.raises(ValueError, match="All 60 labels are False"):
        fit_probe(x, labels & False)


def test_what_has_no_optimum_is_an_error() -> None:
    x, labels = data()
    with pytest.raises(ValueError, match="weight_decay must be above 0"):
        fit_probe(x, labels, weight_decay=0.0)
    with pytest.raises(ValueError, match="60 activations but 59 labels"):
        fit_probe(x, labels[1:])
    with pytest.raises(ValueError, match="not finite numbers"):
        fit_probe(x.log(), labels)
