"""The benchmark's own parts, on small sizes: plain hooks and cones agree, costs are what was done."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from attribution.splice.patch_values import counterfactual
from benchmarks.bare_passes import atp_over_bare_passes
from benchmarks.cases import Case, Sizes, random_case
from benchmarks.cost_of_work import cost_of, flops_of
from benchmarks.methods import exact_row, plain_rows, refuse_difference, report, rows_of
from benchmarks.plain_hooks import PlainHooks, batches_of_neighbours, evenly_spaced

SMALL = Sizes(layers=2, d_model=32, heads=4, vocabulary=96, d_sae=128, active=6, prompts=2, tokens=5)


HALF = replace(SMALL, architecture="GPT-2", parts=("hook_resid_post",), dtype=torch.bfloat16)


@cache
def small(sizes: Sizes = SMALL) -> Case:
    return random_case(sizes)


def test_the_random_saes_have_as_many_active_features_as_asked_for() -> None:
    case = small()
    effects = exact_patching(case.spliced, case.pairs, logit_difference, patch_value=case.patch_value)
    positions, sites = SMALL.prompts * SMALL.tokens, 3 * SMALL.layers
    assert (effects.kind == 0).sum() == pytest.approx(SMALL.active * positions * sites, abs=sites)
    assert (effects.kind == 1).sum() == positions * sites


@pytest.mark.parametrize("patches", ["zero", "patch prompt"])
def test_plain_forwards_give_the_effects_of_cones_one_by_one_and_in_batches(patches: str) -> None:
    case = small() if patches == "zero" else replace(small(), patch_value=counterfactual)
    effects = exact_patching(case.spliced, case.pairs, logit_difference, patch_value=case.patch_value)
    plain, size = PlainHooks(case), np.abs(effects.effect).max()
    assert size > 1e-4
    with torch.no_grad():
        chosen = evenly_spaced(len(effects), 40)
        alone = [plain.one(plain.write(effects, n)) for n in chosen]
        np.testing.assert_allclose(alone, effects.effect[chosen], rtol=0, atol=1e-4 * size)
        for batch in batches_of_neighbours(effects, 8, 5):
            together = plain.batched([plain.write(effects, n) for n in batch])
            np.testing.assert_allclose(together, effects.effect[batch], rtol=0, atol=1e-4 * size)
    with pytest.raises(SystemExit, match="disagree by"):
        refuse_difference(case, effects, chosen, np.array(alone) + 0.01 * size)


def test_flops_are_those_of_the_products_and_of_active_features() -> None:
    x, weight = torch.randn(3, 5), torch.randn(5, 7)
    assert flops_of(lambda: x @ weight) == 2 * 3 * 5 * 7
    index, start = torch.tensor([0, 2, 4]), torch.tensor([0, 1])
    bag = torch.nn.functional.embedding_bag
    assert flops_of(lambda: bag(index, weight, start, mode="sum", per_sample_weights=torch.ones(3))) == 2 * 3 * 7


def test_peak_memory_is_what_the_work_held() -> None:
    _, cost = cost_of(lambda: torch.ones(32 * 2**20).sum())
    if cost.peak is None:
        pytest.skip("this system does not tell a process its peak memory")
    assert 0.9 * 128 * 2**20 < cost.peak < 1.5 * 128 * 2**20


def test_exact_patching_does_fewer_flops_than_plain_forwards_and_no_fewer_than_its_bound() -> None:
    effects, row = exact_row(small(), "live")
    assert row.bound is not None
    assert row.bound <= row.cost.flops
    one, batched = plain_rows(small(), effects, 10)
    assert row.cost.flops < batched.cost.flops < one.cost.flops


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SMALL, HALF], ids=lambda sizes: sizes.name)
def test_the_report_has_a_row_for_every_method(sizes: Sizes) -> None:
    rows = rows_of(small(sizes), 5, part_of_gated=True)
    text = report(small(sizes), rows)
    assert [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][2:] == [
        row.name + " (scaled)" * (row.cost.scaled != 1) for row in rows
    ]
    assert len(rows) == 10
    assert "times its bare forwards" in text


def test_atp_costs_more_than_its_bare_passes() -> None:
    assert atp_over_bare_passes(small(), 3) > 1
