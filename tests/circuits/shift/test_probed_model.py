"""A model that ends in a probe, and activations with features ablated, against forwards written out by hand."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import zero
from circuits.shift.linear_probe import LinearProbe
from circuits.shift.neurons import with_neurons
from circuits.shift.probe_effects import probe_effects, ranked_effects
from circuits.shift.probed_model import ending_in_probe, probe_logit, upstream_sites
from circuits.shift.site_activations import (
    Feature,
    active_features,
    feature_activations,
    mean_ablation,
    site_activations,
    zero_ablation,
)
from tests.worlds.tiny_models import BOS, JUMPRELU_SITES, WIDTH, World, saes_on

PROMPTS = ((BOS, 5, 9, 3), (BOS, 7, 8, 2, 11, 4), (BOS, 6, 2))
SPLICED, UNSPLICED, INSIDE = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.1.hook_mlp_out"
Change = Callable[[Tensor], Tensor]


def probe() -> LinearProbe:
    weight = torch.randn(WIDTH, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return LinearProbe(weight, torch.tensor(0.3, dtype=torch.float64))


def by_hand(model: LanguageModel, prompt: tuple[int, ...], site: str, changes: Mapping[str, Change]) -> Tensor:
    """The activation at a site's last position with plain hooks that change some sites' activations."""
    arrived: list[Tensor] = []

    def hook(change: Change) -> Callable[..., Tensor]:
        return lambda _module, _inputs, x: change(x.flatten(2)).reshape(x.shape)

    handles = [model.module.hook_dict[s].register_forward_hook(hook(change)) for s, change in changes.items()]
    handles.append(model.module.hook_dict[site].register_forward_hook(lambda _m, _i, x: arrived.append(x.flatten(2))))
    try:
        with torch.no_grad():
            model.logits(torch.tensor([prompt]))
    finally:
        for handle in handles:
            handle.remove()
    return arrived[0][0, -1]


def without(world: World, feature: Feature, positions: list[int]) -> dict[str, Change]:
    """Takes what a feature writes at some positions out of its site's activation."""
    sae = world.spliced.saes[feature.site]

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        for pos in positions:
            value = sae.encode(x[0, pos]).features[feature.index]
            x[0, pos] = x[0, pos] - value * sae.W_dec[feature.index]
        return x

    return {feature.site: change}


def pairs() -> PromptPairs:
    return PromptPairs(tuple(PromptPair(p, p, 1, 0) for p in PROMPTS))


@pytest.mark.parametrize("site", [SPLICED, UNSPLICED])
def test_effects_on_a_probe_equal_forwards_by_hand(world: World, site: str) -> None:
    effects = exact_patching(ending_in_probe(world.spliced, site, probe()), pairs(), probe_logit, patch_value=zero)
    features = np.nonzero(effects.of_kind("feature"))[0]
    assert len(features) > 50
    for n in features[:: len(features) // 10]:
        prompt, name = PROMPTS[effects.example[n]], effects.sites[effects.site[n]]
        feature, position = Feature(name, int(effects.index[n])), int(effects.position[n])
        clean = probe().logit(by_hand(world.model, prompt, site, {}))
        patched = probe().logit(by_hand(world.model, prompt, site, without(world, feature, [position])))
        assert effects.effect[n] == pytest.approx(float(patched - clean), abs=1e-9)
    assert np.abs(effects.effect[features]).max() > 1e-3


def test_a_probe_inside_a_block_has_the_same_effects(llama_world: World) -> None:
    with pytest.warns(UserWarning, match="cannot be run from a layer"):
        ending = ending_in_probe(llama_world.spliced, INSIDE, probe())
    effects = exact_patching(ending, pairs(), probe_logit, patch_value=zero)
    n = int(np.argmax(np.abs(effects.effect) * effects.of_kind("feature")))
    prompt, feature = PROMPTS[effects.example[n]], Feature(effects.sites[effects.site[n]], int(effects.index[n]))
    changes = without(llama_world, feature, [int(effects.position[n])])
    clean, patched = (probe().logit(by_hand(llama_world.model, prompt, INSIDE, c)) for c in ({}, changes))
    assert effects.effect[n] == pytest.approx(float(patched - clean), abs=1e-9)


def test_attribution_patching_at_the_probes_own_site_is_exact(llama_world: World) -> None:
    ending = ending_in_probe(llama_world.spliced, SPLICED, probe())
    exact = exact_patching(ending, pairs(), probe_logit, patch_value=zero)
    estimate = attribution_patching(ending, pairs(), probe_logit, patch_value=zero)
    here = exact.at(SPLICED)
    np.testing.assert_allclose(estimate.effect[here], exact.effect[here], atol=1e-9)
    assert not np.allclose(estimate.effect[~here], exact.effect[~here], atol=1e-6)


def test_only_sites_before_the_probe_are_upstream(llama_world: World) -> None:
    assert upstream_sites(llama_world.spliced, SPLICED) == tuple(JUMPRELU_SITES)[:3]
    assert upstream_sites(llama_world.spliced, UNSPLICED) == llama_world.spliced.sites
    with pytest.raises(ValueError, match="No SAE is spliced in at or before"):
        ending_in_probe(llama_world.spliced, "blocks.0.hook_resid_pre", probe())
    with pytest.raises(LookupError, match="has no site"):
        ending_in_probe(llama_world.spliced, "blocks.7.hook_resid_post", probe())


def test_effects_of_features_are_centred_sizes_summed_over_positions(llama_world: World) -> None:
    effects = exact_patching(
        ending_in_probe(llama_world.spliced, SPLICED, probe()), pairs(), probe_logit, patch_value=zero
    )
    plain: dict[Feature, list[float]] = {}
    for n in np.nonzero(effects.of_kind("feature"))[0]:
        feature = Feature(effects.sites[effects.site[n]], int(effects.index[n]))
        plain.setdefault(feature, [0.0] * len(PROMPTS))[effects.example[n]] += effects.effect[n]
    found = ranked_effects(effects)
    assert {f.feature for f in found} == set(plain)
    for f in found:
        mean = sum(plain[f.feature]) / len(PROMPTS)
        assert f.mean == pytest.approx(mean)
        assert f.effect == pytest.approx(sum(abs(e - mean) for e in plain[f.feature]) / len(PROMPTS))
    assert [f.effect for f in found] == sorted((f.effect for f in found), reverse=True)


def test_screened_features_have_the_effects_that_all_have(llama_world: World) -> None:
    arguments = (llama_world.spliced, SPLICED, probe(), PROMPTS)
    everything = {f.feature: f.effect for f in probe_effects(*arguments, exact=None)}
    told: list[float] = []
    best = probe_effects(*arguments, exact=6, progress=told.append)
    assert len(best) == 6 < len(everything)
    assert {f.feature: f.effect for f in best} == pytest.approx({f.feature: everything[f.feature] for f in best})
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    with pytest.raises(ValueError, match="exact must be at least 1"):
        probe_effects(*arguments, exact=0)


def test_nothing_ablated_is_the_bare_model_to_the_last_bit(world: World) -> None:
    for site in (SPLICED, UNSPLICED, INSIDE):
        found = site_activations(world.spliced, PROMPTS[:1], site)
        assert torch.equal(found[0], by_hand(world.model, PROMPTS[0], site, {}))


@pytest.mark.parametrize("site", [SPLICED, UNSPLICED])
def test_ablated_activations_equal_forwards_by_hand(world: World, site: str) -> None:
    bare = site_activations(world.spliced, PROMPTS, site)
    changed = 0
    for feature in active_features(world.spliced, PROMPTS)[::9]:
        found = site_activations(world.spliced, PROMPTS, site, zero_ablation([feature]), rows=2)
        for row, prompt in enumerate(PROMPTS):
            # Position 0 is BOS, which is not spliced.
            changes = without(world, feature, list(range(1, len(prompt))))
            torch.testing.assert_close(found[row], by_hand(world.model, prompt, site, changes))
            changed += not torch.equal(found[row], bare[row])
    assert changed > 2


def test_an_ablated_feature_takes_the_value_it_is_given(llama_world: World) -> None:
    feature, sae = Feature(SPLICED, 2), llama_world.spliced.saes[SPLICED]

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        for pos in range(1, x.shape[1]):
            x[0, pos] += (0.7 - sae.encode(x[0, pos]).features[2]) * sae.W_dec[2]
        return x

    found = site_activations(llama_world.spliced, PROMPTS, UNSPLICED, {feature: 0.7})
    for row, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(found[row], by_hand(llama_world.model, prompt, UNSPLICED, {SPLICED: change}))


def test_an_sae_that_normalises_loses_what_the_feature_wrote(llama: LanguageModel) -> None:
    sites = {SPLICED: JUMPRELU_SITES[SPLICED]}
    spliced = World(llama, saes_on(llama, sites, {SPLICED: "layer_norm"})).spliced
    sae, bare = spliced.saes[SPLICED], site_activations(spliced, PROMPTS, SPLICED)
    encoding = sae.encode(bare)
    index = int(encoding.features.sum(0).argmax())
    kept = encoding.features.clone()
    kept[:, index] = 0
    lost = sae.decode(encoding.features, encoding.frame) - sae.decode(kept, encoding.frame)
    found = site_activations(spliced, PROMPTS, SPLICED, zero_ablation([Feature(SPLICED, index)]))
    torch.testing.assert_close(found, bare - lost)
    assert lost.abs().max() > 1e-3


def test_mean_activations_equal_a_plain_loop(llama_world: World) -> None:
    features = active_features(llama_world.spliced, PROMPTS)[:4]
    found = feature_activations(llama_world.spliced, PROMPTS, features, rows=2)
    for row, prompt in enumerate(PROMPTS):
        run = llama_world.spliced.run(torch.tensor([prompt]))
        for column, feature in enumerate(features):
            values = run.features[feature.site].dense()[0, 1:, feature.index]
            torch.testing.assert_close(found[row, column], values.mean())
    ablation = mean_ablation(llama_world.spliced, PROMPTS, features)
    assert list(ablation.values()) == pytest.approx(found.mean(0).tolist())


def test_neurons_are_the_activation_itself(llama_world: World) -> None:
    neurons = with_neurons(llama_world.spliced, [SPLICED])
    everything = zero_ablation([Feature(SPLICED, i) for i in range(WIDTH)])
    assert not site_activations(neurons, PROMPTS, SPLICED, everything).any()
    bare = site_activations(neurons, PROMPTS, SPLICED)
    one = site_activations(neurons, PROMPTS, SPLICED, zero_ablation([Feature(SPLICED, 3)]))
    assert not one[:, 3].any()
    assert torch.equal(one[:, 4:], bare[:, 4:])


def test_an_ablation_that_cannot_be_is_an_error(llama_world: World) -> None:
    spliced = llama_world.spliced
    with pytest.raises(LookupError, match="No SAE is spliced in at"):
        site_activations(spliced, PROMPTS, UNSPLICED, {Feature(UNSPLICED, 0): 0.0})
    with pytest.raises(ValueError, match="features 0 to 11"):
        site_activations(spliced, PROMPTS, SPLICED, {Feature(SPLICED, 12): 0.0})
    with pytest.raises(LookupError, match="no site"):
        site_activations(spliced, PROMPTS, "blocks.9.hook_resid_post")
    with pytest.raises(ValueError, match="No prompts, or an empty one"):
        site_activations(spliced, ((1, 2), ()), SPLICED)
    with pytest.raises(ValueError, match="No features given"):
        feature_activations(spliced, PROMPTS, [])


def test_effects_hold_nothing_but_the_probe(llama_world: World) -> None:
    """The metric's clean value is the probe's logit."""
    effects: Effects = exact_patching(
        ending_in_probe(llama_world.spliced, UNSPLICED, probe()), pairs(), probe_logit, patch_value=zero
    )
    expected = probe().logit(site_activations(llama_world.spliced, PROMPTS, UNSPLICED))
    np.testing.assert_allclose(effects.clean_metric, expected.numpy())
