"""Subgroup accuracies against plain loops, and the texts that have two labels."""

from collections import Counter
from random import Random

import pytest
import torch

from circuits.shift.labelled_prompts import SUBGROUPS, LabelledPrompts, subgroup_accuracy
from circuits.tasks.lexicon import FEMALE_NAMES, MALE_NAMES, TOPICS
from circuits.tasks.stereotypes import DEFAULT_TOPICS, ambiguous_texts, balanced_texts, spurious_only_texts


def labelled(intended: list[bool], spurious: list[bool]) -> LabelledPrompts:
    return LabelledPrompts(((1,),) * len(intended), torch.tensor(intended), torch.tensor(spurious))


def random_case(seed: int, texts: int = 90) -> tuple[list[bool], list[bool], list[bool]]:
    rng = Random(seed)
    intended, spurious = ([rng.random() < 0.4 for _ in range(texts)] for _ in range(2))
    predicted = [s if rng.random() < 0.6 else i for i, s in zip(intended, spurious, strict=True)]
    return intended, spurious, predicted


def by_loop(intended: list[bool], spurious: list[bool], predicted: list[bool]) -> tuple[float, float, list[float]]:
    right: dict[tuple[bool, bool], list[bool]] = {group: [] for group in SUBGROUPS}
    for i, s, p in zip(intended, spurious, predicted, strict=True):
        right[i, s].append(p == i)
    on_intended = sum(i == p for i, p in zip(intended, predicted, strict=True)) / len(intended)
    on_spurious = sum(s == p for s, p in zip(spurious, predicted, strict=True)) / len(spurious)
    return on_intended, on_spurious, [sum(right[group]) / len(right[group]) for group in SUBGROUPS]


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_equal_a_plain_loop(seed: int) -> None:
    intended, spurious, predicted = random_case(seed)
    found = subgroup_accuracy(torch.tensor(predicted), labelled(intended, spurious))
    on_intended, on_spurious, groups = by_loop(intended, spurious, predicted)
    assert found.intended.value == pytest.approx(on_intended)
    assert found.spurious.value == pytest.approx(on_spurious)
    assert found.subgroups == pytest.approx(groups)
    assert found.worst.value == min(found.subgroups)


def test_intervals_equal_a_bootstrap_that_draws_texts() -> None:
    intended, spurious, predicted = random_case(0)
    found = subgroup_accuracy(torch.tensor(predicted), labelled(intended, spurious), resamples=4000)
    rng, rows = Random(1), list(zip(intended, spurious, predicted, strict=True))
    draws = []
    for _ in range(1000):
        drawn = [row for group in SUBGROUPS for row in _resampled(rng, [r for r in rows if r[:2] == group])]
        whole, other, groups = by_loop(*(list(column) for column in zip(*drawn, strict=True)))
        draws.append((whole, other, min(groups)))
    for column, interval in enumerate((found.intended, found.spurious, found.worst)):
        values = torch.tensor([draw[column] for draw in draws])
        low, high = torch.quantile(values, torch.tensor([0.025, 0.975])).tolist()
        assert interval.low == pytest.approx(low, abs=0.03)
        assert interval.high == pytest.approx(high, abs=0.03)


def _resampled(rng: Random, rows: list[tuple[bool, bool, bool]]) -> list[tuple[bool, bool, bool]]:
    return rng.choices(rows, k=len(rows))


def test_an_empty_subgroup_is_an_error() -> None:
    with pytest.raises(ValueError, match="intended label False and spurious label True"):
        subgroup_accuracy(torch.tensor([True, False]), labelled([True, False], [True, False]))


def test_labels_and_prompts_must_be_equally_many() -> None:
    with pytest.raises(ValueError, match="Give each prompt both labels"):
        labelled([True, False], [True])
    with pytest.raises(ValueError, match="3 predictions for 2 texts"):
        subgroup_accuracy(torch.tensor([True, False, True]), labelled([True, False], [True, False]))


def test_texts_have_the_labels_they_say() -> None:
    texts = (*ambiguous_texts(40, 0), *balanced_texts(40, 0), *spurious_only_texts(40, 0))
    for text in texts:
        _, profession, _, name, *_ = text.text.split()
        (topic,) = [t for t, words in TOPICS.items() if profession in [singular for singular, _ in words.people]]
        assert name in (FEMALE_NAMES if text.spurious else MALE_NAMES)
        if text.intended is None:
            assert topic not in DEFAULT_TOPICS
        else:
            assert topic == DEFAULT_TOPICS[text.intended]


def test_subgroups_are_equally_frequent_and_texts_differ() -> None:
    ambiguous, balanced, spurious = ambiguous_texts(40, 0), balanced_texts(40, 0), spurious_only_texts(40, 0)
    assert Counter((t.intended, t.spurious) for t in ambiguous) == {(False, False): 20, (True, True): 20}
    assert Counter((t.intended, t.spurious) for t in balanced) == dict.fromkeys(SUBGROUPS, 10)
    assert Counter((t.intended, t.spurious) for t in spurious) == {(None, False): 20, (None, True): 20}
    assert len({t.text for t in balanced}) == 40
    assert balanced == balanced_texts(40, 0) != balanced_texts(40, 1)


def test_topics_that_are_not_two_are_an_error() -> None:
    with pytest.raises(ValueError, match="No topic 'moon'"):
        balanced_texts(4, 0, ("moon", "city"))
    with pytest.raises(ValueError, match="got 'city' twice"):
        ambiguous_texts(4, 0, ("city", "city"))
