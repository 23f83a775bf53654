"""Searches on resampled pairs, beside the search: by a plain twin, and against whole searches on the same pairs."""

from functools import cache

import numpy as np
import pytest

from attribution.methods.mask_path import mask_path
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.references import counterfactual
from circuits import load_model, load_saes, prompt_pairs, splice
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.ranking.aggregate import rank_nodes
from circuits.selection.iterated import Search, iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions, rows_of_directions
from circuits.selection.resampled import ResampledSearch
from graphs import ErrorNode, FeatureNode

SITE = "blocks.2.hook_resid_post"
SIZE = 20


def dropped_by_hand(parts: np.ndarray, weights: np.ndarray, alive: set[int], count: int, unsigned: bool) -> list[int]:
    """The nodes of a set that help least by a weighted mean, the weakest first."""

    def score(node: int) -> float:
        value = sum(w * len(parts) * part for w, part in zip(weights, parts[:, node], strict=True))
        return abs(value) if unsigned else value

    return sorted(alive, key=score)[:count]


def test_every_resample_drops_what_helps_it_least() -> None:
    draw = np.random.default_rng(0)
    weights = Bootstrap(37).weights(5)
    made, nodes = ResampledSearch.of(weights, 12), 12
    alive = [set(range(nodes)) for _ in weights]
    order: list[list[int]] = [[] for _ in weights]
    for step, count in enumerate((4, 3, 2)):
        parts = draw.normal(size=(5, nodes))
        unsigned = draw.random(len(weights)) < 0.5
        made.drop(parts, unsigned, count, 100 * step)
        for r, own in enumerate(alive):
            gone = dropped_by_hand(parts, weights[r], own, count, bool(unsigned[r]))
            order[r] += gone
            own.difference_update(gone)
    for r, own in enumerate(alive):
        assert set(np.flatnonzero(made.alive[r])) == own
        for size in range(3, nodes + 1):
            assert set(np.flatnonzero(made.sets(size)[r])) == own.union(order[r][nodes - size :])


@cache
def embedded() -> tuple[PromptPairs, NodeSets]:
    spliced = splice(load_model(), {SITE: load_saes()[SITE]})
    pairs = prompt_pairs("agreement", spliced.model, examples=12)
    ranking = rank_nodes(mask_path(spliced, pairs, logit_difference), pairs, spliced.model, scheme="none")
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    return pairs, NodeSets(spliced, pairs, logit_difference, counterfactual, nodes, ranking.positions)


def search(pairs: PromptPairs, weights: np.ndarray | None = None) -> Search:
    known = embedded()[1]

    def sets(own: PromptPairs) -> NodeSets:
        return NodeSets(known.spliced, own, logit_difference, counterfactual, known.nodes, known.positions)

    both = Directions([sets(own) for own in both_directions(pairs)], rows_of_directions(len(pairs)))
    return iterate(sets(pairs), both, None, target=None, nodes=SIZE, refine=False, weights=weights)


@pytest.mark.parametrize("count", [12, 40])
def test_parts_of_pairs_add_up_to_the_attribution(count: int) -> None:
    """Whether every pair is in both directions, or in one."""
    from attribution.effects.quadrature import midpoint

    _, known = embedded()
    pairs = prompt_pairs("agreement", known.spliced.model, examples=count)
    given = logit_difference, counterfactual, known.nodes, known.positions
    directions = [NodeSets(known.spliced, own, *given) for own in both_directions(pairs, most=24)]
    both = Directions(directions, rows_of_directions(count, most=24))
    everything = np.ones(len(known.nodes), bool)
    path = both.shares(everything, midpoint(2), everything)
    assert path.by_pair is not None
    assert path.by_pair.shape == (count, len(known.nodes))
    assert path.by_pair.sum(0) == pytest.approx(path.attribution, abs=1e-5)


def test_a_resample_that_draws_every_pair_once_finds_the_set_itself() -> None:
    pairs, _ = embedded()
    found = search(pairs, np.full((3, len(pairs)), 1 / len(pairs)))
    assert found.resampled is not None
    for own in found.resampled.sets(SIZE):
        assert (own & found.chosen).sum() >= SIZE - 1  # nodes of equal worth may change places by rounding


@pytest.mark.slow
def test_the_sets_are_nearly_those_of_whole_searches_on_resampled_pairs() -> None:
    pairs, _ = embedded()
    weights = Bootstrap(2).weights(len(pairs))
    found = search(pairs, weights)
    assert found.resampled is not None
    assert found.chosen.tolist() == search(pairs).chosen.tolist()
    for own, times in zip(found.resampled.sets(SIZE), (weights * len(pairs)).round().astype(int), strict=True):
        drawn = PromptPairs(tuple(pair for pair, count in zip(pairs, times, strict=True) for _ in range(count)))
        whole = search(drawn).chosen
        assert (own & whole).sum() / (own | whole).sum() > 0.75
