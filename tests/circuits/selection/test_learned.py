"""Learned masks find planted sets, have the gradient that they claim, depend on their seed alone and can be resumed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution.masks.hard_concrete import chance_open, gates
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_store import kept_in
from circuits.ranking.aggregate import rank_nodes
from circuits.selection import mask_training
from circuits.selection.iterated import Search
from circuits.selection.learned import learn, nested_sets
from circuits.selection.mask_training import MaskTraining
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from graphs import FeatureNode
from tests.circuits.selection.test_iterated import LOGITS, PLANTED, SITE, embedded, planted, sets
from tests.worlds.tiny_models import World


def embedded_sets() -> tuple[NodeSets, Directions]:
    spliced, pairs, ranking = embedded()
    given = logit_difference, ranking
    return sets(spliced, pairs, *given), Directions([sets(spliced, p, *given) for p in both_directions(pairs)])


def same(one: Search, other: Search) -> bool:
    return np.array_equal(one.chosen, other.chosen) and np.array_equal(one.order, other.order)


def helpers() -> tuple[World, PromptPairs, Metric]:
    """The planted world with features that read the logit that they write: all help, and the error adds nothing."""
    world, pairs, metric = planted()
    sae = world.saes[SITE]
    W_enc = sae.W_enc.clone()
    W_enc[:, :8] = world.model.module.unembed.weight.detach()[list(LOGITS)].T
    return World(world.model, {SITE: replace(sae, W_enc=W_enc)}), pairs, metric


def test_the_planted_set_is_found_and_nothing_else() -> None:
    world, pairs, metric = helpers()
    ranking = rank_nodes(attribution_patching(world.spliced, pairs, metric), pairs, world.model, scheme="offset")
    training = sets(world.spliced, pairs, metric, ranking)
    both = Directions([sets(world.spliced, own, metric, ranking) for own in both_directions(pairs)])
    found = learn(training, both, None, target=0.999, steps=150, refine=False)
    kept = {n for n, inside in zip(training.nodes, found.chosen, strict=True) if inside}
    last = len(ranking.positions) - 1
    assert kept == {FeatureNode(SITE, last, index) for index in PLANTED}
    assert found.reached
    assert found.training == pytest.approx(1, abs=1e-9)


@pytest.mark.slow
def test_few_nodes_reach_the_target_and_the_same_seed_finds_the_same_ones() -> None:
    training, both = embedded_sets()
    found = learn(training, both, None, target=0.8, steps=40)
    assert found.reached
    assert found.training - training.standard_error(found.chosen) >= 0.8
    assert found.chosen.sum() < 0.2 * len(training.nodes)
    sizes = [r.size for r in found.rounds]
    assert sizes[0] == len(training.nodes)
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert found.rounds[0].training == pytest.approx(1, abs=1e-4)
    assert same(learn(*embedded_sets(), None, target=0.8, steps=40), found)
    other = learn(training, both, None, target=0.8, steps=40, seed=1)
    assert not np.array_equal(other.order, found.order)


def test_validation_pairs_choose_the_size() -> None:
    training, both = embedded_sets()
    other = replace(training, pairs=both.sets[1].pairs)
    found = learn(training, both, other, target=0.7, steps=30, refine=False)
    assert found.validation == pytest.approx(other.faithfulness(found.chosen))
    assert found.validation is not None
    assert found.validation - other.standard_error(found.chosen) >= 0.7
    assert all(r.validation is not None for r in found.rounds)


def test_a_number_of_nodes_is_kept_with_the_expected_size_steered_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    training, both = embedded_sets()
    kept: list[np.ndarray] = []
    whole = MaskTraining.learned

    def noted(self: MaskTraining, *given: object) -> np.ndarray:
        kept.append(whole(self, *given))  # pyright: ignore[reportArgumentType]
        return kept[-1]

    monkeypatch.setattr(MaskTraining, "learned", noted)
    found = learn(training, both, None, nodes=25, steps=100)
    assert found.chosen.sum() == 25
    assert found.reached
    assert float(chance_open(torch.from_numpy(kept[0])).sum()) == pytest.approx(25, rel=0.4)


def test_a_step_moves_against_the_gradient_of_the_lagrangian() -> None:
    """∂/∂ log α of size − w · F, with the draws held fixed, equals finite differences; the first step of Adam is its
    sign times the rate."""
    _, both = embedded_sets()
    warm = np.random.default_rng(0).normal(size=len(both.sets[0].nodes)) / 100
    masks = MaskTraining(both, warm, goal=0.9, nodes=None, seed=3)
    start = masks.start()
    uniform = torch.from_numpy(np.random.default_rng([3, 0]).uniform(1e-6, 1 - 1e-6, len(warm)))

    def F_at(log_alpha: np.ndarray) -> float:
        return both.value_and_gradient(gates(torch.from_numpy(log_alpha), uniform).numpy())[0]

    def size_at(log_alpha: np.ndarray) -> float:
        return float(chance_open(torch.from_numpy(log_alpha)).sum())

    weight = start.price * math.exp(mask_training.PENALTY * (0.9 - F_at(start.log_alpha)))
    moved = masks.until(start, 1, lambda _share: None)
    width, agreed = 1e-3, 0
    slopes = both.value_and_gradient(gates(torch.from_numpy(start.log_alpha), uniform).numpy())[1]
    for n in np.argsort(-np.abs(slopes))[:12]:
        step = np.zeros(len(warm))
        step[n] = width
        ends = [start.log_alpha + step, start.log_alpha - step]
        size, F = ((of(ends[0]) - of(ends[1])) / (2 * width) for of in (size_at, F_at))
        gradient = size - weight * F
        assert (1 - 0.9) ** -1 * moved.mean[n] == pytest.approx(gradient, abs=0.02 * max(1.0, abs(weight * F)))
        agreed += abs(moved.log_alpha[n] - start.log_alpha[n] + mask_training.RATE * np.sign(gradient)) < 1e-3
    assert agreed >= 11
    assert moved.price == pytest.approx(start.price * math.exp(mask_training.ASCENT * (0.9 - F_at(start.log_alpha))))


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_training, "KEPT_EVERY", 10)
    training, both = embedded_sets()
    expected = learn(training, both, None, target=0.8, steps=30, refine=False)

    def cut(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with kept_in(tmp_path), pytest.raises(KeyboardInterrupt):
        learn(training, both, None, target=0.8, steps=30, refine=False, progress=cut)
    steps: list[int] = []
    until = MaskTraining.until
    monkeypatch.setattr(MaskTraining, "until", lambda self, s, n, told: steps.append(n) or until(self, s, n, told))
    with kept_in(tmp_path) as store:
        assert same(learn(training, both, None, target=0.8, steps=30, refine=False), expected)
        assert steps == [20, 30]
        assert store.tallies[mask_training.STAGE].parts_reused == 1
        assert same(learn(training, both, None, target=0.8, steps=30, refine=False), expected)
        assert store.tallies[mask_training.STAGE].reused == 1
        learn(training, both, None, target=0.8, steps=30, refine=False, seed=1)
        assert store.tallies[mask_training.STAGE].computed == 2


def test_progress_goes_up_to_one() -> None:
    told: list[float] = []
    learn(*embedded_sets(), None, target=0.8, steps=12, refine=False, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 20


def test_nested_sets_lose_the_first_of_the_order() -> None:
    found = nested_sets(np.array([3, 0, 2, 1]), 1, 0.5)
    assert [s.tolist() for s in found] == [
        [True, True, True, True],
        [True, False, True, False],
        [True, False, False, False],
    ]
    assert [int(s.sum()) for s in nested_sets(np.arange(100), 10)][-1] == 10


def test_less_than_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="take at least 1 step; got 0"):
        learn(*embedded_sets(), None, steps=0)
