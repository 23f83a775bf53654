"""Faithfulness of circuits: the ends of its scale, ratios of means, intervals, sizes, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import pytest

from attribution.effects.metric_keeping import EVERYTHING, NOTHING, ErrorChoice, Kept, metric_keeping
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import node_keys
from attribution.splice.references import counterfactual, zero
from circuits.faithfulness.bootstrap import Bootstrap, Scale
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.faithfulness.faithfulness_curves import faithfulness_curves
from circuits.faithfulness.ranked_circuits import RankingOrder, ordered_nodes, random_rankings
from circuits.faithfulness.smallest_faithful import scanned_sizes, smallest_faithful
from circuits.ranking.aggregate import Ranking, rank_nodes
from graphs import ErrorNode, FeatureNode, TokenNode
from tests.twins.node_twins import every_kind_world
from tests.worlds.tiny_models import PAIRS, World, plain_world

QUICK = Bootstrap(resamples=50)
SHARES = (0.05, 0.5, 1.0)
TRAIN = PromptPairs(PAIRS.pairs[:2])
SPLITS: Mapping[str, PromptPairs] = {"train": TRAIN, "held_out": PAIRS}


@cache
def world() -> World:
    return every_kind_world()


@cache
def ranking() -> Ranking:
    effects = exact_patching(world().spliced, TRAIN, logit_difference)
    return rank_nodes(effects, TRAIN, world().model)


def test_the_report_is_the_ratio_of_means_over_pairs() -> None:
    spliced = world().spliced
    effects = exact_patching(spliced, TRAIN, logit_difference)
    circuit = rank_nodes(effects, TRAIN, world().model).top(30)
    found = faithfulness_report(spliced, {"train": TRAIN}, logit_difference, circuit, bootstrap=QUICK)[0]
    strongest = [w.node for w in circuit.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    keys = []
    for example, pair in enumerate(TRAIN):
        for node in strongest:
            column = int(circuit.positions[node.position].label)
            pos = column + len(pair)  # two lengths without roles: names count from the end
            index = node.index if isinstance(node, FeatureNode) else -1
            if 0 <= pos < len(pair):
                site = 1 + spliced.sites.index(node.site)
                place = [np.array([v]) for v in (example, pos, index)]
                keys.append(node_keys(*place, site=site, kind=node.kind))
    inside = np.unique(np.concatenate(keys))
    full, empty, kept, rest = metric_keeping(
        spliced, TRAIN, logit_difference, [EVERYTHING, NOTHING, Kept(inside), Kept(inside, True)], counterfactual
    )
    span = full.mean() - empty.mean()
    assert found.faithfulness == pytest.approx((kept.mean() - empty.mean()) / span, abs=1e-12)
    assert found.completeness == pytest.approx((rest.mean() - empty.mean()) / span, abs=1e-12)
    assert (found.nodes, found.pairs, found.split) == (len(strongest), 2, "train")
    assert found.m_full == pytest.approx(full.mean())
    assert found.m_empty == pytest.approx(empty.mean())


@pytest.mark.parametrize("order", ["absolute", "signed"])
def test_the_whole_model_has_faithfulness_1_and_completeness_0_exactly(order: RankingOrder) -> None:
    curves = faithfulness_curves(
        world().spliced, SPLITS, logit_difference, {"exact": ranking()}, order=order, shares=SHARES, bootstrap=QUICK
    )
    assert [c.split for c in curves] == ["train", "held_out"]
    for curve in curves:
        assert (curve.faithfulness[-1], curve.low[-1], curve.high[-1]) == (1.0, 1.0, 1.0)
        assert (curve.completeness[-1], curve.completeness_low[-1], curve.completeness_high[-1]) == (0.0, 0.0, 0.0)
        assert curve.sizes[-1] == len(ordered_nodes(ranking()))


def test_a_circuit_of_tokens_alone_has_faithfulness_0_exactly() -> None:
    tokens = tuple(w for w in ranking().nodes if isinstance(w.node, TokenNode))
    assert tokens
    found = faithfulness_report(
        world().spliced, SPLITS, logit_difference, replace(ranking(), nodes=tokens), bootstrap=QUICK
    )
    for one in found:
        assert (one.nodes, one.faithfulness, one.completeness) == (0, 0.0, 1.0)


@pytest.mark.parametrize("errors", ["kept", "removed"])
def test_errors_kept_or_removed_do_not_move_the_scale(errors: ErrorChoice) -> None:
    nodes, kinds = ordered_nodes(ranking(), errors=errors), (FeatureNode, ErrorNode)
    assert {type(n) for n in nodes} == {FeatureNode}
    assert {type(n) for n in ordered_nodes(ranking())} == set(kinds)
    one = faithfulness_curves(
        world().spliced, {"s": TRAIN}, logit_difference, {"exact": ranking()}, errors=errors, shares=SHARES
    )[0]
    report = faithfulness_report(world().spliced, {"s": TRAIN}, logit_difference, ranking(), errors=errors)[0]
    usual = faithfulness_report(world().spliced, {"s": TRAIN}, logit_difference, ranking())[0]
    assert (report.m_full, report.m_empty) == (usual.m_full, usual.m_empty)
    assert (one.faithfulness[-1] == 1.0) == (errors == "kept")
    assert (one.completeness[-1] == 0.0) == (errors == "removed")


def test_random_circuits_are_averaged_over_draws() -> None:
    draws = random_rankings(ranking(), draws=3, seed=1)
    families: dict[str, Ranking | tuple[Ranking, ...]] = {"random": draws, **{str(n): r for n, r in enumerate(draws)}}
    mean, *each = faithfulness_curves(
        world().spliced, {"s": PAIRS}, logit_difference, families, shares=(0.2, 0.5), bootstrap=QUICK
    )
    assert (mean.draws, each[0].draws) == (3, 1)
    assert mean.faithfulness == pytest.approx(np.mean([c.faithfulness for c in each], axis=0).tolist())
    assert {tuple(w.node for w in r.nodes) for r in draws} != {tuple(w.node for w in draws[0].nodes)}
    assert all(set(r.nodes) == set(ranking().nodes) for r in draws)


def test_signed_order_puts_nodes_first_whose_patch_value_lowers_the_metric() -> None:
    effect = {w.node: w.effect for w in ranking().nodes}
    signed = [effect[n] for n in ordered_nodes(ranking(), "signed")]
    absolute = [abs(effect[n]) for n in ordered_nodes(ranking(), "absolute")]
    assert signed == sorted(signed)
    assert signed[0] < 0
    assert absolute == sorted(absolute, reverse=True)
    unsigned = replace(ranking(), method="activation_difference")
    assert ordered_nodes(unsigned, "signed") == ordered_nodes(ranking(), "absolute")


def additive_ranking() -> tuple[World, PromptPairs, Ranking]:
    """An affine model with one SAE at its end: m(C) is a sum over the nodes of C. Roles name the positions."""
    whole = plain_world(lambda x: 0.7 * x, always_open=True)
    site = "blocks.1.hook_resid_post"
    made = World(whole.model, {site: whole.saes[site]})
    pairs = PromptPairs(tuple(replace(p, roles=tuple(f"r{n}" for n in range(len(p)))) for p in PAIRS))
    found = rank_nodes(exact_patching(made.spliced, pairs, logit_difference), pairs, made.model)
    helpful = [w for w in found.nodes if not isinstance(w.node, TokenNode) and w.effect < 0]
    return made, pairs, replace(found, nodes=tuple(sorted(helpful, key=lambda w: -w.effect)))


@pytest.mark.parametrize("target", [0.05, 0.4, 0.8, 1.0])
def test_the_smallest_faithful_circuit_of_a_monotone_ranking_is_the_smallest(target: float) -> None:
    made, pairs, weakest_first = additive_ranking()
    full, empty = metric_keeping(made.spliced, pairs, logit_difference, [EVERYTHING, NOTHING], counterfactual).mean(1)
    summed = np.cumsum([-w.effect for w in weakest_first.nodes]) / (full - empty)
    expected = 1 + int(np.argmax(summed >= target))
    assert 1 < expected < len(summed)
    found = smallest_faithful(
        made.spliced, pairs, logit_difference, weakest_first, target=target, split="all", bootstrap=QUICK
    )
    assert found is not None
    assert (found.nodes, found.split) == (expected, "all")
    assert found.faithfulness == pytest.approx(summed[expected - 1])
    assert smallest_faithful(made.spliced, pairs, logit_difference, weakest_first, target=1e3) is None


def test_sizes_are_scanned_twice_a_doubling() -> None:
    assert scanned_sizes(1) == [1]
    assert scanned_sizes(16) == [1, 2, 3, 4, 6, 8, 11, 16]
    assert scanned_sizes(1000)[-1] == 1000


def test_faithfulness_is_undefined_where_ablation_changes_nothing() -> None:
    constant = Metric("constant", "logits", of=lambda logits, _: 0 * logits[:, 0] + 1.31)
    told: list[float] = []
    message = r"Split 'train': Faithfulness is undefined: ablating everything leaves the metric at 1\.31 of 1\.31\."
    with pytest.raises(ValueError, match=message):
        faithfulness_report(world().spliced, SPLITS, constant, ranking(), bootstrap=QUICK, progress=told.append)
    with pytest.raises(ValueError, match=message):
        faithfulness_curves(world().spliced, SPLITS, constant, {"exact": ranking()}, progress=told.append)
    assert told == [], "found out before the long work"


def test_prompts_that_name_their_positions_otherwise_are_an_error() -> None:
    named = PromptPairs(tuple(replace(p, roles=tuple(f"p{n}" for n in range(len(p)))) for p in TRAIN))
    of_roles = rank_nodes(exact_patching(world().spliced, named, logit_difference), named, world().model)
    pairs = PromptPairs((PromptPair((0, 5, 9), (0, 6, 9), 4, 7, ("a", "b", "c")),))
    with pytest.raises(ValueError, match="No prompt of split 's' has a position of the circuit"):
        faithfulness_report(world().spliced, {"s": pairs}, logit_difference, of_roles)


@pytest.mark.parametrize("scheme", ["offset", "none"])
def test_a_circuit_without_roles_is_on_prompts_with_them(scheme: Literal["offset", "none"]) -> None:
    """Distances and `everywhere` name positions of every prompt; roles of the prompts do not matter."""
    effects = exact_patching(world().spliced, TRAIN, logit_difference)
    found = rank_nodes(effects, TRAIN, world().model, scheme=scheme).top(40)
    named = PromptPairs(tuple(replace(p, roles=tuple(f"p{n}" for n in range(len(p)))) for p in TRAIN))
    plain, roles = (
        faithfulness_report(world().spliced, {"s": pairs}, logit_difference, found, bootstrap=QUICK)[0]
        for pairs in (TRAIN, named)
    )
    assert roles.faithfulness == plain.faithfulness


def test_all_nodes_without_positions_are_the_model_and_a_node_stands_wherever_its_feature_is_active() -> None:
    effects = exact_patching(world().spliced, TRAIN, logit_difference)
    everywhere = rank_nodes(effects, TRAIN, world().model, scheme="none")
    assert [p.label for p in everywhere.positions] == ["everywhere"]
    offset = rank_nodes(effects, TRAIN, world().model, scheme="offset")
    assert len(everywhere.nodes) < len(offset.nodes)
    assert sum(w.effect for w in everywhere.nodes) == pytest.approx(sum(w.effect for w in offset.nodes), abs=1e-9)
    report = faithfulness_report(world().spliced, {"s": TRAIN}, logit_difference, everywhere, bootstrap=QUICK)[0]
    assert report.faithfulness == pytest.approx(1, abs=1e-6)


def test_wrong_choices_are_refused_before_any_work() -> None:
    spliced, found = world().spliced, ranking()
    with pytest.raises(ValueError, match="No choice of errors 'some'"):
        faithfulness_report(spliced, SPLITS, logit_difference, found, errors="some")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="No order 'up'"):
        faithfulness_curves(spliced, SPLITS, logit_difference, {"a": found}, order="up")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="No rankings"):
        faithfulness_curves(spliced, SPLITS, logit_difference, {})
    with pytest.raises(ValueError, match="No splits"):
        faithfulness_report(spliced, {}, logit_difference, found)


def test_progress_ends_at_one() -> None:
    told: list[float] = []
    faithfulness_report(
        world().spliced, SPLITS, logit_difference, ranking(), reference=zero, bootstrap=QUICK, progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for number in range(200):
        full = 5 + draw.normal(size=40)
        empty = -5 + draw.normal(size=40)
        part = 0.6 * full + 0.4 * empty + draw.normal(size=40)
        low, high = Scale(full, empty).ratio_interval(part, Bootstrap(300, 0.9, seed=number))
        assert low is not None
        assert high is not None
        covered += low <= 0.6 <= high
    assert 0.8 <= covered / 200 <= 0.97


def test_a_ratio_that_the_pairs_do_not_bound_has_no_interval() -> None:
    empty = np.zeros(3)
    assert Scale(np.array([1.0, 1.0, -1.5]), empty).ratio_interval(np.ones(3), QUICK) == (None, None)
    assert Scale(np.ones(1), np.zeros(1)).ratio_interval(np.ones(1), QUICK) == (None, None)
    with pytest.raises(ValueError, match=r"leaves the metric at 0 of 0\. "):
        Scale(empty, empty)


def test_means_come_before_the_ratio_and_nothing_is_clipped() -> None:
    scale = Scale(np.array([1.0, 3.0]), np.array([0.0, 0.0]))
    assert scale.ratio(np.array([1.0, 5.0])) == 1.5
    assert scale.ratio(np.array([-1.0, -1.0])) == -0.5
