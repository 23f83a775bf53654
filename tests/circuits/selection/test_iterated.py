"""The search finds small faithful sets: exactly the planted ones, smaller than rankings, the same at every run."""

from functools import cache

import numpy as np
import pytest
import torch

from attribution.dictionaries import ReLU
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.splice.references import counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits import load_model, load_saes, prompt_pairs, splice
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.faithfulness.smallest_faithful import smallest_faithful
from circuits.ranking.aggregate import Ranking, rank_nodes
from circuits.selection.iterated import Search, iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from circuits.selection.watch import Round, SearchCost
from graphs import ErrorNode, FeatureNode
from tests.worlds.tiny_models import World, plain_world

SITE = "blocks.1.hook_resid_post"
PLANTED = (0, 1, 2, 5)
"""Features of the planted world that the metric reads; the last one opposes the task."""
QUICK = 0.3
"""The share dropped in a round: twice the usual, so that a search has half as many rounds."""
LOGITS = (2, 3, 4, 5, 6, 7, 8, 9)


@cache
def planted() -> tuple[World, PromptPairs, Metric]:
    """Feature i of one site writes the i-th logit alone, and the metric reads those of `PLANTED`."""
    world = plain_world(torch.clone, always_open=True)
    sae = world.saes[SITE]
    W_dec = sae.W_dec.clone()
    W_dec[:8] = torch.linalg.pinv(world.model.module.unembed.weight.detach()[list(LOGITS)]).T
    W_dec[8:] = 0
    generator = torch.Generator().manual_seed(5)
    W_enc = torch.randn(sae.W_enc.shape, generator=generator).double()
    own = ReLU(W_enc=W_enc, W_dec=W_dec, b_dec=sae.b_dec, b_enc=100 + 0 * sae.W_enc[0], site=SITE)
    pairs = PromptPairs(tuple(PromptPair((0, 3 + n, 9), (0, 12 + n, 9), 4, 7) for n in range(6)))

    def read(logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        del batch
        return logits[:, [LOGITS[i] for i in PLANTED]].sum(1)

    return World(world.model, {SITE: own}), pairs, Metric("planted", "logits", read)


def sets(spliced: SplicedModel, pairs: PromptPairs, metric: Metric, ranking: Ranking) -> NodeSets:
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]
    return NodeSets(spliced, pairs, metric, counterfactual, nodes, ranking.positions)


def search(
    spliced: SplicedModel, pairs: PromptPairs, metric: Metric, ranking: Ranking, **options: object
) -> tuple[Search, NodeSets]:
    training = sets(spliced, pairs, metric, ranking)
    both = Directions([sets(spliced, own, metric, ranking) for own in both_directions(pairs)])
    given = {"drop": QUICK, **options}
    return iterate(training, both, None, **given), training


def test_the_planted_set_is_found_and_nothing_else() -> None:
    world, pairs, metric = planted()
    ranking = rank_nodes(attribution_patching(world.spliced, pairs, metric), pairs, world.model, scheme="offset")
    found, training = search(world.spliced, pairs, metric, ranking, target=0.999)
    kept = {(n.kind, getattr(n, "index", -1)) for n, inside in zip(training.nodes, found.chosen, strict=True) if inside}
    last = len(ranking.positions) - 1
    assert all(n.position == last for n, inside in zip(training.nodes, found.chosen, strict=True) if inside)
    assert {("feature", index) for index in PLANTED} <= kept
    assert kept <= {("feature", index) for index in PLANTED} | {("error", -1)}
    assert found.reached
    assert found.training == pytest.approx(1, abs=2e-3)


@cache
def embedded() -> tuple[SplicedModel, PromptPairs, Ranking]:
    sites = {
        site: sae for site, sae in load_saes().items() if site.endswith(("1.hook_resid_post", "3.hook_resid_post"))
    }
    spliced = splice(load_model(), sites)
    pairs = prompt_pairs("agreement", spliced.model, examples=8)
    effects = attribution_patching(spliced, pairs, logit_difference)
    return spliced, pairs, rank_nodes(effects, pairs, spliced.model, scheme="none")


@cache
def embedded_search() -> tuple[Search, NodeSets]:
    return search(*embedded()[:2], logit_difference, embedded()[2], target=0.8)


def test_the_set_is_smaller_than_that_of_the_ranking_and_faithful_by_the_plain_report() -> None:
    spliced, pairs, ranking = embedded()
    found, training = embedded_search()
    size = int(found.chosen.sum())
    ranked = smallest_faithful(spliced, pairs, logit_difference, ranking, target=0.8)
    assert ranked is not None
    assert size < ranked.nodes  # though the search leaves a standard error to spare
    chosen = {n for n, inside in zip(training.nodes, found.chosen, strict=True) if inside}
    (report,) = faithfulness_report(spliced, {"own": pairs}, logit_difference, ranking.only(chosen))
    assert report.faithfulness == pytest.approx(found.training, abs=1e-5)
    assert report.nodes == size
    assert report.faithfulness - training.standard_error(found.chosen) >= 0.8


def test_the_curve_goes_from_all_nodes_to_few_and_the_chosen_set_lies_on_it() -> None:
    found, training = embedded_search()
    sizes = [r.size for r in found.rounds]
    assert sizes[0] == len(training.nodes)
    assert sizes == sorted(sizes, reverse=True)
    assert found.rounds[0].training == pytest.approx(1, abs=1e-4)
    assert sizes[-1] <= found.chosen.sum() <= sizes[0]


@pytest.mark.slow
def test_the_same_search_finds_the_same_set_in_any_batch_size() -> None:
    spliced, pairs, ranking = embedded()
    found, training = embedded_search()
    again = NodeSets(spliced, pairs, logit_difference, counterfactual, training.nodes, ranking.positions, 5)
    given = logit_difference, counterfactual, training.nodes, ranking.positions, 5
    both = Directions([NodeSets(spliced, own, *given) for own in both_directions(pairs)])
    other = iterate(again, both, None, target=0.8, drop=QUICK)
    shared = (other.chosen & found.chosen).sum() / (other.chosen | found.chosen).sum()
    assert shared > 0.9  # nodes of equal worth may change places by rounding


@pytest.mark.slow
def test_a_number_of_nodes_is_kept_and_a_limit_is_said_to_be_missed() -> None:
    spliced, pairs, ranking = embedded()
    exactly, _ = search(spliced, pairs, logit_difference, ranking, target=None, nodes=17)
    assert exactly.chosen.sum() == 17
    few, training = search(spliced, pairs, logit_difference, ranking, target=0.99, most=6)
    assert few.chosen.sum() <= 6
    assert not few.reached
    assert training.faithfulness(few.chosen) < 0.99


def test_attributions_are_shares_of_faithfulness() -> None:
    from attribution.effects.quadrature import midpoint

    _, training = embedded_search()
    everything = np.ones(len(training.nodes), bool)
    assert training.shares(everything, midpoint(16)).attribution.sum() == pytest.approx(1, abs=0.05)
    assert Directions([training]).residual(everything, midpoint(16)) < 0.05


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_a_share_that_drops_nothing_or_all_is_refused(drop: float) -> None:
    spliced, pairs, ranking = embedded()
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        search(spliced, pairs, logit_difference, ranking, drop=drop)


class Notes:
    """Writes down what a search says."""

    def __init__(self) -> None:
        self.costs, self.rounds, self.ends = list[SearchCost](), list[Round](), 0

    def begins(self, cost: SearchCost) -> None:
        assert not self.rounds
        self.costs.append(cost)

    def went(self, found: Round) -> None:
        self.rounds.append(found)

    def ended(self) -> None:
        self.ends += 1


def test_the_cost_is_told_before_the_first_round_and_every_set_on_the_way() -> None:
    spliced, pairs, ranking = embedded()
    notes = Notes()
    found, training = search(spliced, pairs, logit_difference, ranking, target=0.8, drop=0.5, watch=notes)
    (cost,) = notes.costs
    assert (cost.nodes, cost.prompts, cost.drop) == (len(training.nodes), 2 * len(pairs), 0.5)
    assert cost.points in (4, 8)
    assert len(found.rounds) - 1 <= cost.most_rounds
    assert tuple(notes.rounds) == found.rounds
    assert notes.ends == 1
    assert f"Searching among {len(training.nodes):,} features and errors. Each round runs 16 prompts" in cost.sentence
