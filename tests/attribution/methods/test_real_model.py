"""The methods on a real small model with trained SAEs, where those files are present."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution.dictionaries import load_sae
from attribution.effects.effects import Effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.prompts.pair_file import read_pairs
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import World

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"
SITES = ("blocks.1.hook_attn_out", "blocks.2.hook_mlp_out", "blocks.3.hook_resid_post")
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real model lies outside the project")
TASKS = ("sva_cross", "pronoun_tinystories")


@pytest.fixture(scope="module")
def real_world() -> World:
    model = LanguageModel.load(REAL / "stories260K")
    return World(model, {site: load_sae(REAL / "stories260K_saes" / site) for site in SITES})


@pytest.fixture(scope="module")
def spliced(real_world: World) -> SplicedModel:
    return SplicedModel(real_world.model, real_world.saes)


def one_pair(world: World, task: str) -> PromptPairs:
    return read_pairs(REAL / "tasks" / f"{task}.json", world.model).head(1)


def pearson_of_features(a: Effects, b: Effects) -> float:
    features = a.of_kind("feature")
    return float(np.corrcoef(a.effect[features], b.effect[features])[0, 1])


@pytest.mark.parametrize("task", TASKS)
def test_live_is_bit_identical_on_a_real_model(real_world: World, spliced: SplicedModel, task: str) -> None:
    ids = torch.tensor([one_pair(real_world, task)[0].clean_ids])
    assert torch.equal(spliced.run(ids).logits, real_world.model.module(ids))


@pytest.mark.parametrize("task", TASKS)
def test_the_metric_changes_sign_between_the_prompts_as_the_file_says(
    real_world: World, spliced: SplicedModel, task: str
) -> None:
    pairs = read_pairs(REAL / "tasks" / f"{task}.json", real_world.model).head(8)
    effects = attribution_patching(spliced, pairs, logit_difference)
    assert np.mean(effects.clean_metric > 0) >= 0.5
    assert np.mean(effects.total_effect < 0) >= 0.5
    rows = json.loads((REAL / "tasks" / f"{task}.json").read_text(encoding="utf-8"))["pairs"]
    assert [list(p.clean_ids) for p in pairs] == [row["clean_ids"] for row in rows[:8]]


@pytest.mark.parametrize("mode", ["live", "frozen"])
@pytest.mark.parametrize("task", TASKS)
def test_methods_agree_on_nodes_and_mostly_on_effects(
    real_world: World, spliced: SplicedModel, task: str, mode: ErrorMode
) -> None:
    pairs = one_pair(real_world, task)
    exact, atp, ig = (
        method(spliced, pairs, logit_difference, error_mode=mode)
        for method in (exact_patching, attribution_patching, integrated_gradients)
    )
    walked = input_path_integrated_gradients(spliced, pairs, logit_difference)
    for effects in (exact, atp, ig, walked):
        assert np.isfinite(effects.effect).all()
        assert effects.residual is not None
        assert np.isfinite(effects.residual).all()
    for effects in (atp, ig):
        np.testing.assert_array_equal(effects.index, exact.index)
        np.testing.assert_array_equal(effects.position, exact.position)
    for effects in (atp, ig):
        assert pearson_of_features(effects, exact) > (0.8 if mode == "live" else 0.4)
    ids = pairs[0]
    first = next(i for i, (c, p) in enumerate(zip(ids.clean_ids, ids.patch_ids, strict=True)) if c != p)
    for effects in (exact, atp, ig, walked):
        assert effects.position.min() == first


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_exact_effects_equal_one_run_per_node_on_a_real_model(
    real_world: World, spliced: SplicedModel, mode: ErrorMode
) -> None:
    pairs = one_pair(real_world, TASKS[0])
    pair = pairs[0]
    effects = exact_patching(spliced, pairs, logit_difference, error_mode=mode)
    c, p = twins.ends(real_world, pair.clean_ids, pair.patch_ids, mode)

    def metric(edit: twins.Edit) -> float:
        with torch.no_grad():
            logits = twins.forward(real_world, pair.clean_ids, mode, errors=c.e, edit=edit).logits[0]
        return float(logits[pair.answer_id] - logits[pair.foil_id])

    strongest = np.argsort(-np.abs(np.where(effects.of_kind("token"), 0, effects.effect)))[:6]
    clean = metric(twins.keep)
    for node in strongest:
        site, position, index = effects.sites[effects.site[node]], int(effects.position[node]), int(effects.index[node])

        def edit(
            s: str, f: torch.Tensor, e: torch.Tensor, site: str = site, at: int = position, index: int = index
        ) -> tuple[torch.Tensor, torch.Tensor]:
            f, e = f.clone(), e.clone()
            if s == site and index >= 0:
                f[0, at, index] = p.f[site][0, at, index]
            elif s == site:
                e[0, at] = p.e[site][0, at]
            return f, e

        assert metric(edit) - clean == pytest.approx(effects.effect[node], abs=1e-4)
        assert abs(effects.effect[node]) > 1e-2
