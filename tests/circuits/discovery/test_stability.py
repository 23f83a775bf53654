"""Inclusion rates: counted by hand over resamples, for searches and rankings, nodes, tokens and edges."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from circuits import load_model, load_saes, prompt_pairs, rank_nodes, splice
from circuits.discovery.discover import Found, discover
from circuits.discovery.selection import Selection
from circuits.discovery.stability import PAIRS, TEMPLATES, Resamples, edges_kept
from circuits.ranking.aggregate import effects_by_pair
from graphs import CircuitGraph, Edge, FeatureNode, MetricNode, Node, TokenNode, certificate_lines


def made(templates: list[str | None]) -> PromptPairs:
    return PromptPairs(tuple(PromptPair((0, n), (0, 50 + n), 4, 7, template=t) for n, t in enumerate(templates)))


def test_pairs_of_a_template_are_drawn_together() -> None:
    pairs = made(["a", "b", "a", "c", "b", "a"])
    drawn = Resamples.of(pairs, 50)
    assert drawn is not None
    assert drawn.stacked.shape == (100, 6)
    for weights in drawn.weights.values():
        assert weights.sum(1) == pytest.approx(np.ones(50))
    whole = drawn.weights[TEMPLATES]
    for columns in ([0, 2, 5], [1, 4]):
        assert (whole[:, columns] == whole[:, columns[:1]]).all()
    assert not (drawn.weights[PAIRS][:, [0, 2, 5]] == drawn.weights[PAIRS][:, :1]).all()
    assert drawn.rows() == {PAIRS: slice(0, 50), TEMPLATES: slice(50, 100)}


@pytest.mark.parametrize("templates", [["a", "a", "a"], ["a", None, "b"], [None, None]])
def test_templates_are_drawn_only_where_every_pair_names_one_of_several(templates: list[str | None]) -> None:
    drawn = Resamples.of(made(templates), 5)
    assert drawn is not None
    assert list(drawn.weights) == [PAIRS]


def test_no_resamples_of_one_pair_or_where_none_are_wanted() -> None:
    assert Resamples.of(made([None]), 5) is None
    assert Resamples.of(made([None, None]), 0) is None


def test_an_edge_is_in_a_resample_with_both_ends_if_it_is_large_or_the_largest_of_an_end() -> None:
    draw = np.random.default_rng(0)
    nodes: list[Node] = [FeatureNode("a", 0, n) for n in range(6)]
    metric = MetricNode("m")
    ends: list[tuple[Node, Node]] = [(nodes[a], nodes[b]) for a in range(3) for b in range(3, 6)] + [
        (node, metric) for node in nodes[3:]
    ]
    edges = [Edge(*own, 0.0) for own in ends]
    sets, weights = draw.random((20, 6)) < 0.7, draw.normal(size=(20, len(edges)))
    kept = edges_kept(edges, nodes, sets, weights, 0.8)
    for r in range(20):
        there = {node for node, has in zip(nodes, sets[r], strict=True) if has} | {metric}
        own = {both: abs(w) for both, w in zip(ends, weights[r], strict=True) if there.issuperset(both)}
        for n, (source, target) in enumerate(ends):
            size = own.get((source, target))
            out, into = ([s for both, s in own.items() if both[end] == (source, target)[end]] for end in (0, 1))
            expected = size is not None and (size >= 0.8 or size in (max(out), max(into)))
            assert kept[r, n] == expected


SITE = "blocks.3.hook_resid_post"


@cache
def world() -> Any:
    sites = {
        site: sae for site, sae in load_saes().items() if site.endswith(("1.hook_resid_post", "3.hook_resid_post"))
    }
    return splice(load_model(), sites)


@cache
def train() -> PromptPairs:
    return prompt_pairs("agreement", world().model, examples=10)


@cache
def found(**select: Any) -> Found:
    chosen = Selection(**select)
    return discover(world(), train(), logit_difference, select=chosen, resamples=30, compare=(), explained=0)


def of_ranking() -> Found:
    return found(nodes=25)


def of_search() -> Found:
    return found(nodes=25, by="iterated")


def test_rates_of_a_ranking_are_those_of_rankings_of_every_resample() -> None:
    effects = of_ranking().effects
    ranking = rank_nodes(effects, train(), world().model, scheme="role")
    nodes = [w.node for w in ranking.nodes]
    values = effects_by_pair(effects, train(), world().model, nodes, "role")
    assert values.mean(0) == pytest.approx([w.effect for w in ranking.nodes], abs=1e-6)
    drawn = Resamples.of(train(), 30)
    assert drawn is not None
    for kind, name in ((PAIRS, "inclusion"), (TEMPLATES, "inclusion_templates")):
        counts = dict.fromkeys(nodes, 0)
        for weights in drawn.weights[kind]:
            means = {
                n: abs(sum(w * v for w, v in zip(weights, values[:, i], strict=True))) for i, n in enumerate(nodes)
            }
            for node in sorted(nodes, key=lambda n, of=means: -of[n])[:25]:
                counts[node] += 1
        for weighted in of_ranking().circuit.strongest():
            assert getattr(weighted, name) == pytest.approx(counts[weighted.node] / 30, abs=1.01 / 30)  # ties


@pytest.mark.parametrize("make", [of_ranking, of_search])
def test_the_certificate_counts_stable_nodes_and_edges(make: Any) -> None:
    circuit: CircuitGraph = make().circuit
    assert circuit.certificate is not None
    assert [s.over for s in circuit.certificate.stability] == [PAIRS, TEMPLATES]
    pairs = circuit.certificate.stability[0]
    rates = [w.inclusion for w in circuit.nodes if w.inclusion is not None]
    assert (pairs.resamples, pairs.nodes) == (30, len(circuit.strongest()))
    assert pairs.stable_nodes == sum(rate >= 0.9 for rate in rates) > 0
    assert pairs.mean == pytest.approx(sum(rates) / len(rates))
    assert pairs.edges == len(circuit.edges)
    assert pairs.stable_edges == sum((e.inclusion or 0) >= 0.9 for e in circuit.edges)
    for edge in circuit.edges:
        ends = [w.inclusion for w in circuit.nodes if w.node in (edge.source, edge.target) and w.inclusion is not None]
        assert edge.inclusion is not None
        assert edge.inclusion <= min(ends) + 1e-9
    assert 0.3 < pairs.overlap <= 1
    line = next(n for n in certificate_lines(circuit) if n.name == "stability, pairs")
    assert line.value == f"{pairs.stable_nodes} of {pairs.nodes} nodes stable"
    assert "Of 30 circuits found on resampled pairs" in line.reading


def test_a_token_is_as_stable_as_its_effect() -> None:
    tokens = [w for w in of_search().circuit.nodes if isinstance(w.node, TokenNode)]
    assert tokens
    assert all(w.inclusion == 1 for w in tokens)  # the subject carries everything in every pair


def test_only_stable_nodes_are_kept() -> None:
    whole, stable = of_search().circuit, found(nodes=25, by="iterated", stable=0.9).circuit
    expected = {w.node for w in whole.nodes if w.inclusion is None or w.inclusion >= 0.9}
    assert {w.node for w in stable.nodes} <= {w.node for w in whole.nodes}
    assert all(w.inclusion is None or w.inclusion >= 0.9 for w in stable.nodes)
    assert len(stable.nodes) + stable.measurement.pruned >= len(expected) - whole.measurement.pruned
    assert stable.certificate is not None
    assert {s.kept_from for s in stable.certificate.stability} == {0.9}


def test_stable_nodes_need_resamples_and_a_search() -> None:
    select = Selection(nodes=25, by="iterated", stable=0.9)
    with pytest.raises(ValueError, match="needs resamples of two pairs or more"):
        discover(world(), train(), logit_difference, select=select, resamples=0)
    with pytest.raises(ValueError, match="Only the iterated search"):
        Selection(nodes=25, stable=0.9)


def test_without_resamples_nothing_is_said_of_stability() -> None:
    select = Selection(nodes=25, by="iterated")
    circuit = discover(world(), train(), logit_difference, select=select, resamples=0, compare=(), explained=0).circuit
    assert circuit.certificate is not None
    assert circuit.certificate.stability == ()
    assert all(w.inclusion is None for w in circuit.nodes)
    assert not any(line.name.startswith("stability") for line in certificate_lines(circuit))


@pytest.mark.slow
def test_few_pairs_choose_the_size_by_cross_validation() -> None:
    one_site = splice(load_model(), {SITE: load_saes()[SITE]})
    circuit = discover(one_site, train(), logit_difference, resamples=0, compare=(), explained=0).circuit
    assert circuit.certificate is not None
    choice = circuit.certificate.size_choice
    assert choice is not None
    assert (choice.folds, choice.split, choice.pairs) == (4, "own", 10)
    line = next(n for n in certificate_lines(circuit) if n.name == "size")
    assert "by 4-fold cross-validation on the 10 pairs that found the circuit" in line.reading
    assert line.colour == ("green" if choice.reached else "amber")


@pytest.mark.parametrize(("folds", "message"), [(1, "2 to 10 folds"), (11, "2 to 10 folds")])
def test_impossible_folds_are_refused_before_anything_is_measured(folds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discover(world(), train(), logit_difference, folds=folds)


def test_validation_pairs_and_folds_exclude_each_other() -> None:
    other = prompt_pairs("agreement", world().model, split="held_out", examples=4)
    with pytest.raises(ValueError, match="give one of them"):
        discover(world(), train(), logit_difference, validation=other, folds=3)
