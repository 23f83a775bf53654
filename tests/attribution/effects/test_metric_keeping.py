"""Keeping only some nodes equals its plain twin, is invisible with all kept, and the reference run with none."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

import tests.twins.keep_only_twin as twin
from attribution.dictionaries import JumpReLU, ReLU
from attribution.effects.metric_keeping import EVERYTHING, NOTHING, Kept, logits_keeping, metric_keeping
from attribution.methods.exact_patching import exact_patching
from attribution.models.hooks import logits_at
from attribution.prompts.metrics import Metric, kl_divergence, logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.edits import KeepOnly, SiteNodes
from attribution.splice.node_keys import KINDS, columns_of_keys, node_keys
from attribution.splice.references import Reference, counterfactual, zero
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, bridge, saes_on

LAST = "blocks.1.hook_resid_post"


@cache
def every_kind(splice_bos: bool = False) -> World:
    """Six sites, six encoder kinds."""
    world = every_kind_world()
    return World(world.model, world.saes, splice_bos)


@cache
def normalised() -> World:
    """A Llama whose SAEs normalise in different ways, the last one too."""
    model = bridge("llama")
    sites = {"blocks.0.hook_mlp_out": JumpReLU, "blocks.0.hook_resid_post": ReLU, LAST: JumpReLU}
    return World(
        model,
        saes_on(model, sites, {"blocks.0.hook_resid_post": "constant_norm_rescale", LAST: "layer_norm"}),
    )


@cache
def heads() -> World:
    """Also a site whose activation has a head axis."""
    model = bridge("llama")
    return World(model, saes_on(model, JUMPRELU_SITES))


WORLDS: dict[str, Callable[[], World]] = {
    "every kind": every_kind,
    "every kind, bos": lambda: every_kind(True),
    "normalised": normalised,
    "heads": heads,
}
NO_KEYS = EVERYTHING.keys


def some_keys(world: World, pairs: PromptPairs = PAIRS, share: float = 0.5) -> np.ndarray:
    """Keys of about half of all features and errors of every pair, drawn with a seed."""
    draw = np.random.default_rng(0)
    found: list[np.ndarray] = []
    for place, sae in enumerate(world.spliced.saes.values(), start=1):
        for example, pair in enumerate(pairs):
            pos, index = np.nonzero(draw.random((len(pair), sae.d_sae + 1)) < share)
            for kind, chosen in (("feature", index > 0), ("error", index == 0)):
                count = int(chosen.sum())
                found.append(node_keys(np.full(count, example), pos[chosen], index[chosen] - 1, site=place, kind=kind))
    return np.unique(np.concatenate(found))


def members(world: World, keys: np.ndarray, example: int) -> set[twin.Node]:
    """The nodes of one example among the keys, in the twin's words."""
    columns = columns_of_keys(keys)
    return {
        (world.spliced.sites[site - 1], KINDS[kind], pos, index)
        for e, site, pos, kind, index in zip(
            *(columns[n].tolist() for n in ("example", "site", "position", "kind", "index")), strict=True
        )
        if e == example
    }


def twin_of(world: World, kept: Kept, reference: Reference, example: int) -> torch.Tensor:
    """The slow twin's logits for one pair."""
    pair, inside = PAIRS[example], members(world, kept.keys, example)

    def is_kept(node: twin.Node) -> bool:
        if node[1] == "error" and kept.all_errors is not None:
            return kept.all_errors
        return (node in inside) != kept.complement

    patch = twin.bare_run(world, pair.patch_ids)
    values = twin.zeros(world) if reference is zero else twin.of_run(world, patch)
    return twin.twin_logits(world, pair.clean_ids, is_kept, values)


@pytest.mark.parametrize("reference", [counterfactual, zero], ids=lambda r: r.name)
@pytest.mark.parametrize("name", WORLDS)
def test_keeping_some_nodes_equals_the_plain_twin(name: str, reference: Reference) -> None:
    world = WORLDS[name]()
    keys = some_keys(world)
    for kept in (Kept(keys), Kept(keys, complement=True), Kept(keys, all_errors=True), Kept(keys, all_errors=False)):
        logits = logits_keeping(world.spliced, PAIRS, kept, reference)
        expected = torch.stack([twin_of(world, kept, reference, n) for n in range(len(PAIRS))])
        assert torch.allclose(logits, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", WORLDS)
def test_with_everything_kept_the_logits_are_the_bare_models(name: str) -> None:
    world = WORLDS[name]()
    batch = PAIRS.batch()
    with torch.no_grad():
        whole = world.model.logits(batch.clean_ids)[torch.arange(len(PAIRS)), batch.last]
        bare = logits_at(world.model, batch.clean_ids, batch.last, {})
    assert torch.allclose(bare, whole, rtol=0, atol=1e-12)
    for reference in (counterfactual, zero):
        assert torch.equal(logits_keeping(world.spliced, PAIRS, EVERYTHING, reference), bare)


@pytest.mark.parametrize("name", ["every kind", "normalised"])
def test_with_nothing_kept_the_logits_are_the_patch_runs(name: str) -> None:
    world = WORLDS[name]()
    assert LAST in world.saes
    batch = PAIRS.batch()
    with torch.no_grad():
        patch = world.model.logits(batch.patch_ids)[torch.arange(len(PAIRS)), batch.last]
    assert torch.allclose(logits_keeping(world.spliced, PAIRS, NOTHING, counterfactual), patch, rtol=0, atol=1e-12)


def test_leaving_out_one_node_moves_the_metric_by_its_exact_effect() -> None:
    world = every_kind()
    effects = exact_patching(world.spliced, PAIRS, logit_difference)
    effects = effects.subset(~effects.of_kind("token"))
    chosen = np.argsort(-np.abs(effects.effect))[:8].tolist()
    keys = effects.keys()
    sets = [Kept(keys[n : n + 1], complement=True) for n in chosen]
    found = metric_keeping(world.spliced, PAIRS, logit_difference, [EVERYTHING, *sets], counterfactual)
    for row, n in enumerate(chosen, start=1):
        moved = found[row] - found[0]
        assert moved[effects.example[n]] == pytest.approx(effects.effect[n], abs=1e-10)
        assert not np.delete(moved, effects.example[n]).any()


@pytest.mark.parametrize("metric", [logit_difference, kl_divergence], ids=lambda m: m.name)
def test_batches_change_nothing_and_progress_ends_at_one(metric: Metric) -> None:
    world = every_kind()
    sets = [Kept(some_keys(world)), NOTHING, EVERYTHING]
    told: list[float] = []
    at_once = metric_keeping(world.spliced, PAIRS, metric, sets, counterfactual)
    one_by_one = metric_keeping(
        world.spliced,
        PAIRS,
        metric,
        sets,
        counterfactual,
        batch_size=1,
        progress=told.append,
    )
    assert np.allclose(at_once, one_by_one, rtol=0, atol=1e-12)
    assert at_once.shape == (3, len(PAIRS))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_tokens_are_never_ablated() -> None:
    world = every_kind()
    tokens = node_keys(np.array([0]), np.array([2]), np.array([-1]), site=0, kind="token")
    for complement in (False, True):
        with_token, without = (
            logits_keeping(world.spliced, PAIRS, Kept(keys, complement), counterfactual) for keys in (tokens, NO_KEYS)
        )
        assert torch.equal(with_token, without)


@pytest.mark.parametrize(
    ("example", "position", "index", "site"), [(3, 1, 0, 1), (0, 4, 0, 1), (0, 1, 12, 1), (0, 1, 0, 7)]
)
def test_a_key_of_no_node_is_an_error(example: int, position: int, index: int, site: int) -> None:
    keys = node_keys(np.array([example]), np.array([position]), np.array([index]), site=site, kind="feature")
    with pytest.raises(ValueError, match="is not in these 3 prompts and 6 spliced sites"):
        metric_keeping(every_kind().spliced, PAIRS, logit_difference, [Kept(keys)], counterfactual)


@pytest.mark.parametrize("name", WORLDS)
def test_a_run_with_keep_only_edits_is_the_metric_keeping_those_nodes_to_the_last_bit(name: str) -> None:
    """m(C) and an ablation that keeps only C share one engine, with SAEs that normalise and heads, too."""
    world, batch = WORLDS[name](), PAIRS.batch()
    keys = some_keys(world)
    columns = columns_of_keys(keys)
    values = counterfactual.prepared(world.spliced, PAIRS)(batch, 0)
    for complement, all_errors in ((False, None), (True, None), (False, True)):
        edits: list[KeepOnly] = []
        for place, site in enumerate(world.spliced.sites, start=1):
            here = columns["site"] == place
            entries = zip(*(columns[n][here].tolist() for n in ("example", "position", "index")), strict=True)
            nodes = SiteNodes.of((0, row, pos, index) for row, pos, index in entries)
            edits.append(KeepOnly(site, nodes, values[site].values(), complement, all_errors))
        run = world.spliced.run(batch.clean_ids, edits, last=batch.last, read=batch.last)
        kept = Kept(keys, complement, all_errors)
        expected = logits_keeping(world.spliced, PAIRS, kept, counterfactual)
        assert torch.equal(run.logits, expected)
