"""SHIFT on the embedded model: the worst subgroup comes back, by features and not by accident."""

from dataclasses import dataclass
from random import Random

import pytest
import torch

from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.shift.labelled_prompts import LabelledPrompts, subgroup_accuracy
from circuits.shift.linear_probe import fit_probe
from circuits.shift.probe_effects import ProbeEffect, probe_effects
from circuits.shift.shift import Shifted, shift
from circuits.shift.site_activations import Feature, active_features, site_activations, token_prompts
from circuits.shift.spurious_features import firing_words, separation_of, spurious_features
from circuits.tasks.stereotypes import ambiguous_texts, balanced_texts, spurious_only_texts

SITE = "blocks.3.hook_resid_post"


@dataclass(frozen=True)
class Case:
    spliced: SplicedModel
    training: LabelledPrompts
    evaluation: LabelledPrompts
    spurious: LabelledPrompts
    effects: tuple[ProbeEffect, ...]

    def worst(self, shifted: Shifted, *, retrained: bool = False) -> float:
        probe = shifted.retrained if retrained else shifted.shifted
        predicted = probe.predict(shifted.activations(self.evaluation.prompts))
        return subgroup_accuracy(predicted, self.evaluation).worst.value


@pytest.fixture(scope="module")
def case() -> Case:
    spliced = SplicedModel(embedded_model(), embedded_saes())
    training = LabelledPrompts.of(spliced.model, ambiguous_texts(300, 7))
    probe = fit_probe(site_activations(spliced, training.prompts, SITE), training.intended)
    effects = probe_effects(spliced, SITE, probe, training.prompts[:12], exact=60)
    evaluation, spurious = balanced_texts(240, 7), spurious_only_texts(100, 7)
    return Case(
        spliced,
        training,
        LabelledPrompts.of(spliced.model, evaluation),
        LabelledPrompts.of(spliced.model, spurious),
        effects,
    )


@pytest.fixture(scope="module")
def shifted(case: Case) -> Shifted:
    found = spurious_features(case.spliced, case.effects, case.spurious.prompts, case.spurious.spurious, among=60)
    return shift(case.spliced, SITE, case.training, [f.feature for f in found])


def test_both_labels_can_be_read_and_the_probe_reads_the_spurious_one(case: Case, shifted: Shifted) -> None:
    bare = site_activations(case.spliced, case.evaluation.prompts, SITE)
    balanced = LabelledPrompts.of(case.spliced.model, balanced_texts(240, 8))
    other = site_activations(case.spliced, balanced.prompts, SITE)
    for labels, truth in (
        (balanced.intended, case.evaluation.intended),
        (balanced.spurious, case.evaluation.spurious),
    ):
        assert (fit_probe(other, labels).predict(bare) == truth).double().mean() > 0.97
    assert subgroup_accuracy(shifted.original.predict(bare), case.evaluation).worst.value < 0.4


def test_the_worst_subgroup_recovers(case: Case, shifted: Shifted) -> None:
    assert case.worst(shifted) > 0.75
    assert case.worst(shifted, retrained=True) > 0.95


def test_random_features_do_not_bring_it_back(case: Case, shifted: Shifted) -> None:
    active = active_features(case.spliced, case.training.prompts[:50])
    drawn = Random(0).sample(active, len(shifted.ablation))
    assert case.worst(shift(case.spliced, SITE, case.training, drawn)) < case.worst(shifted) - 0.2


def test_moving_the_bias_keeps_the_mean_logit_and_the_weights(case: Case, shifted: Shifted) -> None:
    before = shifted.original.logit(site_activations(case.spliced, case.training.prompts, SITE))
    after = shifted.shifted.logit(shifted.activations(case.training.prompts))
    torch.testing.assert_close(after.mean(), before.mean())
    assert torch.equal(shifted.original.weight, shifted.shifted.weight)
    assert not torch.equal(after, before)
    assert torch.equal(shifted.predict(case.training.prompts), after > 0)


def test_chosen_features_carry_the_spurious_label_and_are_among_the_largest(case: Case, shifted: Shifted) -> None:
    arguments = (case.spliced, case.effects, case.spurious.prompts, case.spurious.spurious)
    found = spurious_features(*arguments, among=20, separation=0.6)
    assert {f.feature for f in found} < {e.feature for e in case.effects[:20]}
    assert all(abs(f.separation) >= 0.6 for f in found)
    words = firing_words(case.spliced, case.training.prompts, [found[0].feature])
    assert len(words[found[0].feature]) == 3
    with pytest.raises(ValueError, match=r"separates the spurious labels by 1\.1 or more"):
        spurious_features(*arguments, separation=1.1)


def test_separation_equals_a_plain_loop_with_ties() -> None:
    rng = Random(0)
    labels = [rng.random() < 0.4 for _ in range(40)]
    values = [[float(rng.randrange(4)) + label, float(label), 1.0, -float(label)] for label in labels]
    found = separation_of(torch.tensor(values), torch.tensor(labels))
    for column in range(4):
        wins = [
            (1 if a[column] > b[column] else 0 if a[column] < b[column] else 0.5)
            for a, one in zip(values, labels, strict=True)
            for b, other in zip(values, labels, strict=True)
            if one and not other
        ]
        assert found[column] == pytest.approx(2 * sum(wins) / len(wins) - 1)
    assert found[1:].tolist() == [1, 0, -1]


def test_firing_words_are_where_a_feature_is_most_active(case: Case) -> None:
    (feature,) = [e.feature for e in case.effects[:1]]
    prompts = case.training.prompts[:3]
    totals: dict[str, float] = {}
    for prompt in prompts:
        values = case.spliced.run(torch.tensor([prompt])).features[feature.site].dense()[0, :, feature.index]
        for position, value in enumerate(values.tolist()):
            key = " ".join(case.spliced.model.token_text(i) for i in prompt[max(position - 2, 0) : position + 1])
            totals[key] = totals.get(key, 0.0) + value
    shown = firing_words(case.spliced, prompts, [feature], count=2)[feature]
    assert list(shown) == sorted(totals, key=lambda k: -totals[k])[:2]


def test_bad_input_is_an_error_before_anything_runs(case: Case) -> None:
    with pytest.raises(ValueError, match="No features are chosen"):
        shift(case.spliced, SITE, case.training, [])
    with pytest.raises(LookupError, match="no site"):
        shift(case.spliced, "blocks.9.hook_resid_post", case.training, [Feature(SITE, 0)])
    with pytest.raises(LookupError, match="No SAE is spliced in at"):
        shift(case.spliced, SITE, case.training, [Feature("blocks.0.hook_resid_pre", 0)])
    with pytest.raises(ValueError, match="one spurious label only"):
        spurious_features(case.spliced, case.effects, case.spurious.prompts, case.spurious.spurious | True)
    with pytest.raises(ValueError, match="100 texts but 99 spurious labels"):
        spurious_features(case.spliced, case.effects, case.spurious.prompts, case.spurious.spurious[1:])
    with pytest.raises(ValueError, match="No features to choose from"):
        spurious_features(case.spliced, [], case.spurious.prompts, case.spurious.spurious)
    with pytest.raises(ValueError, match="does not know"):
        token_prompts(case.spliced.model, ["the zebra"])
