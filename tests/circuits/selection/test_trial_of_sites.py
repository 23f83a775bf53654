"""A trial of sites: its numbers are those of plain sets of nodes, and it proposes by its stated rule."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, metric_keeping
from attribution.methods.exact_patching import exact_patching
from attribution.splice.patch_values import zero
from attribution.splice.references import counterfactual
from attribution.splice.references import zero as zeros
from circuits import load_model, load_saes, logit_difference, prompt_pairs, splice, trial_of_sites
from circuits.faithfulness.ranked_circuits import circuit_and_rest
from circuits.ranking.aggregate import rank_nodes
from graphs import ErrorNode, FeatureNode
from graphs.site_trial import SitesTried, TrialOfSites

FEW = ("blocks.1.hook_resid_post", "blocks.2.hook_mlp_out", "blocks.3.hook_mlp_out")


@cache
def world() -> Any:
    return splice(load_model(), {site: load_saes()[site] for site in FEW})


@cache
def pairs(split: str) -> Any:
    return prompt_pairs("agreement", world().model, split=split, examples=6)


@pytest.mark.parametrize(("patch_value", "reference"), [(None, counterfactual), (zero, zeros)])
def test_the_numbers_are_those_of_plain_sets_of_nodes(patch_value: Any, reference: Any) -> None:
    options = {} if patch_value is None else {"patch_value": patch_value}
    trial = trial_of_sites(world(), pairs("train"), others=pairs("held_out"), positions="none", **options)
    assert (trial.split, trial.pairs) == ("validation", 6)
    effects = exact_patching(world(), pairs("train"), logit_difference, **options)
    known = rank_nodes(effects, pairs("train"), world().model, scheme="none")
    nodes = [w.node for w in known.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    judge = pairs("held_out")
    full, nothing = metric_keeping(world(), judge, logit_difference, [EVERYTHING, NOTHING], reference).mean(1)
    for tried, kind in zip((trial.every, *trial.kinds), ("", "resid_post", "mlp_out"), strict=True):
        spliced = world().at_sites(*(site for site in FEW if site.endswith(kind)))
        own = [node for node in nodes if node.site in spliced.saes]
        sets = [circuit_and_rest(own, known.positions, judge, spliced, how)[0] for how in ("nodes", "removed")]
        empty, all_nodes, features = metric_keeping(spliced, judge, logit_difference, [NOTHING, *sets], reference).mean(
            1
        )
        assert tried.kind == (kind or "all")
        assert (tried.sites, tried.nodes) == (len(spliced.sites), len(own))
        assert tried.faithfulness == pytest.approx((all_nodes - empty) / (full - empty), abs=1e-5)
        assert tried.features_alone == pytest.approx((features - empty) / (full - empty), abs=1e-5)
        assert tried.passing == pytest.approx((full - empty) / (full - nothing), abs=1e-5)


def test_on_the_pairs_that_know_all_nodes_nothing_is_lost_but_errors() -> None:
    trial = trial_of_sites(world(), pairs("train"), positions="offset")
    assert trial.split == "own"
    for tried in (trial.every, *trial.kinds):
        assert tried.faithfulness == pytest.approx(1, abs=1e-5)
        assert tried.features_alone != pytest.approx(1, abs=1e-5)


def test_without_error_nodes_all_nodes_are_features() -> None:
    trial = trial_of_sites(world(), pairs("train"), error_mode="zero", positions="offset")
    assert trial.every.features_alone == trial.every.faithfulness


ALL = SitesTried("all", 8, 1000, 0.85, 0.6, 1.0)
RESIDUAL = SitesTried("resid_post", 4, 300, 0.92, 0.7, 1.0)


def proposed(*kinds: SitesTried, every: SitesTried = ALL) -> tuple[list[str], list[str]]:
    trial = TrialOfSites("validation", 25, every, kinds)
    return [own.kind for own in trial.proposed], [own.kind for own in trial.as_good]


def test_sites_are_proposed_if_they_pass_the_effect_and_let_clearly_more_through() -> None:
    heads = replace(RESIDUAL, kind="attn_out", nodes=400, faithfulness=0.99, features_alone=0.98)
    assert proposed(RESIDUAL, heads) == (["attn_out", "resid_post"], ["resid_post", "attn_out"])
    assert proposed(replace(heads, passing=0.8)) == ([], [])
    assert proposed(replace(RESIDUAL, faithfulness=0.86, features_alone=0.62)) == ([], ["resid_post"])
    assert proposed(replace(RESIDUAL, faithfulness=0.85, features_alone=0.66)) == (["resid_post"], ["resid_post"])
    assert proposed(replace(RESIDUAL, faithfulness=0.7, features_alone=0.99)) == ([], [])
    assert proposed(replace(RESIDUAL, faithfulness=1.2)) == ([], [])
    assert proposed(replace(RESIDUAL, faithfulness=None, features_alone=None)) == ([], [])
