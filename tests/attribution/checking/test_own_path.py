"""A node's own path against a slow twin: plain forwards on a grid of α, its own gates, jumps by finite differences."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.checking.own_path import GateFlip, OwnPath, own_paths, path_values
from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import ErrorMode
from graphs import FeatureNode, TokenNode
from tests.twins.node_twins import Jump, Node, NodeTwin, every_kind_world, nodes_of, of_example, relus_like
from tests.worlds.tiny_models import PAIRS, OnlyBOS, PlainModel, World

RESOLUTION = 1e-4
GATED: tuple[ErrorMode, ...] = ("frozen", "zero")


@cache
def mixed() -> World:
    return every_kind_world()


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(mixed().spliced, PAIRS, logit_difference, error_mode=mode)


def strongest(effects: Effects, each: int) -> Effects:
    """The strongest entries of every kind of node."""
    order = np.argsort(-np.abs(effects.effect))
    kinds = [order[effects.kind[order] == kind][:each] for kind in range(3)]
    return effects.subset(np.sort(np.concatenate(kinds)))


def walked(world: World, pairs: PromptPairs, nodes: Effects, mode: ErrorMode, **more: int) -> list[OwnPath]:
    paths = own_paths(world.spliced, pairs, logit_difference, nodes, error_mode=mode, **more)  # pyright: ignore[reportArgumentType]
    assert len(paths) == len(nodes)
    return [paths[key] for key in nodes.keys().tolist()]


def assert_jumps(path: OwnPath, expected: list[Jump], scale: float) -> None:
    """Assert that every jump of the twin is one of the path's; jumps closer than the resolution may be joined."""
    left = list(expected)
    for jump in path.jumps:
        here = [j for j in left if abs(j.alpha - jump.alpha) <= RESOLUTION / 2 + 1e-9]
        assert here, f"no gate flips at {jump.alpha}"
        left = [j for j in left if j not in here]
        assert jump.size == pytest.approx(sum(j.size for j in here), rel=2e-3, abs=1e-6 * scale)
        net: dict[tuple[str, int, int], bool] = {}
        for flips in (j.flips for j in here):
            for gate, opened in flips.items():
                if net.pop(gate, None) is None:
                    net[gate] = opened
        assert {(f.site, f.position, f.index): f.opened for f in jump.flips} == net
    assert not left, f"flips at {[j.alpha for j in left]} are missing"


@pytest.mark.parametrize("mode", GATED)
def test_own_paths_equal_plain_forwards_on_a_grid(mode: ErrorMode) -> None:
    seen, kinds = 0, set[str]()
    example = 1 if mode == "frozen" else 2
    nodes, twin = strongest(of_example(exact_of(mode), example), 1), NodeTwin(mixed(), PAIRS[example], mode)
    paths = walked(mixed(), PAIRS, nodes, mode)
    for path, node, exact in zip(paths, nodes_of(nodes), nodes.effect.tolist(), strict=True):
        expected = twin.jumps(node, cells=128)
        assert path.exact == pytest.approx(exact, rel=1e-9)
        assert path.exact == pytest.approx(twin.exact(node), rel=1e-9)
        assert_jumps(path, expected, abs(exact))
        jump = sum(j.size for j in expected)
        # A jump is closed in to the resolution: the slope may change anywhere in that interval.
        within = 3 * RESOLUTION * max(abs(exact), abs(jump))
        assert path.jump == pytest.approx(jump, abs=within)
        assert path.smooth == pytest.approx(exact - jump, abs=within)
        assert abs(path.residual) <= 1e-4 * abs(exact)
        seen += len(expected)
        kinds |= {site for j in expected for site, _, _ in j.flips}
    assert seen >= 5
    assert len(kinds) >= 3, "gates of several kinds flip"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(JumpReLU, "frozen"), (Gated, "zero"), (TopK, "frozen"), (ProLU, "zero"), (BatchTopK, "zero")],
)
def test_smooth_part_and_jumps_add_up_to_the_exact_effect(kind: type[SAE], mode: ErrorMode) -> None:
    world = every_kind_world(kind=kind)
    effects = exact_patching(world.spliced, PAIRS, logit_difference, error_mode=mode)
    nodes = strongest(effects, 1)
    paths = walked(world, PAIRS, nodes, mode)
    assert sum(len(path.jumps) for path in paths) >= 1
    assert max(abs(path.jump) for path in paths) > 1e-3 * max(abs(path.exact) for path in paths)
    for path, exact in zip(paths, nodes.effect.tolist(), strict=True):
        assert path.exact == pytest.approx(exact, rel=1e-9)
        assert abs(path.residual) <= 1e-4 * abs(exact)


def test_relu_encoders_never_jump() -> None:
    world = relus_like(mixed())
    effects = exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")
    for path in walked(world, PAIRS, strongest(effects, 2), "frozen"):
        assert path.jumps == ()
        assert path.smooth == pytest.approx(path.exact, rel=1e-3), "kinks are closed in to 1/4096 of the path"


def test_nothing_jumps_in_live_mode() -> None:
    nodes = strongest(exact_of("live"), 5)
    for path, exact in zip(walked(mixed(), PAIRS, nodes, "live"), nodes.effect.tolist(), strict=True):
        assert path.jumps == ()
        assert path.exact == pytest.approx(exact, rel=1e-9)
        assert path.smooth == pytest.approx(exact, rel=1e-5)


def test_runs_at_once_and_batches_change_nothing() -> None:
    size, example = np.abs(exact_of("frozen").effect), exact_of("frozen").example
    nodes = exact_of("frozen").subset(np.array([np.argmax(size * (example == e)) for e in (1, 2)]))
    whole = walked(mixed(), PAIRS, nodes, "frozen")
    parts = walked(mixed(), PAIRS, nodes, "frozen", runs_at_once=50, batch_size=1)
    for one, other in zip(whole, parts, strict=True):
        assert other.smooth == pytest.approx(one.smooth, rel=1e-9)
        assert [(j.alpha, j.flips) for j in other.jumps] == [(j.alpha, j.flips) for j in one.jumps]
        np.testing.assert_allclose([j.size for j in other.jumps], [j.size for j in one.jumps], rtol=1e-6, atol=1e-12)


SOURCE, GATE_SITE = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"


def one_gate(bend: Callable[[Tensor], Tensor], threshold: float, bias: float = 0.0) -> World:
    """ReLU features that are always open, and one JumpReLU feature downstream that can flip."""
    torch.manual_seed(5)
    width, count = 16, 6
    directions = 0.1 * torch.randn(2, width, count).double()
    decoders = 0.5 * torch.randn(2, count, width).double()
    nothing = torch.zeros(width).double()
    far = torch.full((count,), 1e9).double()
    far[0] = threshold
    source = ReLU(W_enc=directions[0], W_dec=decoders[0], b_dec=nothing, b_enc=torch.full((count,), 50.0).double())
    gate = JumpReLU(
        W_enc=directions[1],
        W_dec=decoders[1],
        b_dec=nothing,
        b_enc=torch.full((count,), bias).double(),
        threshold=far,
    )
    return World(LanguageModel(PlainModel(bend), OnlyBOS()), {SOURCE: source, GATE_SITE: gate})


LAST = len(PAIRS[1]) - 1
ONE = PromptPairs((PAIRS[1],))


def z_along(bend: Callable[[Tensor], Tensor], node: Node, alpha: Tensor) -> Tensor:
    """Pre-activation (less its bias) of the one gate, at the last position of the path."""
    run = NodeTwin(one_gate(bend, 1e9), PAIRS[1], "frozen").run(node, alpha)
    return (run.x[GATE_SITE] @ one_gate(bend, 1e9).saes[GATE_SITE].W_enc)[:, LAST, 0].detach()


def value_of_gate(bend: Callable[[Tensor], Tensor]) -> float:
    """Change of the metric per unit of the gate's feature: decoder times unembedding."""
    world = one_gate(bend, 1e9)
    unembed = world.model.module.unembed.weight
    direction = unembed[PAIRS[1].answer_id] - unembed[PAIRS[1].foil_id]
    return float((world.saes[GATE_SITE].W_dec[0] @ direction).detach())


def path_of(world: World, node: Node) -> OwnPath:
    effects = exact_patching(world.spliced, ONE, logit_difference, error_mode="frozen")
    chosen = effects.subset(np.array([n == node for n in nodes_of(effects)]))
    return walked(world, ONE, chosen, "frozen")[0]


@pytest.mark.parametrize("share", [0.03, 0.31, 0.5, 0.987])
def test_a_known_threshold_is_crossed_where_and_by_what_the_formula_says(share: float) -> None:
    """In an affine model z grows linearly; the gate flips where z crosses θ, and the metric jumps by θ · value."""

    def straight(x: Tensor) -> Tensor:
        return 0.7 * x

    node = FeatureNode(SOURCE, 3, 1)
    start, end = z_along(straight, node, torch.tensor([0.0, 1.0])).tolist()
    assert abs(end - start) > 1e-2
    threshold = 2.0
    bias = threshold - (start + share * (end - start))
    path = path_of(one_gate(straight, threshold, bias), node)
    (jump,) = path.jumps
    opened = end > start
    assert jump.alpha == pytest.approx(share, abs=RESOLUTION)
    assert jump.flips == (GateFlip(GATE_SITE, LAST, 0, opened),)
    assert jump.size == pytest.approx((1 if opened else -1) * threshold * value_of_gate(straight), rel=1e-5)
    assert path.smooth == pytest.approx(path.exact - jump.size, rel=1e-9, abs=1e-9)


def wave(x: Tensor) -> Tensor:
    return 0.5 * torch.sin(6 * x)


def opened_near_the_top(drop: float) -> tuple[OwnPath, list[Jump], tuple[float, float]]:
    """A gate open only where z is within `drop` of its largest value: path and twin's jumps at it, and the window."""
    node, alpha = TokenNode(3), torch.linspace(0, 1, 8001, dtype=torch.float64)
    z = z_along(wave, node, alpha)
    level = float(z.max()) - drop
    window = (z > level).nonzero()[:, 0]
    first, last = float(alpha[window[0]]), float(alpha[window[-1]])
    assert len(window) == window[-1] - window[0] + 1, "open once"
    assert 0 < first < last < 1 / 8, "within the first eighth"
    world = one_gate(wave, 2.0, 2.0 - level)
    path, gate = path_of(world, node), (GATE_SITE, LAST, 0)
    expected = [j for j in NodeTwin(world, PAIRS[1], "frozen").jumps(node) if gate in j.flips]
    at_last = tuple(j for j in path.jumps if j.flips[0].position == LAST)
    return replace(path, jumps=at_last), expected, (first, last)


def test_a_gate_that_opens_and_closes_again_within_a_first_piece_is_found() -> None:
    """Both ends of each eighth of the path have the same open gates; only slopes inside reveal the flips."""
    path, expected, (first, last) = opened_near_the_top(0.006)
    opens, closes = path.jumps
    assert (opens.flips[0].opened, closes.flips[0].opened) == (True, False)
    assert opens.alpha == pytest.approx(first, abs=1 / 8000 + RESOLUTION)
    assert closes.alpha == pytest.approx(last, abs=1 / 8000 + RESOLUTION)
    assert opens.size == pytest.approx(2.0 * value_of_gate(wave), rel=1e-4)
    assert_jumps(path, expected, abs(opens.size))


def test_a_gate_open_only_between_the_points_of_a_piece_is_missed_and_the_parts_still_add_up() -> None:
    """A known limit: a gate that opens and closes again is not listed if no point of the integral lies in between."""
    path, expected, _ = opened_near_the_top(0.001)
    assert len(expected) == 2
    assert abs(expected[0].size) > 0.5
    assert path.jumps == ()
    assert path.jump == pytest.approx(sum(j.size for j in expected), abs=1e-9)
    assert path.residual == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("mode", ["frozen", "zero", "live"])
def test_path_values_are_metric_slope_and_margins_of_plain_forwards(mode: ErrorMode) -> None:
    example = 1
    nodes = strongest(of_example(exact_of(mode), example), 1)
    gates = tuple(
        GateFlip(site, position, index, True)
        for site in (GATE_SITE, "blocks.1.hook_attn_out")
        for position in (4, 5)
        for index in (0, 7)
    )
    alpha, step = torch.linspace(0, 1, 9, dtype=torch.float64), 1e-6
    twin = NodeTwin(mixed(), PAIRS[example], mode)
    for number, node in enumerate(nodes_of(nodes)):
        one = nodes.subset(np.array([number]))
        watched = () if mode == "live" else tuple(g for g in gates if g.site in twin.downstream(node))
        values = path_values(mixed().spliced, PAIRS, logit_difference, one, watched, error_mode=mode, points=9)
        torch.testing.assert_close(values.alpha, alpha)
        torch.testing.assert_close(values.metric, twin.metrics(node, alpha), rtol=1e-9, atol=1e-12)
        inside = alpha.clamp(step, 1 - step)
        (up, on_up), (down, on_down) = (twin.gates(node, inside + s) for s in (step, -step))
        same = torch.ones(len(alpha), dtype=torch.bool)
        for site in on_up:
            same &= (on_up[site] == on_down[site]).flatten(1).all(1)
        assert same.sum() > 5
        numerical = (up - down) / (2 * step)
        torch.testing.assert_close(
            values.slope[same], numerical[same], rtol=1e-4, atol=1e-4 * float(values.slope.abs().max())
        )
        run = twin.run(node, alpha)
        assert set(values.margins) == set(watched)
        for gate, margin in values.margins.items():
            direct = mixed().saes[gate.site].encode(run.x[gate.site]).margin
            assert direct is not None
            torch.testing.assert_close(margin, direct[:, gate.position, gate.index].detach(), rtol=1e-9, atol=1e-12)


def test_path_values_of_several_nodes_are_an_error() -> None:
    nodes = strongest(exact_of("frozen"), 1)
    with pytest.raises(ValueError, match="One node has one path; got 3 nodes"):
        path_values(mixed().spliced, PAIRS, logit_difference, nodes)


def test_own_path_of_other_nodes_is_left_out() -> None:
    nodes = of_example(strongest(exact_of("frozen"), 2), 2)
    assert len(nodes) > 0
    paths = own_paths(mixed().spliced, PAIRS, logit_difference, nodes, error_mode="frozen")
    assert set(paths) == set(nodes.keys().tolist())
