"""Ablation on the embedded model against plain hooks: metric, tokens, features, side effect; knocking out a circuit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.effects.measurement import prepare
from attribution.prompts.metrics import log_probability, logit_difference
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.edits import ERROR, KEEP_ONLY, REMOVE, add, set_to
from attribution.splice.patch_values import zero
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel
from circuits.ablation.ablation import ablate
from circuits.ablation.causal_test import causal_test
from circuits.ablation.causal_tests import FoundOn, causal_tests
from circuits.ablation.edits import Ablation
from circuits.ablation.joint_patch import joint_patch
from circuits.ablation.node_names import NodeName, circuit_names, parse_nodes, token_roles
from circuits.ablation.side_effect import documents_of, side_effect
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from circuits.embedded.language import documents
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs

SITE, LATER = "blocks.2.hook_resid_post", "blocks.3.hook_resid_post"
FEATURE = 368
"""Reads the number of the subject."""


@pytest.fixture(scope="module")
def spliced() -> SplicedModel:
    """With the four SAEs of the residual stream, for speed."""
    saes = {site: sae for site, sae in embedded_saes("jumprelu").items() if site.endswith("resid_post")}
    return SplicedModel(embedded_model(), saes)


@pytest.fixture(scope="module")
def pairs(spliced: SplicedModel) -> PromptPairs:
    return task_pairs("agreement", "train", 4, 0, spliced.model)


def hooked(spliced: SplicedModel, ids: Tensor, hooks: dict[str, Callable[[Tensor], Tensor]]) -> Tensor:
    """Logits of the bare model with functions on its activations."""
    fwd_hooks = [(site, lambda x, hook=None, f=function: f(x)) for site, function in hooks.items()]
    with torch.no_grad():
        return spliced.model.module.run_with_hooks(ids, fwd_hooks=fwd_hooks)


def kept(spliced: SplicedModel, ids: Tensor, site: str) -> Tensor:
    """The activation at a site of the bare model."""
    found: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        found.append(x.clone())
        return x

    hooked(spliced, ids, {site: keep})
    return found[0]


def moved(spliced: SplicedModel, change: dict[int, float]) -> Callable[[Tensor], Tensor]:
    """Adds to the feature at some positions, straight into the residual stream."""

    def function(x: Tensor) -> Tensor:
        x = x.clone()
        for position, amount in change.items():
            x[0, position] += amount * spliced.saes[SITE].W_dec[FEATURE]
        return x

    return function


def test_metric_tokens_and_features_equal_a_plain_hooked_run(spliced: SplicedModel, pairs: PromptPairs) -> None:
    """Removing a feature at the subject, whose position differs from prompt to prompt, to the patch prompt's value."""
    names = parse_nodes([f"{SITE}/{FEATURE}@subject"], spliced, position_names(pairs))
    outcome = ablate(spliced, pairs, logit_difference, Ablation(names, REMOVE), batch_size=3, shifts=200)
    probabilities = torch.zeros(2, spliced.model.d_vocab)
    shifts: dict[str, float] = {}
    for n, (pair, labels) in enumerate(zip(pairs, position_names(pairs), strict=True)):
        clean, patch = (torch.tensor([ids]) for ids in (pair.clean_ids, pair.patch_ids))
        at, sae = labels.index("subject"), spliced.saes[SITE]
        value = {
            ids: float(sae.encode(kept(spliced, x, SITE)).features[0, at, FEATURE])
            for ids, x in (("c", clean), ("p", patch))
        }
        hook = moved(spliced, {at: value["p"] - value["c"]})
        arrived: list[Tensor] = []

        def keep(x: Tensor, arrived: list[Tensor] = arrived) -> Tensor:
            arrived.append(x.clone())
            return x

        logits = hooked(spliced, clean, {SITE: hook, LATER: keep})[0, -1]
        before = spliced.model.logits(clean)[0, -1]
        for found, own in ((outcome.before, before), (outcome.after, logits)):
            assert found[n] == pytest.approx(float(own[pair.answer_id] - own[pair.foil_id]), abs=2e-5)
        probabilities += torch.stack([before.softmax(-1), logits.softmax(-1)]) / len(pairs)
        later = spliced.saes[LATER]
        change = later.encode(arrived[0]).features - later.encode(kept(spliced, clean, LATER)).features
        for position, index in torch.nonzero(change[0, 1:]).tolist():
            name = f"{LATER}/{index}@{labels[position + 1]}"
            shifts[name] = shifts.get(name, 0.0) + float(change[0, position + 1, index]) / len(pairs)
    for token in outcome.tokens:
        assert (token.before, token.after) == pytest.approx(probabilities[:, token.token_id].tolist(), abs=1e-5)
    assert {outcome.tokens[0].token_id} <= set(probabilities.argmax(-1).tolist())
    there = [f for f in outcome.features if f.site == LATER]
    assert len(there) > 20
    assert {str(f): f.shift for f in there} == pytest.approx({str(f): shifts[str(f)] for f in there}, abs=1e-3)
    strongest = max(shifts, key=lambda name: abs(shifts[name]))
    assert strongest in {str(f) for f in there}


def test_side_effect_equals_plain_cross_entropy_and_kl(spliced: SplicedModel, pairs: PromptPairs) -> None:
    texts = documents_of([*documents(3, 5), "the dark barn"], spliced)
    names = (NodeName(SITE, FEATURE, "subject"), NodeName(TOKENS, ERROR, "subject"))
    situation = prepare(spliced, pairs.batch([0]), logit_difference, "live", zero)
    found = side_effect(situation, Ablation(names, add(40.0)), texts, batch_size=3)
    losses: list[Tensor] = []
    divergences: list[Tensor] = []
    for ids in texts:
        x = torch.tensor([ids])
        changed = hooked(spliced, x, {SITE: moved(spliced, dict.fromkeys(range(1, len(ids)), 40.0))})[0, :-1]
        before, after = (v.double().log_softmax(-1) for v in (spliced.model.logits(x)[0, :-1], changed))
        losses.append(torch.stack([-v[torch.arange(len(ids) - 1), ids[1:]] for v in (before, after)], 1))
        divergences.append(torch.nn.functional.kl_div(after, before, log_target=True, reduction="none").sum(-1))
    mean = torch.cat(losses).mean(0)
    assert (found.cross_entropy_before, found.cross_entropy_after) == pytest.approx(mean.tolist(), abs=1e-5)
    assert found.kl == pytest.approx(float(torch.cat(divergences).mean()), rel=1e-3)
    assert found.kl > 1e-2
    assert (found.tokens, found.documents) == (sum(len(t) - 1 for t in texts), 4)
    assert found.values_changed == found.tokens  # BOS is not spliced


def test_general_text_without_a_next_token_is_an_error(spliced: SplicedModel, pairs: PromptPairs) -> None:
    situation = prepare(spliced, pairs.batch([0]), logit_difference, "live", zero)
    ablation = Ablation((NodeName(SITE, FEATURE, None),), REMOVE, zero)
    for texts in ([], [[1, 2], [1]]):
        with pytest.raises(ValueError, match="nothing is predicted there"):
            side_effect(situation, ablation, texts)


def nodes(count: int) -> dict[str, Any]:
    """Arguments of `discover`: the strongest nodes, no estimates beside them."""
    return {"select": Selection(nodes=count), "least_edge": 0.0, "compare": ()}


@pytest.mark.parametrize("mode", ["live", pytest.param("frozen", marks=pytest.mark.slow)])
def test_knocking_out_a_circuits_nodes_does_what_the_graph_says(
    spliced: SplicedModel, pairs: PromptPairs, mode: ErrorMode
) -> None:
    circuit = discover(spliced, pairs, logit_difference, method="exact", error_mode=mode, **nodes(50)).circuit
    test = causal_test(spliced, pairs, logit_difference, circuit)
    assert test.error_mode == mode
    assert len(test.names) == 50
    assert {name.is_token for name in test.names} == {True, False}
    assert mode == "live" or any(name.is_error for name in test.names)
    assert test.relative_difference is not None
    assert test.relative_difference < 1e-5
    assert test.pearson == pytest.approx(1)
    wrong = causal_test(spliced, pairs, logit_difference, circuit, error_mode="zero")
    assert wrong.largest_difference > 0.01


def test_a_test_on_some_of_the_circuits_pairs_and_on_others_compares_like_with_like(spliced: SplicedModel) -> None:
    """Prediction and measurement agree on any of the pairs that found the circuit; other pairs are tested apart."""
    whole, others = (task_pairs("agreement", "train", 8, seed, spliced.model) for seed in (0, 1))
    found = discover(spliced, whole, logit_difference, method="exact", **nodes(30))
    found_on = FoundOn(whole, found.effects, "role")
    few = PromptPairs((whole[5], others[0], whole[2], others[1]))
    given = spliced, few, logit_difference, found.circuit
    own, other = causal_tests(*given, found_on)
    assert (own.own_pairs, own.pairs, other.own_pairs, other.pairs) == (True, 2, False, 2)
    assert own.relative_difference is not None
    assert own.relative_difference < 1e-5
    assert other.predicted.tolist() == [w.effect for w in found.circuit.strongest()]
    mixed = causal_test(*given)
    assert mixed.own_pairs is False
    assert mixed.measured == pytest.approx((own.measured + other.measured) / 2, abs=1e-5)
    assert mixed.relative_difference is not None
    assert mixed.relative_difference > 1000 * own.relative_difference
    assert causal_test(spliced, whole, logit_difference, found.circuit).own_pairs is True
    assert causal_test(spliced, whole, logit_difference, replace(found.circuit, certificate=None)).own_pairs is None


def test_a_circuit_of_one_metric_is_not_tested_by_another(spliced: SplicedModel, pairs: PromptPairs) -> None:
    circuit = discover(spliced, pairs, logit_difference, method="atp", **nodes(3)).circuit
    with pytest.raises(ValueError, match="are of logit_difference: they predict nothing about log_probability"):
        causal_test(spliced, pairs, log_probability, circuit)


def test_single_nodes_patched_jointly_are_the_causal_test_and_all_nodes_the_total_effect(
    spliced: SplicedModel, pairs: PromptPairs
) -> None:
    circuit = discover(spliced, pairs, logit_difference, method="atp", **nodes(6)).circuit
    test = causal_test(spliced, pairs, logit_difference, circuit)
    for n, name in enumerate(test.names):
        assert joint_patch(spliced, pairs, logit_difference, [name]).effect == pytest.approx(test.per_pair[n], abs=2e-5)
    tokens = [NodeName(TOKENS, ERROR, label) for label in {label for own in position_names(pairs) for label in own}]
    target = next(n for n in test.names if n.site == LATER)
    whole = joint_patch(spliced, pairs, logit_difference, tokens, target=target)
    for n, (pair, labels) in enumerate(zip(pairs, position_names(pairs), strict=True)):
        patch = torch.tensor([pair.patch_ids])
        logits = spliced.model.logits(patch)[0, -1]
        assert whole.after[n] == pytest.approx(float(logits[pair.answer_id] - logits[pair.foil_id]), abs=1e-4)
        assert whole.target_after is not None
        at = labels.index(str(target.position))
        value = spliced.saes[LATER].encode(kept(spliced, patch, LATER)).features[0, at, target.index]
        assert whole.target_after[n] == pytest.approx(float(value), abs=1e-3)
    assert np.abs(whole.target_effect).max() > 0.1


def test_keep_only_everything_changes_nothing_and_keep_only_nothing_is_the_patch_run(
    spliced: SplicedModel, pairs: PromptPairs
) -> None:
    every = [NodeName(s, n, None) for s, sae in spliced.saes.items() for n in range(-1, sae.d_sae)]
    outcome = ablate(spliced, pairs, logit_difference, Ablation(tuple(every), KEEP_ONLY))
    assert outcome.values_changed == 0
    assert np.array_equal(outcome.before, outcome.after)
    one = (NodeName("blocks.0.hook_resid_post", 0, "bos"),)  # BOS is not spliced: nothing is kept
    with pytest.raises(ValueError, match="position 0 is not spliced"):
        ablate(spliced, pairs, logit_difference, Ablation(one, KEEP_ONLY))
    one = (NodeName("blocks.0.hook_resid_post", 0, "nowhere"),)
    outcome = ablate(spliced, pairs, logit_difference, Ablation(one, KEEP_ONLY))
    total = joint_patch(spliced, pairs, logit_difference, [NodeName(TOKENS, ERROR, "subject")]).after
    assert outcome.after == pytest.approx(total, abs=1e-3)


def test_an_ablation_that_changes_nothing_is_an_error_that_lists_what_is_there(
    spliced: SplicedModel, pairs: PromptPairs
) -> None:
    inactive, active = NodeName(SITE, 117, "subject"), NodeName(SITE, FEATURE, "subject")
    with pytest.raises(
        ValueError, match=rf"would change nothing.*Active features of {SITE} at subject, strongest first: \d+, "
    ):
        ablate(spliced, pairs, logit_difference, Ablation((inactive,), REMOVE))
    outcome = ablate(spliced, pairs, logit_difference, Ablation((inactive, active), REMOVE))
    assert outcome.idle == (inactive,)
    same_token = NodeName(TOKENS, ERROR, "the_subject")
    with pytest.raises(ValueError, match="The token is the same in the patch prompts"):
        ablate(spliced, pairs, logit_difference, Ablation((same_token,), REMOVE))


def test_what_an_operation_cannot_act_on_is_refused(spliced: SplicedModel) -> None:
    token, error = NodeName(TOKENS, ERROR, "subject"), NodeName(SITE, ERROR, None)
    for name, operation, match in (
        (token, add(1.0), "a token can only be removed"),
        (error, set_to(1.0), "an error is a vector"),
    ):
        with pytest.raises(ValueError, match=match):
            Ablation((name,), operation).refuse_idle()
    Ablation((token, error), REMOVE).refuse_idle()
    with pytest.raises(ValueError, match="an error is a vector"):
        Ablation((error,), REMOVE, error_mode="zero").refuse_idle()
    with pytest.raises(ValueError, match="no nodes are named"):
        Ablation((), REMOVE)


def test_names_are_parsed_and_wrong_ones_say_what_there_is(spliced: SplicedModel, pairs: PromptPairs) -> None:
    labels = position_names(pairs)
    texts = [f"{SITE}/3@subject", f"{SITE}/error@2", f"{SITE}/4", "token@subject"]
    names = parse_nodes(texts, spliced, labels)
    assert [str(name) for name in names] == texts
    assert names[1].columns(labels[0]) == (2,)
    assert names[0].columns(labels[0]) == (labels[0].index("subject"),)
    wrong = {
        f"{SITE}/3@nowhere": "no prompt has that position. Positions: 0 to .*, by name bos",
        f"{SITE}/3@99": "no prompt has that position",
        f"{SITE}/99999": "features 0 to 691",
        f"{SITE}/x": "is no node. Nodes are named like",
        f"{SITE}/3@": "must follow the @",
        "token": "needs a position",
        "blocks.2.hook_resid_pots/3": "Near matches",
        "blocks.2.hook_resid_pre/3": "No SAE is spliced in",
    }
    for text, match in wrong.items():
        with pytest.raises((ValueError, LookupError), match=match):
            parse_nodes([text], spliced, labels)


def test_a_circuits_nodes_have_the_names_of_the_file(spliced: SplicedModel, pairs: PromptPairs) -> None:
    circuit = discover(spliced, pairs, logit_difference, method="atp", error_mode="frozen", **nodes(30)).circuit
    assert [str(n) for n in circuit_names(circuit, spliced)] == [circuit.name(w.node) for w in circuit.strongest()]


def test_positions_of_any_text_are_named_by_the_tokens_that_occur_once(spliced: SplicedModel) -> None:
    ids = spliced.model.token_ids("the barn near the beach")
    assert token_roles(ids, spliced.model) == ("<s>", "1", "barn", "near", "4", "beach")


def test_a_node_named_twice_is_changed_once_and_the_outcome_says_so(spliced: SplicedModel, pairs: PromptPairs) -> None:
    place = position_names(pairs)[0].index("subject")
    once, twice = (
        ablate(spliced, pairs, logit_difference, Ablation.named(names, spliced, pairs, operation=add(5.0)))
        for names in ([f"{SITE}/{FEATURE}@subject"], [f"{SITE}/{FEATURE}@subject", f"{SITE}/{FEATURE}@{place}"])
    )
    assert once.warnings == ()
    assert np.array_equal(once.after, twice.after)
    assert [c.kind for c in twice.warnings] == ["node_named_twice"]


def test_changing_nodes_on_pairs_that_found_them_is_said(spliced: SplicedModel, pairs: PromptPairs) -> None:
    removed = Ablation.named([f"{SITE}/{FEATURE}@subject"], spliced, pairs)
    doubled = PromptPairs((*pairs, pairs[0]))
    outcome = ablate(spliced, doubled, logit_difference, removed, found_on=pairs)
    assert [(c.kind, dict(c.figures)) for c in outcome.warnings] == [
        ("shared_pairs", {"shared": 5, "pairs": 5}),
        ("repeated_pairs", {"different": 4, "pairs": 5}),
    ]
