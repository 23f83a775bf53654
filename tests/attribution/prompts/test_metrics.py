"""Metrics against their formulas."""

import pytest
import torch

from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import METRICS, Metric, kl_divergence, log_probability, logit_difference
from attribution.prompts.prompt_pairs import PairBatch
from tests.worlds.tiny_models import PAIRS, World

BATCH: PairBatch = next(PAIRS.batches(8))


def random_logits(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_logit_difference_is_answer_minus_foil() -> None:
    logits = random_logits(3, 0)
    expected = [logits[row, p.answer_id] - logits[row, p.foil_id] for row, p in enumerate(PAIRS)]
    assert torch.equal(logit_difference.bind(logits, BATCH)(logits, BATCH), torch.stack(expected))


def test_log_probability_is_that_of_the_answer() -> None:
    logits = random_logits(3, 0)
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = torch.stack([p[row, pair.answer_id].log() for row, pair in enumerate(PAIRS)])
    torch.testing.assert_close(log_probability.bind(logits, BATCH)(logits, BATCH), expected)


def test_kl_divergence_is_from_the_clean_run_to_this_one() -> None:
    clean, logits = random_logits(3, 0), random_logits(3, 1)
    p, q = clean.softmax(-1), logits.softmax(-1)
    kl = kl_divergence.bind(clean, BATCH)
    torch.testing.assert_close(kl(logits, BATCH), (p * (p / q).log()).sum(-1))
    torch.testing.assert_close(kl(clean, BATCH), torch.zeros(3).double())


def test_kl_divergence_compares_repeated_rows_with_their_own_example() -> None:
    clean, logits = random_logits(3, 0), random_logits(4, 1)
    rows = torch.tensor([2, 0, 2, 1])
    p, q = clean[rows].softmax(-1), logits.softmax(-1)
    found = kl_divergence.bind(clean, BATCH)(logits, BATCH.rows(rows))
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1))


def test_a_metric_has_exactly_one_definition() -> None:
    with pytest.raises(ValueError, match="'nothing': give exactly one of `of` and `of_clean`"):
        Metric("nothing", "logits")


def test_a_metric_gives_one_number_a_row(llama_world: World) -> None:
    wrong = Metric("all_logits", "logits", of=lambda logits, _: logits)
    with pytest.raises(ValueError, match=r"'all_logits' returned shape \(3, 24\)\. It must return one number for each"):
        attribution_patching(llama_world.spliced, PAIRS, wrong)


def test_a_metric_of_the_users_own_is_measured(llama_world: World) -> None:
    twice = Metric("twice", "logits", of=lambda logits, b: 2 * METRICS["logit_difference"].bind(logits, b)(logits, b))
    once, double = (attribution_patching(llama_world.spliced, PAIRS, m) for m in (logit_difference, twice))
    assert double.metric == "twice"
    torch.testing.assert_close(torch.tensor(double.effect), 2 * torch.tensor(once.effect))
