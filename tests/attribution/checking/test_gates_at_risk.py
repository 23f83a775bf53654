"""risk(u) against its formula, gate by gate, with predicted margins from finite differences of plain forwards."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.checking.gates_at_risk import gate_risks
from attribution.dictionaries import BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.effects import Effects
from attribution.effects.measurement import prepare
from attribution.effects.patches import all_patches
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import counterfactual
from attribution.splice.spliced_model import ErrorMode
from tests.twins import method_twins as twins
from tests.twins.node_twins import Gate, Node, NodeTwin, every_kind_world, nodes_of, of_example
from tests.worlds.tiny_models import PAIRS, World

MODES: tuple[ErrorMode, ...] = ("frozen", "zero")
ALL = 10**6


@cache
def mixed() -> World:
    return every_kind_world()


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(mixed().spliced, PAIRS, logit_difference, error_mode=mode)


def risk_by_key(world: World, pairs: PromptPairs, mode: ErrorMode, gates: int) -> dict[int, float]:
    with world.spliced.model.frozen():
        situation = prepare(world.spliced, pairs.batch(), logit_difference, mode, counterfactual, with_gradients=True)
        patches = all_patches(situation)
        found: dict[int, float] = {}
        for patch, risk in zip(patches, gate_risks(situation, patches, gates), strict=True):
            found |= dict(zip(patch.keys(situation).tolist(), risk.tolist(), strict=True))
    return found


def at_threshold(world: World, site: str, run: twins.Run) -> Tensor:
    """The value of every feature where its margin is 0 (the table of gates in METHODS), [pos, d_sae]."""
    sae = world.saes[site]
    if isinstance(sae, (JumpReLU, BatchTopK)):
        return sae.threshold.expand(run.f[site].shape[1:])
    if isinstance(sae, ProLU):
        return (-sae.b_enc).clamp(min=0).expand(run.f[site].shape[1:])
    if isinstance(sae, Gated):
        return (sae.b_mag - sae.b_gate * sae.r_mag.exp()).clamp(min=0).expand(run.f[site].shape[1:])
    assert isinstance(sae, TopK)
    z = (run.x[site][0] - sae.b_dec) @ sae.W_enc + sae.b_enc
    largest = z.sort(dim=-1, descending=True).values
    return ((largest[:, sae.k - 1] + largest[:, sae.k]) / 2).clamp(min=0)[:, None].expand(z.shape)


def gates_of(twin: NodeTwin) -> dict[Gate, tuple[float, float]]:
    """Every gate of a clean run: |jump · ∂m/∂f| and |margin|."""
    c, world = twin.ends[0], twin.world
    slope = twins.slopes(world, twin.pair.clean_ids, twin.metric, twin.mode, c.e, c.entry, c)
    differ = [a != b for a, b in zip(twin.pair.clean_ids, twin.pair.patch_ids, strict=True)]
    found: dict[Gate, tuple[float, float]] = {}
    for site in world.spliced.sites:
        margin = world.saes[site].encode(twin.clean.x[site]).margin
        if margin is None:
            continue
        weight = (at_threshold(world, site, twin.clean) * slope[site, "feature"]).abs()
        for pos in range(differ.index(True), len(differ)):
            for index in range(weight.shape[1]):
                found[site, pos, index] = float(weight[pos, index]), abs(float(margin[0, pos, index]))
    return found


def predicted(twin: NodeTwin, node: Node, step: float = 1e-6) -> dict[Gate, float]:
    """|∂μ/∂u · (p − c)| of every gate downstream, by central differences at the clean run."""
    with torch.no_grad():
        run = twin.run(node, [-step, step])
    found: dict[Gate, float] = {}
    for site in twin.downstream(node):
        margin = twin.world.saes[site].encode(run.x[site]).margin
        if margin is not None:
            moved = ((margin[1] - margin[0]) / (2 * step)).abs()
            found |= {(site, p, i): float(moved[p, i]) for p, i in np.ndindex(*moved.shape)}
    return found


def risk_by_formula(gates: dict[Gate, tuple[float, float]], moved: dict[Gate, float]) -> float:
    return sum(weight for gate, (weight, margin) in gates.items() if moved.get(gate, 0.0) > margin)


def assert_risks(
    twin: NodeTwin, nodes: Effects, found: dict[int, float], gates: dict[Gate, tuple[float, float]]
) -> int:
    at_risk = 0
    for key, node in zip(nodes.keys().tolist(), nodes_of(nodes), strict=True):
        moved = predicted(twin, node)
        near = [g for g, (_, margin) in gates.items() if abs(moved.get(g, 0.0) - margin) < 1e-6 * margin]
        assert not near, "too near to call by finite differences"
        expected = risk_by_formula(gates, moved)
        assert found[key] == pytest.approx(expected, rel=1e-6, abs=1e-12)
        at_risk += expected > 0
    return at_risk


@pytest.mark.parametrize("mode", MODES)
def test_risk_equals_the_formula_over_all_gates(mode: ErrorMode) -> None:
    found = risk_by_key(mixed(), PAIRS, mode, ALL)
    assert set(found) == set(exact_of(mode).keys().tolist()), "every node has a risk"
    nodes, twin = of_example(exact_of(mode), 2), NodeTwin(mixed(), PAIRS[2], mode)
    at_risk = assert_risks(twin, nodes, found, gates_of(twin))
    assert 5 < at_risk < len(nodes), "some nodes are at risk and some are not"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 7])
def test_few_gates_are_those_of_largest_weight_by_margin(mode: ErrorMode, count: int) -> None:
    found = risk_by_key(mixed(), PAIRS, mode, count)
    for example in (1, 2):
        nodes, twin = of_example(exact_of(mode), example), NodeTwin(mixed(), PAIRS[example], mode)
        every = gates_of(twin)
        first = sorted(every, key=lambda gate: -every[gate][0] / every[gate][1])[:count]
        assert_risks(twin, nodes, found, {gate: every[gate] for gate in first})


def test_rows_of_a_batch_equal_single_rows() -> None:
    together = risk_by_key(mixed(), PAIRS, "frozen", 20)
    keys = exact_of("frozen").keys()
    for example, pair in enumerate(PAIRS):
        alone = risk_by_key(mixed(), PromptPairs((pair,)), "frozen", 20)
        first = of_example(exact_patching(mixed().spliced, PromptPairs((pair,)), logit_difference), 0)
        assert len(first) > 0
        mine = np.sort(keys[exact_of("frozen").example == example])
        expected = [alone[key] for key in sorted(alone)]
        assert [together[key] for key in mine.tolist()] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_a_node_that_flips_a_strong_gate_is_ranked_first() -> None:
    """The margin of one strong gate is close to 0, and patching one feature carries it across."""
    world, site, source = every_kind_world(kind=JumpReLU), "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
    twin = NodeTwin(world, PAIRS[1], "frozen")
    effects = of_example(exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen"), 1)
    last = len(PAIRS[1]) - 1
    features = effects.subset(effects.at(source) & effects.of_kind("feature") & (effects.position == last))
    moved = [predicted(twin, node)[site, last, 0] for node in nodes_of(features)]
    planted = nodes_of(features)[int(np.argmax(moved))]
    sae = world.saes[site]
    assert isinstance(sae, JumpReLU)
    z = (twin.clean.x[site][0, last] - sae.b_dec) @ sae.W_enc[:, 0] + sae.b_enc[0]
    strong = 50.0
    threshold, bias, decoder = sae.threshold.clone(), sae.b_enc.clone(), sae.W_dec.clone()
    threshold[0] = strong
    bias[0] += strong - float(z) - 0.9 * max(moved)
    unembed = world.model.module.unembed.weight.detach()
    decoder[0] = unembed[PAIRS[1].answer_id] - unembed[PAIRS[1].foil_id]
    saes = dict(world.saes)
    saes[site] = JumpReLU(
        W_enc=sae.W_enc, W_dec=decoder, b_dec=sae.b_dec, b_enc=bias, threshold=threshold, apply_b_dec_to_input=True
    )
    found = risk_by_key(World(world.model, saes), PAIRS, "frozen", 64)
    key = int(features.keys()[int(np.argmax(moved))])
    rivals = [found[other] for other in np.setdiff1d(features.keys(), [key]).tolist()]
    assert found[key] > 10 * max(rivals), f"{planted} alone reaches the strong gate"
    assert found[key] >= strong * float(decoder[0] @ decoder[0]) * (1 - 1e-9)


def test_encoders_without_gates_put_nothing_at_risk() -> None:
    found = risk_by_key(every_kind_world(kind=ReLU), PAIRS, "frozen", 20)
    assert len(found) > 100
    assert set(found.values()) == {0.0}
