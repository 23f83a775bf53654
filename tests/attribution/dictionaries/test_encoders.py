"""Every encoder kind against a plain twin written from its formula, and against what its gate promises."""

import math
import pickle
from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import Tensor

from attribution.dictionaries import SAE, BatchTopK, Encoding, Gated, JumpReLU, Normalisation, ProLU, ReLU, TopK
from tests.worlds.random_saes import D_IN, D_SAE, KINDS, activations, random_sae

GATED_KINDS = tuple(kind for kind in KINDS if kind is not ReLU)
NORMALISATIONS: tuple[Normalisation, ...] = ("none", "layer_norm", "constant_norm_rescale")


def features_by_loops(sae: SAE, x: list[float]) -> list[float]:
    """The features of one activation that needs no normalisation, one float at a time."""
    t = {name: tensor.tolist() for name, tensor in sae.tensors().items()}
    centred = [x[i] - (t["b_dec"][i] if sae.apply_b_dec_to_input else 0.0) for i in range(sae.d_in)]
    p = [sum(centred[i] * t["W_enc"][i][j] for i in range(sae.d_in)) for j in range(sae.d_sae)]
    features = []
    for j in range(sae.d_sae):
        if isinstance(sae, Gated):
            magnitude = p[j] * math.exp(t["r_mag"][j]) + t["b_mag"][j]
            features.append(max(magnitude, 0.0) if p[j] + t["b_gate"][j] > 0 else 0.0)
        elif isinstance(sae, ProLU):
            features.append(max(p[j], 0.0) if p[j] + t["b_enc"][j] > 0 else 0.0)
        else:
            z = p[j] + t["b_enc"][j]
            if isinstance(sae, TopK):
                larger = sum(p[i] + t["b_enc"][i] > z for i in range(sae.d_sae))
                is_open = larger < sae.k
            else:
                is_open = isinstance(sae, ReLU) or z > t["threshold"][j]
            features.append(max(z, 0.0) if is_open else 0.0)
    return features


def line_across_a_gate(sae: SAE, index: int) -> tuple[Tensor, Tensor]:
    """Activations just before and just after the gate of one feature opens, found by bisection (float64)."""
    x = activations(dtype=torch.float64)
    direction = sae.W_enc[:, index] / sae.W_enc[:, index].norm()

    def margin(step: float) -> float:
        found = sae.encode(x + step * direction).margin
        assert found is not None
        return found[index].item()

    low, high = -50.0, 50.0
    assert margin(low) < 0 < margin(high)
    for _ in range(100):
        middle = (low + high) / 2
        if margin(middle) > 0:
            high = middle
        else:
            low = middle
    return x + low * direction, x + high * direction


@pytest.mark.parametrize("apply_b_dec_to_input", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_features_equal_the_loop_over_the_formula(kind: type[SAE], apply_b_dec_to_input: bool):
    sae = random_sae(kind, apply_b_dec_to_input=apply_b_dec_to_input, dtype=torch.float64)
    x = activations(7, dtype=torch.float64)
    features = sae.encode(x).features
    expected = torch.tensor([features_by_loops(sae, row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)
    assert 0 < (expected > 0).sum() < expected.numel()


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_value_times_gate_for_any_batch_shape(kind: type[SAE], normalisation: Normalisation):
    sae = random_sae(kind, normalisation=normalisation)
    for batch in [(), (3,), (2, 3), (2, 1, 4)]:
        encoding = sae.encode(activations(*batch))
        gate = torch.ones_like(encoding.value) if encoding.margin is None else encoding.margin > 0
        assert torch.equal(encoding.features, encoding.value * gate)
        assert encoding.features.shape == (*batch, D_SAE)
        assert sae.decode(encoding.features, encoding.frame).shape == (*batch, D_IN)
        assert (encoding.value >= 0).all()


def test_only_relu_has_no_gate():
    assert random_sae(ReLU).encode(activations(2)).margin is None
    for kind in GATED_KINDS:
        assert random_sae(kind).encode(activations(2)).margin is not None


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_decode_is_affine_in_the_features_given_the_frame(kind: type[SAE], normalisation: Normalisation):
    sae = random_sae(kind, normalisation=normalisation, dtype=torch.float64)
    a, b = (sae.encode(activations(4, dtype=torch.float64, seed=s)).features for s in (1, 2))
    frame = sae.encode(activations(4, dtype=torch.float64)).frame
    mixed = sae.decode(0.3 * a + 0.7 * b, frame)
    torch.testing.assert_close(mixed, 0.3 * sae.decode(a, frame) + 0.7 * sae.decode(b, frame))
    scale = torch.ones(4, 1, dtype=torch.float64) if frame is None else frame.scale
    torch.testing.assert_close(sae.decode(a, frame) - sae.decode(b, frame), scale * ((a - b) @ sae.W_dec))


@pytest.mark.parametrize("kind", GATED_KINDS)
def test_opening_a_gate_changes_the_feature_by_the_stated_jump(kind: type[SAE]):
    sae = random_sae(kind, dtype=torch.float64)
    jumps = []
    for index in range(0, D_SAE, 5):
        before, after = line_across_a_gate(sae, index)
        closed, opened = sae.encode(before), sae.encode(after)
        torch.testing.assert_close(closed.value, opened.value)
        if isinstance(sae, JumpReLU | BatchTopK):
            jump = sae.threshold[index]
        elif isinstance(sae, ProLU):
            jump = (-sae.b_enc[index]).relu()
        else:
            jump = opened.value[index]
        torch.testing.assert_close(opened.features[index] - closed.features[index], jump)
        jumps.append(jump)
    assert max(jumps) > 0.1


def test_a_relu_sae_never_jumps():
    sae = random_sae(ReLU, dtype=torch.float64)
    x = activations(200, dtype=torch.float64)
    step = 1e-9 * activations(200, dtype=torch.float64, seed=3)
    change = sae.encode(x + step).features - sae.encode(x).features
    assert change.abs().max() < 1e-7


def test_a_prolu_bias_above_zero_acts_as_relu():
    sae = random_sae(ProLU)
    assert isinstance(sae, ProLU)
    positive = replace(sae, b_enc=sae.b_enc.abs())
    x = activations(50)
    assert torch.equal(positive.encode(x).features, ((x - sae.b_dec) @ sae.W_enc).relu())


@pytest.mark.parametrize("threshold", [0.0, 0.25])
def test_a_jumprelu_gate_is_strict(threshold: float):
    sae = JumpReLU(
        W_enc=torch.eye(3),
        W_dec=torch.eye(3),
        b_dec=torch.zeros(3),
        b_enc=torch.zeros(3),
        threshold=torch.full((3,), threshold),
    )
    above = torch.nextafter(torch.tensor(threshold), torch.tensor(1.0)).item()
    encoding = sae.encode(torch.tensor([threshold, above, -1.0]))
    assert encoding.margin is not None
    assert (encoding.margin > 0).tolist() == [False, True, False]
    assert encoding.features.tolist() == [0.0, above, 0.0]


def top_k_of(z: list[float], k: int) -> Encoding:
    n = len(z)
    identity = torch.eye(n)
    sae = TopK(W_enc=identity, W_dec=identity, b_dec=torch.zeros(n), b_enc=torch.zeros(n), k=k)
    return sae.encode(torch.tensor(z))


def test_topk_margin_is_the_distance_to_the_midpoint_of_the_kth_and_the_next():
    encoding = top_k_of([3.0, -1.0, 2.0, 1.0], k=2)
    assert encoding.margin is not None
    assert encoding.margin.tolist() == [1.5, -2.5, 0.5, -0.5]
    assert encoding.features.tolist() == [3.0, 0.0, 2.0, 0.0]


def test_topk_opens_exactly_k_gates_when_values_tie_or_are_neighbouring_floats():
    neighbour = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)).item()
    for z in ([1.0, 1.0, 1.0, 0.5], [neighbour, 1.0, 1.0, 0.5], [1.0, neighbour, 3.0, neighbour], [0.0] * 4):
        for k in (1, 2, 3):
            encoding = top_k_of(z, k)
            assert encoding.margin is not None
            is_open = encoding.margin > 0
            assert is_open.sum() == k
            chosen = torch.zeros(4, dtype=torch.bool)
            chosen[torch.topk(torch.tensor(z), k, sorted=False).indices] = True
            assert torch.equal(is_open, chosen)


def test_topk_with_every_feature_chosen_has_no_gate():
    encoding = top_k_of([3.0, -1.0, 2.0], k=3)
    assert encoding.margin is None
    assert encoding.features.tolist() == [3.0, 0.0, 2.0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_features_flow_through_the_value_of_open_gates_only(kind: type[SAE]):
    sae = random_sae(kind, apply_b_dec_to_input=False)
    x = activations(6).requires_grad_()
    encoding = sae.encode(x)
    (gradient,) = torch.autograd.grad(encoding.features.sum(), x)
    active = (encoding.features > 0).float()
    slopes = active * sae.r_mag.exp() if isinstance(sae, Gated) else active
    torch.testing.assert_close(gradient, slopes @ sae.W_enc.T)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_of_another_float_dtype_are_cast_to_that_of_the_weights(kind: type[SAE]):
    sae = random_sae(kind)
    x = activations(3).to(torch.bfloat16)
    assert sae.encode(x).features.dtype == torch.float32
    assert torch.equal(sae.encode(x).features, sae.encode(x.float()).features)


@pytest.mark.parametrize("kind", KINDS)
def test_to_casts_every_tensor_and_keeps_every_setting(kind: type[SAE]):
    sae = random_sae(kind, normalisation="layer_norm")
    wide = sae.to(dtype=torch.float64)
    assert {t.dtype for t in wide.tensors().values()} == {torch.float64}
    assert (wide.site, wide.normalisation, wide.apply_b_dec_to_input) == (sae.site, "layer_norm", True)
    assert wide.to(device="cpu", dtype=torch.float32).digest() == sae.digest()
    assert wide.digest() != sae.digest()


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_changes_with_any_tensor_and_any_setting_but_not_with_the_site(kind: type[SAE]):
    sae = random_sae(kind)
    assert random_sae(kind).digest() == sae.digest()
    assert random_sae(kind, site="blocks.0.hook_attn_out").digest() == sae.digest()
    others = {random_sae(kind, normalisation="layer_norm").digest()}
    others.add(random_sae(kind, apply_b_dec_to_input=False).digest())
    for name in sae.tensors():
        changed = random_sae(kind)
        tensor = getattr(changed, name)
        tensor[(0,) * tensor.ndim] += 1e-3
        others.add(changed.digest())
    assert len(others) == 2 + len(sae.tensors())
    assert sae.digest() not in others


def test_digests_of_kinds_with_the_same_tensors_differ():
    assert len({random_sae(kind).digest() for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_sae_survives_pickling_to_a_worker(kind: type[SAE]):
    sae = random_sae(kind)
    assert pickle.loads(pickle.dumps(sae)).digest() == sae.digest()


def test_encoding_the_wrong_width_is_an_error_that_names_site_and_widths():
    with pytest.raises(ValueError, match=r"blocks\.3\.hook_mlp_out.*width 12.*\(2, 7\)"):
        random_sae(ReLU).encode(torch.zeros(2, 7))


@pytest.mark.parametrize("normalisation", ["none", "layer_norm"])
def test_decoding_active_features_equals_decoding_all(normalisation: Normalisation):
    sae = random_sae(JumpReLU, normalisation=normalisation, dtype=torch.float64)
    encoding = sae.encode(torch.cat([activations(4, dtype=torch.float64), torch.full((1, D_IN), -1e3)]))
    place, index = torch.nonzero(encoding.features, as_tuple=True)
    starts = torch.searchsorted(place, torch.arange(5))
    found = sae.decode_active(starts, index, encoding.features[place, index], encoding.frame)
    assert 0 < len(index) < 5 * D_SAE
    torch.testing.assert_close(found, sae.decode(encoding.features, encoding.frame), rtol=1e-12, atol=1e-12)


def test_what_features_write_along_a_vector_equals_the_product():
    sae, generator = random_sae(JumpReLU, dtype=torch.float64), torch.Generator().manual_seed(0)
    place, index = torch.nonzero(torch.rand(6, D_SAE, generator=generator) < 0.2, as_tuple=True)
    along = activations(6, dtype=torch.float64)
    found = sae.written_along(torch.searchsorted(place, torch.arange(6)), index, along)
    torch.testing.assert_close(found, (along @ sae.W_dec.T)[place, index], rtol=1e-12, atol=1e-12)


def test_decoding_without_the_frame_of_a_normalising_sae_is_an_error():
    sae = random_sae(ReLU, normalisation="layer_norm")
    with pytest.raises(ValueError, match=r"normalises its input \(layer_norm\): decode needs the frame"):
        sae.decode(torch.zeros(2, D_SAE), None)


@pytest.mark.parametrize("k", [0, -1, D_SAE + 1])
def test_k_out_of_range_is_an_error(k: int):
    with pytest.raises(ValueError, match=f"k is {k}; expected 1 <= k <= d_sae = {D_SAE}"):
        replace(random_sae(TopK), k=k)


@pytest.mark.parametrize("kind", [JumpReLU, BatchTopK])
def test_a_negative_threshold_is_an_error(kind: type[SAE]):
    threshold = torch.ones(D_SAE)
    threshold[3] = -0.125
    with pytest.raises(ValueError, match=r"threshold has negative entries, the least -0\.125"):
        replace(random_sae(kind), threshold=threshold)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_of_the_wrong_shape_is_an_error_that_says_which(kind: type[SAE], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users run without shape checks
    sae = random_sae(kind)
    for name in kind.encoder_tensors:
        with pytest.raises(ValueError, match=rf"{name} has shape \(3,\); expected \(d_sae\) = \(40,\)"):
            replace(sae, **{name: torch.zeros(3)})
    with pytest.raises(ValueError, match=r"W_enc has shape \(12, 7\); expected \(d_in, d_sae\) = \(12, 40\)"):
        replace(sae, W_enc=torch.zeros(12, 7))
    with pytest.raises(ValueError, match=r"W_dec has 1 axes; expected \(d_sae, d_in\)"):
        replace(sae, W_dec=torch.zeros(12))
