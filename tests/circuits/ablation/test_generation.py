"""Generation with the KV cache equals whole runs at every step, for every operation and error mode."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from attribution.models.language_model import LanguageModel
from attribution.splice.edits import (
    ERROR,
    EVERYWHERE,
    KEEP_ONLY,
    REMOVE,
    KeepOnly,
    NodeEdit,
    Operation,
    ReferenceValues,
    SiteNodes,
    add,
    edit_of,
    scale,
    set_to,
)
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.generation import generate
from circuits.embedded.load import embedded_model, embedded_saes
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import BRIDGES, JUMPRELU_SITES, World, bridge, plain_world, saes_on

IDS = torch.tensor([[0, 5, 9, 3], [0, 7, 8, 2]])
SITE, LATER = "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"
MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
OPERATIONS = (REMOVE, KEEP_ONLY, set_to(1.5), add(0.7), scale(-2.0))
STEPS = 3


def edits_of(
    spliced: SplicedModel, operation: Operation, first: str = SITE, later: str = LATER
) -> list[NodeEdit | KeepOnly]:
    """Features everywhere at two sites, one at a place of the prompt, one at a place that is yet to come."""
    always = [(n, EVERYWHERE, EVERYWHERE, n) for n in range(6)]
    tables = {
        first: [*always, (6, 0, 2, 8)],
        later: [*always, (6, 1, 5, 9), *([(7, EVERYWHERE, EVERYWHERE, ERROR)] if operation.for_errors else [])],
    }
    sites = spliced.sites if operation is KEEP_ONLY else tables
    return [edit_of(operation, site, SiteNodes.of(tables.get(site, [])), ReferenceValues.zero()) for site in sites]


@pytest.mark.parametrize("kind", BRIDGES)
def test_cached_generation_equals_whole_runs_for_every_operation_and_mode(kind: str) -> None:
    model = bridge(kind)
    spliced = World(model, saes_on(model, JUMPRELU_SITES)).spliced
    assert model.keeps_cache
    for mode in MODES:
        bare = generate(spliced, IDS, new_tokens=1, error_mode=mode)
        for operation in OPERATIONS:
            edits = edits_of(spliced, operation)
            cached = generate(spliced, IDS, edits, new_tokens=STEPS, error_mode=mode)
            whole = generate(spliced, IDS, edits, new_tokens=STEPS, error_mode=mode, use_cache=False)
            assert torch.equal(cached.ids, whole.ids)
            torch.testing.assert_close(cached.logits, whole.logits, rtol=1e-9, atol=1e-10)
            for one, other in zip(cached.touched, whole.touched, strict=True):
                assert torch.equal(one.nodes, other.nodes)
            assert (cached.logits[:, 0] - bare.logits[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("mode", MODES)
def test_generation_equals_plain_hooked_runs(llama_world: World, mode: ErrorMode) -> None:
    """Feature 3 gains 0.7 at every position, feature 8 at position 5, which the prompt does not reach."""
    ids = IDS[:1].tolist()[0]

    def edit(site: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        f = f.clone()
        if site == SITE:
            f[0, 1:, 3] += 0.7
            f[0, 5:6, 8] += 0.7
        return f, e

    nodes = SiteNodes.of([(0, EVERYWHERE, EVERYWHERE, 3), (1, 0, 5, 8)])
    edits = [NodeEdit(SITE, nodes, add(0.7), ReferenceValues.zero())]
    found = generate(llama_world.spliced, IDS[:1], edits, new_tokens=STEPS, error_mode=mode)
    assert found.touched[0].nodes.tolist() == [0, 1]
    for step in range(STEPS):
        with torch.no_grad():
            errors = twins.forward(llama_world, ids, "live").e
            logits = twins.forward(llama_world, ids, mode, errors=errors, edit=edit).logits
        torch.testing.assert_close(found.logits[:, step], logits, rtol=1e-9, atol=1e-10)
        ids = [*ids, int(logits.argmax())]
    assert found.ids[0].tolist() == ids


def test_the_embedded_model_generates_the_same_with_and_without_cache() -> None:
    model = embedded_model()
    spliced = SplicedModel(model, embedded_saes("topk"))
    ids = torch.tensor([model.token_ids("the doctors near the cake")])
    edits = edits_of(spliced, add(6.0), "blocks.1.hook_resid_post", "blocks.2.hook_resid_post")[:1]
    for mode in MODES:
        cached, whole = (
            generate(spliced, ids, edits, new_tokens=6, error_mode=mode, use_cache=use) for use in (True, False)
        )
        assert torch.equal(cached.ids, whole.ids)
        assert (cached.logits - whole.logits).abs().max() < 1e-5 * whole.logits.abs().max()


def test_without_edits_it_is_the_models_own_greedy_text(llama_world: World) -> None:
    found = generate(llama_world.spliced, IDS, new_tokens=STEPS)
    ids = IDS
    for _ in range(STEPS):
        ids = torch.cat([ids, llama_world.model.logits(ids)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found.ids, ids)


def test_drawing_is_the_same_for_the_same_seed_and_follows_the_temperature(llama_world: World) -> None:
    def drawn(seed: int, temperature: float = 1.0) -> list[list[int]]:
        return generate(llama_world.spliced, IDS, new_tokens=6, temperature=temperature, seed=seed).ids.tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1, 1e-4) == drawn(2, 1e-4) == drawn(0, 0.0)


def test_a_row_ends_with_its_closing_token(llama_world: World) -> None:
    free = generate(llama_world.spliced, IDS, new_tokens=STEPS).ids
    closing = int(free[0, IDS.shape[1]])
    found = generate(llama_world.spliced, IDS[:1], new_tokens=STEPS, closing_id=closing)
    assert found.ids[0].tolist() == [*IDS[0].tolist(), closing]
    assert found.logits.shape[1] == 1


def test_a_model_that_ignores_the_cache_is_found_out_and_run_whole() -> None:
    world = plain_world(torch.tanh, always_open=False)
    assert not world.model.keeps_cache
    with pytest.warns(UserWarning, match="does not keep a cache"):
        found = generate(world.spliced, IDS, new_tokens=2)
    whole = generate(world.spliced, IDS, new_tokens=2, use_cache=False)
    assert torch.equal(found.logits, whole.logits)


def test_a_bridge_without_a_hugging_face_model_ignores_the_cache_and_is_found_out() -> None:
    make_config: Any = TransformerBridgeConfig
    boot: Any = TransformerBridge
    size = {"n_layers": 2, "d_model": 16, "n_ctx": 32, "d_head": 4, "n_heads": 4, "d_mlp": 24, "d_vocab": 24}
    config = make_config(**size, act_fn="gelu", normalization_type="LN")
    assert not LanguageModel(boot.boot_native(config)).keeps_cache


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"new_tokens": 0}, "at least 1 token"),
        ({"new_tokens": 2, "temperature": -1.0}, "temperature must be 0"),
        ({"new_tokens": 2, "error_mode": "frozn"}, "No error mode 'frozn' here"),
        ({"new_tokens": 100}, "context holds 32"),
    ],
)
def test_wrong_settings_are_errors(llama_world: World, settings: dict[str, object], match: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=match):
        generate(llama_world.spliced, IDS, **settings)  # pyright: ignore[reportArgumentType]


def test_logits_that_are_no_numbers_are_an_error(llama_world: World) -> None:
    nodes = SiteNodes.of([(0, EVERYWHERE, EVERYWHERE, 3)])
    huge = NodeEdit(SITE, nodes, add(1e308), ReferenceValues.zero())
    with pytest.raises(ValueError, match="Token 1 to generate: its logits are no numbers"):
        generate(llama_world.spliced, IDS, [huge], new_tokens=2)


def test_rows_with_seeds_of_their_own_are_drawn_alike_whatever_is_beside_them(llama_world: World) -> None:
    def drawn(ids: Tensor, seeds: list[int]) -> list[list[int]]:
        return generate(llama_world.spliced, ids, new_tokens=6, temperature=2.0, seed=seeds).ids.tolist()

    both = drawn(IDS, [3, 4])
    assert drawn(IDS[:1], [3]) + drawn(IDS[1:], [4]) == both
    assert drawn(IDS.flip(0), [4, 3]) == both[::-1]
    assert drawn(IDS[:1].repeat(2, 1), [3, 4])[0] == both[0]
    assert drawn(IDS[:1].repeat(4, 1), [3, 4, 5, 6])[1:] != [both[0]] * 3
