"""Cross-validation: no pair judges a search that had it; F of a size is over all pairs, each with its fold's set."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from attribution.methods.mask_path import mask_path
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.references import counterfactual
from circuits import load_model, load_saes, prompt_pairs, splice
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.ranking.aggregate import Ranking, rank_nodes
from circuits.selection.cross_validation import SizeCurve, cross_validated_size
from circuits.selection.iterated import iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions, folds_of
from graphs import ErrorNode, FeatureNode

SITE = "blocks.3.hook_resid_post"
TARGET = 0.8


@cache
def world() -> tuple[Ranking, NodeSets]:
    spliced = splice(load_model(), {SITE: load_saes()[SITE]})
    pairs = prompt_pairs("agreement", spliced.model, examples=6)
    ranking = rank_nodes(mask_path(spliced, pairs, logit_difference), pairs, spliced.model, scheme="none")
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    return ranking, NodeSets(spliced, pairs, logit_difference, counterfactual, nodes, ranking.positions)


def search_on(pairs: PromptPairs) -> tuple[NodeSets, Directions]:
    known = world()[1]
    sets = [
        NodeSets(known.spliced, own, logit_difference, counterfactual, known.nodes, known.positions)
        for own in (pairs, *both_directions(pairs))
    ]
    return sets[0], Directions(sets[1:])


@cache
def curve() -> SizeCurve:
    return cross_validated_size(search_on, world()[1].pairs, target=TARGET, most=1000, folds=3)


def left_out(size: int) -> Iterator[tuple[float, float, float]]:
    """Σ over a fold of m(C), m(∅) and m(M), C being the set of a search on the other folds; by the plain report."""
    ranking, known = world()
    for fold in folds_of(known.pairs, 3):
        training, both = search_on(PromptPairs(tuple(p for n, p in enumerate(known.pairs) if n not in fold)))
        order = iterate(training, both, None, target=TARGET, refine=False).order
        kept = {known.nodes[int(n)] for n in np.argsort(-order, kind="stable")[:size]}
        alone = {"left out": PromptPairs(tuple(known.pairs[n] for n in fold))}
        (report,) = faithfulness_report(known.spliced, alone, logit_difference, ranking.only(kept))
        yield len(fold) * report.m_circuit, len(fold) * report.m_empty, len(fold) * report.m_full


@pytest.mark.slow
def test_faithfulness_at_a_size_is_that_of_pairs_which_their_search_did_not_have() -> None:
    found = curve()
    size = found.chosen(1000)
    circuit, empty, full = np.array(list(left_out(size))).sum(0)
    assert found.at(size) == pytest.approx((circuit - empty) / (full - empty), abs=1e-4)


@pytest.mark.slow
def test_the_size_is_the_smallest_that_reaches_the_target_with_a_standard_error_to_spare() -> None:
    found = curve()
    assert found.sizes == tuple(sorted(found.sizes, reverse=True))
    good = [
        size
        for size, f, error in zip(found.sizes, found.faithfulness, found.standard_error, strict=True)
        if f - error >= TARGET
    ]
    assert found.size is not None
    assert found.size == min(good) == found.chosen(1000)
    assert found.size - 1 in found.sizes or found.size == min(found.sizes)  # one node fewer was tried


@pytest.mark.slow
def test_where_no_allowed_size_reaches_the_target_the_closest_is_chosen() -> None:
    found = cross_validated_size(search_on, world()[1].pairs, target=0.999, most=5, folds=3)
    assert found.chosen(5) == found.closest <= 5
    allowed = [f for size, f in zip(found.sizes, found.faithfulness, strict=True) if size <= 5]
    assert abs(1 - found.at(found.closest)) == min(abs(1 - f) for f in allowed)


def test_a_pair_and_the_same_turned_share_a_fold() -> None:
    pairs = [PromptPair((0, n), (0, 50 + n), 4, 7) for n in range(6)]
    pairs += [PromptPair(p.patch_ids, p.clean_ids, 7, 4) for p in pairs[:3]]
    folds = folds_of(PromptPairs(tuple(pairs)), 3)
    assert sorted(n for fold in folds for n in fold) == list(range(9))
    for n in range(3):
        assert any(n in fold and n + 6 in fold for fold in folds)


@pytest.mark.parametrize("folds", [1, 7])
def test_folds_that_the_pairs_cannot_fill_are_refused(folds: int) -> None:
    pairs = PromptPairs(tuple(PromptPair((0, n), (0, 50 + n), 4, 7) for n in range(6)))
    with pytest.raises(ValueError, match="needs 2 to 6 folds"):
        folds_of(pairs, folds)
