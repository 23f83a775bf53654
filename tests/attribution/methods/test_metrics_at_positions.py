"""Metrics that read several positions, in every method: against plain transformers, and by what causality demands.

A metric at a position is the metric at the last one of the prompts cut off there. Methods that are linear in the metric
give a sum of metrics the sum of their effects.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.checking.check import check
from attribution.dictionaries import SAE, Gated, JumpReLU
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import METRIC_KEY
from attribution.edges.explain_node import explain_node
from attribution.effects.effects import Effects
from attribution.effects.metric_keeping import NOTHING, Kept, metric_keeping
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.registry import METHODS
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import (
    Metric,
    kl_divergence,
    log_probability,
    logit_difference,
    mean_logit_difference,
    probability_difference,
)
from attribution.prompts.pair_entry import pair_from
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import node_keys
from attribution.splice.references import counterfactual
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.ablation import ablate
from circuits.ablation.edits import Ablation
from graphs import FeatureNode
from tests.twins import plain_transformers as plain
from tests.worlds.tiny_models import BOS, fitting_sae, save_hugging_face_folder

SITES: dict[str, type[SAE]] = {
    "blocks.0.hook_attn_out": JumpReLU,
    "blocks.0.hook_resid_post": JumpReLU,
    "blocks.1.attn.hook_z": Gated,
    "blocks.1.hook_mlp_out": JumpReLU,
}
CLEAN, PATCH = (BOS, 5, 9, 3, 7, 11), (BOS, 5, 12, 3, 16, 11)
SHORT_CLEAN, SHORT_PATCH = (BOS, 6, 2, 9), (BOS, 8, 2, 9)
ROLES = ("bos", "a", "noun", "b", "c", "end")
PAIRS = PromptPairs(
    (
        PromptPair(CLEAN, PATCH, 4, 7, ROLES),
        PromptPair(SHORT_CLEAN, SHORT_PATCH, 3, 10, ("bos", "a", "noun", "end")),
    )
)
LINEAR = ("exact", "atp", "ig", "ig-input", "chord-ig", "mask-path")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    save_hugging_face_folder(folder, "gpt2")
    return folder


@pytest.fixture(scope="module")
def hf(folder: Path) -> Any:
    return plain.gpt2_of(folder)


@pytest.fixture(scope="module")
def saes(hf: Any) -> dict[str, SAE]:
    prompts = torch.randint(2, 24, (8, 6), generator=torch.Generator().manual_seed(1)).tolist()
    seen = [plain.activations(hf, ids, list(SITES)) for ids in prompts]
    return {
        site: fitting_sae(kind, torch.cat([x[site][1:] for x in seen]), site, seed=seed)
        for seed, (site, kind) in enumerate(SITES.items())
    }


@pytest.fixture(scope="module")
def spliced(folder: Path, saes: dict[str, SAE]) -> SplicedModel:
    return SplicedModel(LanguageModel.load(folder, dtype=torch.float64), saes, dtype=torch.float64)


def two_positions(logits: Tensor, batch: Any) -> Tensor:
    return logits[:, 0, 3] * 0.5 - logits[:, 1].gather(1, batch.answer_id[:, None])[:, 0]


TWO = Metric("two", "logits", of=two_positions, at=("noun", -1))
FIRST = Metric("first", "logits", of=lambda logits, _: logits[:, 3] * 0.5, at=("noun",))
SECOND = Metric("second", "logits", of=lambda logits, b: -logits.gather(1, b.answer_id[:, None])[:, 0], at=("end",))


def plain_two(row: int) -> plain.MetricOfLogits:
    pair = PAIRS[row]
    return lambda logits: 0.5 * logits[2, 3] - logits[-1, pair.answer_id]


def as_keys(effects: Effects, row: int) -> dict[plain.Key, float]:
    chosen = (effects.kind < 2) & (effects.example == row)
    columns = (effects.site[chosen], effects.position[chosen], effects.index[chosen], effects.effect[chosen])
    return {(effects.sites[s], int(p), int(i)): float(e) for s, p, i, e in zip(*columns, strict=True)}


def assert_plain(found: dict[plain.Key, float], expected: dict[plain.Key, float]) -> None:
    assert max(map(abs, expected.values())) > 0.02
    for key in found.keys() | expected.keys():
        assert found.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=1e-9), key


def by_key(effects: Effects) -> dict[int, float]:
    return dict(zip(effects.keys().tolist(), effects.effect.tolist(), strict=True))


@pytest.mark.parametrize("frozen", [False, True])
def test_exact_effects_of_two_positions_equal_plain_hooks(
    frozen: bool, spliced: SplicedModel, hf: Any, saes: dict[str, SAE]
) -> None:
    found = exact_patching(spliced, PAIRS, TWO, error_mode="frozen" if frozen else "live")
    for row, pair in enumerate(PAIRS):
        expected = plain.effects(hf, saes, pair.clean_ids, pair.patch_ids, plain_two(row), frozen=frozen)
        assert_plain(as_keys(found, row), expected)


def test_gradients_of_two_positions_equal_plain_hooks(spliced: SplicedModel, hf: Any, saes: dict[str, SAE]) -> None:
    found = attribution_patching(spliced, PAIRS, TWO)
    for row, pair in enumerate(PAIRS):
        expected = plain.first_order_effects(hf, saes, pair.clean_ids, pair.patch_ids, plain_two(row))
        assert_plain(as_keys(found, row), expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reads_both_positions(method: str, spliced: SplicedModel, hf: Any) -> None:
    both = METHODS[method](spliced, PAIRS, TWO)
    for row, pair in enumerate(PAIRS):
        clean, patch = (float(plain_two(row)(plain.logits(hf, ids))) for ids in (pair.clean_ids, pair.patch_ids))
        assert both.clean_metric[row] == pytest.approx(clean, abs=1e-10)
        assert both.total_effect[row] == pytest.approx(patch - clean, abs=1e-10)
    if method in LINEAR:
        first, second = (by_key(METHODS[method](spliced, PAIRS, metric)) for metric in (FIRST, SECOND))
        for key, effect in by_key(both).items():
            assert effect == pytest.approx(first.get(key, 0.0) + second.get(key, 0.0), abs=1e-9)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"activation-difference"}))
def test_a_metric_at_a_position_is_that_of_the_prompts_cut_off_there(method: str, spliced: SplicedModel) -> None:
    cut = PromptPairs(tuple(PromptPair(p.clean_ids[:-1], p.patch_ids[:-1], p.answer_id, p.foil_id) for p in PAIRS))
    found = METHODS[method](spliced, PAIRS, logit_difference.reading_at(-2))
    expected = by_key(METHODS[method](spliced, cut, logit_difference))
    assert max(map(abs, expected.values())) > 0.02
    for key, effect in by_key(found).items():
        assert effect == pytest.approx(expected.get(key, 0.0), abs=1e-8)


def test_keeping_nodes_reads_both_positions(spliced: SplicedModel) -> None:
    keys = np.sort(exact_patching(spliced, PAIRS, TWO).keys())[::3]
    given = spliced, PAIRS
    both, first, second = (
        metric_keeping(*given, metric, [Kept(keys), NOTHING], counterfactual) for metric in (TWO, FIRST, SECOND)
    )
    np.testing.assert_allclose(both, first + second, atol=1e-9)
    assert np.abs(both[0] - both[1]).min() > 1e-6


def several(answers: list[int], wrongs: list[int], model: LanguageModel) -> PromptPairs:
    rows = {"clean_ids": list(CLEAN), "patch_ids": list(PATCH), "answers": answers, "wrongs": wrongs}
    return PromptPairs((pair_from(0, rows, model), PAIRS[1]))


SUMS: list[tuple[Metric, Any]] = [
    (logit_difference, lambda z, a, f: z[a].logsumexp(0) - z[f].logsumexp(0)),
    (mean_logit_difference, lambda z, a, f: z[a].mean() - z[f].mean()),
    (log_probability, lambda z, a, _: z.softmax(0)[a].sum().log()),
    (probability_difference, lambda z, a, f: z.softmax(0)[a].sum() - z.softmax(0)[f].sum()),
]


@pytest.mark.parametrize(("metric", "formula"), SUMS, ids=[m.name for m, _ in SUMS])
def test_several_answers_equal_plain_hooks(
    metric: Metric, formula: Any, spliced: SplicedModel, hf: Any, saes: dict[str, SAE]
) -> None:
    options = ([4, 8, 2], [7, 13]), ([3], [10])
    pairs = several(*options[0], spliced.model)
    for measure, reference in (
        (exact_patching, plain.effects),
        (attribution_patching, plain.first_order_effects),
    ):
        found = measure(spliced, pairs, metric)
        for row, (answers, foils) in enumerate(options):
            expected = reference(
                hf,
                saes,
                pairs[row].clean_ids,
                pairs[row].patch_ids,
                lambda z, a=answers, f=foils: formula(z[-1], a, f),
            )
            assert_plain(as_keys(found, row), expected)


def test_an_answer_of_several_tokens_is_read_token_by_token(
    spliced: SplicedModel, hf: Any, saes: dict[str, SAE]
) -> None:
    entry = {"clean_ids": list(CLEAN), "patch_ids": list(PATCH), "answer_ids": [4, 8, 2], "wrong_ids": [7, 1]}
    pair = pair_from(0, {**entry, "roles": list(ROLES)}, spliced.model)
    assert (pair.clean_ids, pair.patch_ids) == ((*CLEAN, 4, 8), (*PATCH, 4, 8))
    assert pair.roles == (*ROLES, "answer_1", "answer_2")
    found = exact_patching(spliced, PromptPairs((pair, PAIRS[1])), log_probability)

    def of_the_whole(logits: Tensor) -> Tensor:
        each = logits.log_softmax(-1)
        return each[5, 4] + each[6, 8] + each[7, 2]

    assert_plain(as_keys(found, 0), plain.effects(hf, saes, pair.clean_ids, pair.patch_ids, of_the_whole))
    other = several([4, 8, 2], [7, 13], spliced.model)
    found = exact_patching(spliced, PromptPairs((pair, *other)), log_probability)
    assert_plain(as_keys(found, 0), plain.effects(hf, saes, pair.clean_ids, pair.patch_ids, of_the_whole))
    for row in range(2):
        alone = exact_patching(spliced, PromptPairs((other[row],)), log_probability)
        assert as_keys(found, row + 1) == pytest.approx(as_keys(alone, 0), abs=1e-9)
    with pytest.raises(
        ValueError, match=r"Pair 0: answer \(ids \(4, 8, 2\)\).*share no beginning.*Use log_probability"
    ):
        exact_patching(spliced, PromptPairs((pair, PAIRS[1])), logit_difference)
    turned = pair.turned()
    assert (turned.clean_ids, turned.patch_ids, turned.answer_id) == ((*PATCH, 7), (*CLEAN, 7), 7)
    assert turned.turned() == pair


def test_answers_that_share_a_beginning_are_compared_where_they_differ(
    spliced: SplicedModel, hf: Any, saes: dict[str, SAE]
) -> None:
    entry = {"clean_ids": list(CLEAN), "patch_ids": list(PATCH), "answer_ids": [4, 8, 2], "wrong_ids": [4, 9]}
    pair = pair_from(0, entry, spliced.model)
    found = exact_patching(spliced, PromptPairs((pair,)), logit_difference)

    def difference(logits: Tensor) -> Tensor:
        return logits[6, 8] - logits[6, 9]

    assert_plain(as_keys(found, 0), plain.effects(hf, saes, pair.clean_ids, pair.patch_ids, difference))
    with pytest.raises(ValueError, match=r"Pair 0: one of answer \(ids \(4, 8\)\) and wrong.* begins with the other"):
        PromptPairs((pair_from(0, {**entry, "answer_ids": [4, 8], "wrong_ids": [4, 8, 1]}, spliced.model),))


def test_without_answers_the_model_s_own_two_likeliest_are_taken(spliced: SplicedModel, hf: Any) -> None:
    pair = pair_from(0, {"clean_ids": list(CLEAN), "patch_ids": list(PATCH)}, spliced.model)
    first, second = plain.logits(hf, CLEAN)[-1].topk(2).indices.tolist()
    assert (pair.answer_id, pair.foil_id, pair.predicted) == (first, second, True)
    assert (pair.turned().answer_id, pair.turned().clean_ids) == (second, PATCH)


def test_divergence_at_several_positions_is_their_sum(spliced: SplicedModel) -> None:
    at_both = exact_patching(spliced, PAIRS, kl_divergence.reading_at("noun", "end"))
    alone = [by_key(exact_patching(spliced, PAIRS, kl_divergence.reading_at(name))) for name in ("noun", "end")]
    assert at_both.metric == "kl_divergence at noun, end"
    for key, effect in by_key(at_both).items():
        assert effect == pytest.approx(sum(own.get(key, 0.0) for own in alone), abs=1e-10)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (logit_difference.reading_at("verb"), r"Pair 0: no position 'verb'.*Its roles: bos, a, noun, b, c, end"),
        (logit_difference.reading_at(-5), r"Pair 1: no position -5 to read the metric at: it has 4 tokens"),
        (logit_difference.reading_at(0), r"Pair 0: no position 0 to read the metric at"),
    ],
)
def test_a_position_that_a_pair_lacks_is_an_error(metric: Metric, message: str, spliced: SplicedModel) -> None:
    with pytest.raises(ValueError, match=message):
        exact_patching(spliced, PAIRS, metric)


def test_a_metric_of_one_position_is_not_read_at_two() -> None:
    for metric in (logit_difference, log_probability):
        with pytest.raises(ValueError, match=rf"{metric.name} is read at one position; got noun, end"):
            metric.reading_at("noun", "end")
    with pytest.raises(ValueError, match="'none': `at` names no position"):
        Metric("none", "logits", of=two_positions, at=())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"answers": [4, [5, 6]], "wrong_id": 7}, r"Pair 3: answers: \[5, 6\] is 2 tokens\. Where there are several"),
    ({"answers": [], "wrong_id": 7}, r"Pair 3: answers is \[\]; expected a list of answers"),
    ({"answer_ids": [], "wrong_id": 7}, r"Pair 3: answer_ids is \[\]; expected token ids"),
    ({"answer_id": 4}, r"Pair 3: has neither 'wrong' nor 'wrong_id'"),
    ({"answer": ["are", "were"], "wrong_id": 7}, r"Pair 3: answer is \[.*expected text; several answers are `answers`"),
    ({"answers": [4, 8], "wrongs": [9, 8]}, r"Pair 3: answer and wrong answer are the same token \(id 8\)"),
]


@pytest.mark.parametrize(("answers", "message"), BAD)
def test_faulty_answers_are_errors_that_name_the_pair(
    answers: dict[str, Any], message: str, spliced: SplicedModel
) -> None:
    entry = {"clean_ids": list(CLEAN), "patch_ids": list(PATCH), **answers}
    with pytest.raises(ValueError, match=message):
        PromptPairs((PAIRS[0],) * 3 + (pair_from(3, entry, spliced.model),))


def test_the_checker_measures_exactly_at_both_positions(spliced: SplicedModel) -> None:
    estimate = attribution_patching(spliced, PAIRS, TWO, error_mode="frozen")
    verdict = check(spliced, PAIRS, TWO, estimate, explained=2)
    exact = by_key(exact_patching(spliced, PAIRS, TWO, error_mode="frozen"))
    keys = node_keys(verdict.example, verdict.position, verdict.index, site=verdict.site, kind=verdict.kind)
    for key, effect in zip(keys.tolist(), verdict.exact.tolist(), strict=True):
        assert effect == pytest.approx(exact.get(key, 0.0), abs=1e-9)


def test_edges_into_the_metric_of_both_positions_are_the_sum(spliced: SplicedModel) -> None:
    targets = exact_patching(spliced, PAIRS, TWO)
    found = []
    for metric in (TWO, FIRST, SECOND):
        edges = chord_edges(spliced, PAIRS, metric, targets)
        into = edges.target == METRIC_KEY
        names = zip(edges.example[into].tolist(), edges.source[into].tolist(), strict=True)
        found.append(dict(zip(names, edges.weight[into].tolist(), strict=True)))
    both, first, second = found
    assert max(map(abs, both.values())) > 0.02
    for edge, weight in both.items():
        assert weight == pytest.approx(first.get(edge, 0.0) + second.get(edge, 0.0), abs=1e-9)


def test_one_node_s_flow_and_its_removal_have_its_exact_effect(spliced: SplicedModel) -> None:
    effects = exact_patching(spliced, PAIRS, TWO)
    features = np.flatnonzero(effects.of_kind("feature") & (effects.example == 0))
    row = features[np.argmax(np.abs(effects.effect[features]))]
    site, position, index = effects.sites[effects.site[row]], int(effects.position[row]), int(effects.index[row])
    story = explain_node(spliced, PAIRS, TWO, FeatureNode(site, position, index), error_mode="live")
    assert story.effects.total_effect[0] == pytest.approx(effects.effect[row], abs=1e-9)
    one = PromptPairs((PAIRS[0],))
    outcome = ablate(spliced, one, TWO, Ablation.named([f"{site}/{index}@{ROLES[position]}"], spliced, one))
    assert outcome.after[0] - outcome.before[0] == pytest.approx(effects.effect[row], abs=1e-9)
