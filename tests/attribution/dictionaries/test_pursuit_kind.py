"""A search as a kind of SAE: its features are the code of the activation in the SAE's frame, and it has no gradient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from attribution.dictionaries import (
    JumpReLU,
    Normalisation,
    Pursuit,
    TopK,
    gradient_pursuit,
    matching_pursuit,
    save_sae,
)
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.dictionaries.kinds.trained_positions import TrainedPositions
from tests.worlds.random_saes import D_IN, D_SAE, activations, random_sae


@pytest.mark.parametrize("rule", ["gradient", "matching"])
@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
def test_features_are_the_code_of_what_the_decoder_has_to_write(rule: Any, normalisation: Normalisation) -> None:
    sae = random_sae(JumpReLU, normalisation=normalisation, apply_b_dec_to_input=False, dtype=torch.float64)
    x = activations(3, 4, dtype=torch.float64)
    encoding = Pursuit.of(sae, k=6, rule=rule).encode(x)
    normalised, _ = normalise(x, normalisation)
    search = gradient_pursuit if rule == "gradient" else matching_pursuit
    assert torch.equal(encoding.features, search(normalised - sae.b_dec, sae.W_dec, k=6).coefficients)
    assert encoding.margin is None
    assert 1 < (encoding.features > 0).sum(-1).double().mean() <= 6
    left = (x - sae.decode(encoding.features, encoding.frame)).norm(dim=-1)
    assert (left < (x - sae.decode(0 * encoding.features, encoding.frame)).norm(dim=-1)).all()


def test_a_tolerance_ends_the_search() -> None:
    sae = random_sae(TopK, dtype=torch.float64)
    x = activations(5, dtype=torch.float64)
    target = x - sae.b_dec
    for tolerance in (0.9, 0.5):
        code = Pursuit.of(sae, tolerance=tolerance).encode(x).features
        last = Pursuit.of(sae, k=int((code > 0).sum(-1).min()) - 1).encode(x).features
        left, before = ((target - f @ sae.W_dec).norm(dim=-1) / target.norm(dim=-1) for f in (code, last))
        assert (left <= tolerance).all()
        assert (before > tolerance).any()


def test_a_pursuit_stands_where_the_sae_stands_and_says_what_it_is() -> None:
    sae = random_sae(JumpReLU)
    searched = Pursuit.of(sae, k=3)
    assert (searched.site, searched.d_in, searched.d_sae) == (sae.site, D_IN, D_SAE)
    assert repr(searched) == f"Pursuit({D_SAE} features of {D_IN} dimensions at {sae.site}, float32)"
    options: tuple[dict[str, Any], ...] = ({"k": 3}, {"k": 4}, {"tolerance": 0.1}, {"k": 3, "rule": "matching"})
    digests = {Pursuit.of(sae, **own).digest() for own in options}
    assert len(digests | {sae.digest()}) == 5
    positions = TrainedPositions(1)
    assert Pursuit.of(replace(sae, positions=positions), k=1).positions == positions
    wide = searched.to(dtype=torch.float64)
    x = activations(50)
    torch.testing.assert_close(wide.encode(x).features.float(), searched.encode(x).features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "A pursuit needs an end: give k"),
        ({"k": -2}, "k is the most features of a code"),
        ({"tolerance": 2.0}, "tolerance is the share"),
    ],
)
def test_a_pursuit_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pursuit.of(random_sae(JumpReLU), **options)


def test_an_encoder_of_its_own_is_refused() -> None:
    sae = random_sae(JumpReLU)
    with pytest.raises(ValueError, match="A pursuit has no encoder of its own"):
        Pursuit(W_enc=sae.W_enc, W_dec=sae.W_dec, b_dec=sae.b_dec, apply_b_dec_to_input=True, k=3)


def test_what_needs_a_gradient_through_it_or_a_file_of_it_is_refused(tmp_path: Path) -> None:
    searched = Pursuit.of(random_sae(JumpReLU), k=3)
    x = activations(2).requires_grad_()
    for ask in (lambda: searched.encode(x), lambda: searched.value_and_margin(searched.project(x))):
        with pytest.raises(ValueError, match="has none, because it searches for its features: use exact_patching"):
            ask()
    with torch.no_grad():
        assert searched.encode(x).features.any()
    with pytest.raises(ValueError, match="A pursuit has no encoder to save"):
        save_sae(searched, tmp_path)
    assert not list(tmp_path.iterdir())
