"""Gradients whose graph is held block by block are those of the whole graph, to the last bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.checking.own_path import own_paths
from attribution.checking.verification import choose_nodes
from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.edges.chord_edges import chord_edges
from attribution.edges.gradient_edges import gradient_edges
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.methods.mask_path import mask_path
from attribution.models.hooks import logits_at
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.runs.progress import silent
from attribution.splice.patch_values import counterfactual
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import BRIDGES, HAS_HOOKED, HOOKED, JUMPRELU_SITES, PAIRS, saes_on, tiny_model

Measure = Callable[[SplicedModel], np.ndarray]


def spliced(kind: str) -> SplicedModel:
    model = tiny_model(kind)
    return SplicedModel(model, saes_on(model, JUMPRELU_SITES), dtype=torch.float64)


def effects_by(method: Callable[..., Effects], **options: Any) -> Measure:
    return lambda model: method(model, PAIRS, logit_difference, **options).effect


def own_path_parts(model: SplicedModel) -> np.ndarray:
    nodes = attribution_patching(model, PAIRS, logit_difference, error_mode="frozen")
    nodes = nodes.subset(np.argsort(-np.abs(nodes.effect))[:6])
    paths = own_paths(model, PAIRS, logit_difference, nodes)
    return np.array([(path.exact, path.smooth, path.jump) for path in paths.values()])


def weights(edges: Callable[..., Any], **options: Any) -> Measure:
    def measured(model: SplicedModel) -> np.ndarray:
        targets = attribution_patching(model, PAIRS, logit_difference, error_mode="frozen")
        return edges(model, PAIRS, logit_difference, targets, **options).weight

    return measured


def chosen_at_risk(model: SplicedModel) -> np.ndarray:
    about: dict[str, Any] = {"error_mode": "frozen", "patch_value": counterfactual, "seed": 0, "batch_size": 4}
    estimate = attribution_patching(model, PAIRS, logit_difference, error_mode="frozen")
    return choose_nodes(model, PAIRS, logit_difference, estimate, verify=40, progress=silent, **about).keys


MEASURES: dict[str, Measure] = {
    "atp, live": effects_by(attribution_patching),
    "atp, frozen": effects_by(attribution_patching, error_mode="frozen"),
    "atp, zero": effects_by(attribution_patching, error_mode="zero"),
    "atp-star": effects_by(attribution_patching_star, error_mode="frozen"),
    "ig, live": effects_by(integrated_gradients),
    "ig, frozen": effects_by(integrated_gradients, error_mode="frozen"),
    "ig-input, path": effects_by(input_path_integrated_gradients),
    "chord-ig, path": effects_by(chord_integrated_gradients),
    "mask-path": effects_by(mask_path),
    "chord edges": weights(chord_edges),
    "gradient edges": weights(gradient_edges),
    "own paths": own_path_parts,
    "gates at risk": chosen_at_risk,
}


@pytest.mark.parametrize("name", MEASURES)
def test_every_gradient_is_the_same_block_by_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = spliced("gpt2"), list[bool]()
    holds = SplicedModel.holds_whole

    def noted(self: SplicedModel, *arguments: Any, **options: Any) -> bool:
        seen.append(holds(self, *arguments, **options))
        return seen[-1]

    monkeypatch.setattr(SplicedModel, "holds_whole", noted)
    expected = MEASURES[name](whole)
    assert len(expected) > 0
    assert all(seen)
    found = MEASURES[name](whole.within(0))
    assert not all(seen), "no graph was held block by block"
    assert np.array_equal(found, expected)


def test_secants_are_the_same_without_the_projections_of_the_recordings() -> None:
    world = spliced("gpt2")
    lean = world.within(2**40, keeps_projections=False)
    for name in ("chord-ig, path", "chord edges"):
        np.testing.assert_allclose(MEASURES[name](lean), MEASURES[name](world), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [*BRIDGES, *([HOOKED] if HAS_HOOKED else [])])
def test_a_block_is_executed_again_with_the_functions_that_act_in_it_and_the_model_is_left_as_it_was(kind: str) -> None:
    model = tiny_model(kind)
    ids, last = torch.tensor([[0, 5, 9, 3]]), torch.tensor([3])
    before = [vars(block).get("forward") for block in model.module.blocks]
    gradients = [gradient_at(model, ids, last, recomputed=recomputed) for recomputed in (False, True)]
    assert torch.equal(*gradients)
    assert float(gradients[0].abs().max()) > 0
    assert [vars(block).get("forward") for block in model.module.blocks] == before


def gradient_at(model: LanguageModel, ids: Tensor, last: Tensor, *, recomputed: bool) -> Float[Tensor, "row pos width"]:
    """The gradient of a logit in what enters block 0, where three sites bend what passes."""
    start: list[Tensor] = []

    def enter(x: Tensor) -> Tensor:
        start.append(x.detach().requires_grad_())
        return start[0]

    sites = ("blocks.0.attn.hook_z", "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out")
    with torch.enable_grad(), model.frozen():
        logits = logits_at(model, ids, last, dict.fromkeys(sites, torch.sin), enter=enter, recomputed=recomputed)
    return torch.autograd.grad(logits[0, 7], start[0])[0]
