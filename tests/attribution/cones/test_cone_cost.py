"""The predicted cost of patching equals the FLOPs that a counter sees, and is never more than without cones."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from attribution.cones.cone import Cone
from attribution.cones.cone_cost import cone_flops
from attribution.cones.cone_patching import effects_in_cones
from attribution.effects.measurement import Situation, prepare
from attribution.effects.patches import Patches, all_patches
from attribution.models.architectures import plain_model
from attribution.prompts.metrics import METRICS, logit_difference
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.patch_values import counterfactual
from attribution.splice.recording import ErrorMode
from tests.attribution.cones.test_cone import LAYERS, MODELS, MODES, spliced_model
from tests.worlds.tiny_models import PAIRS, VOCABULARY


def cone_and_patches(kind: str, mode: ErrorMode) -> tuple[Situation, Cone, list[Patches]]:
    spliced = spliced_model(kind)
    situation = prepare(spliced, PAIRS.batch(), logit_difference, mode, counterfactual)
    return situation, Cone.of(spliced, plain_model(spliced.model), situation.clean, mode), all_patches(situation)


@pytest.mark.parametrize("bytes_at_once", [BYTES_AT_ONCE, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", MODELS)
def test_the_cost_of_cones_is_what_a_counter_sees(kind: str, mode: ErrorMode, bytes_at_once: int) -> None:
    situation, cone, patches = cone_and_patches(kind, mode)
    with FlopCounterMode(display=False) as counter:
        effects_in_cones(situation, cone, logit_difference, patches, bytes_at_once)
    cost = cone_flops(cone, patches, 2, bytes_at_once)
    assert cost.executed == pytest.approx(counter.get_total_flops(), rel=0.005)
    assert 0.2 * cost.executed < cost.bound < cost.executed


def test_the_cost_of_all_logits_is_counted() -> None:
    situation, cone, patches = cone_and_patches("neox", "live")
    metric = METRICS["log_probability"]
    with FlopCounterMode(display=False) as counter:
        effects_in_cones(situation, cone, metric, patches)
    assert cone_flops(cone, patches, VOCABULARY).executed == pytest.approx(counter.get_total_flops(), rel=0.005)


def test_runs_without_waste_cost_their_bound_but_for_what_they_cannot_see() -> None:
    _, cone, patches = cone_and_patches("gpt2", "live")
    one = [p.only((p.row == 0) & (p.pos == int(cone.recording.last[0]))) for p in patches]
    one = [p for p in one if len(p) and p.site == f"blocks.{LAYERS - 1}.hook_resid_post"]
    cost = cone_flops(cone, one)
    runs = sum(map(len, one))
    assert runs > 0
    logits = 2 * 2 * spliced_model("gpt2").model.d_model
    assert cost.bound == runs * logits
    assert cost.executed == (runs + len(cone.recording.last)) * logits
