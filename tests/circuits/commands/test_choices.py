"""What the options refuse is what the methods themselves refuse: nothing more, nothing less."""

from itertools import product
from typing import Any, get_args

import pytest

from attribution.methods.registry import METHODS, options_of
from attribution.prompts.metrics import METRICS
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import counterfactual, zero
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from circuits.commands.shared.choices import patch_value, refuse_excluded
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import task_pairs


class AboutToMeasureError(Exception):
    """The method has checked its arguments and looks at the pairs."""


@pytest.mark.parametrize("method", METHODS)
def test_options_are_refused_exactly_where_the_method_refuses_them(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced = SplicedModel(embedded_model(), embedded_saes("relu"))
    pairs = task_pairs("agreement", "train", 1, 0, spliced.model)

    def stop(*_: object, **__: object) -> None:
        raise AboutToMeasureError

    monkeypatch.setattr(PromptPairs, "check_fits", stop)
    patches = {"counterfactual": counterfactual, "zero": zero}
    refused = 0
    for error, patch, metric in product((None, *get_args(ErrorMode)), patches, METRICS):
        options = {"patch_value": patches[patch], **options_of(method, error, None)}
        with pytest.raises((AboutToMeasureError, ValueError)) as own:
            METHODS[method](spliced, pairs, METRICS[metric], **options)
        if own.errisinstance(AboutToMeasureError):
            refuse_excluded(method, error, patch, metric)
            continue
        with pytest.raises(ValueError, match=f"--method {method} "):
            refuse_excluded(method, error, patch, metric)
        refused += 1
    assert 0 < refused < 10 * len(METRICS)


@pytest.mark.parametrize(("method", "modes"), [("atp", "live, frozen, zero"), ("ig-input", "live, frozen, zero, path")])
def test_an_error_mode_that_does_not_exist_is_answered_with_those_that_do(method: str, modes: str) -> None:
    with pytest.raises(ValueError, match=f"--method {method} has no --error thawed. Give --error {modes}.$"):
        refuse_excluded(method, "thawed", "counterfactual", "logit_difference")


def test_pairs_without_a_counterfactual_among_others_are_named() -> None:
    with_one, without = PromptPair((0, 5, 9), (0, 5, 7), 4, 3), PromptPair((0, 5, 9), (0, 5, 9), 4, 3)
    spliced: Any = None
    with pytest.raises(ValueError, match="Pair 1, 2: no counterfactual, or one that equals the clean prompt, where"):
        patch_value("counterfactual", spliced, PromptPairs((with_one, without, without)), "live")
    with pytest.raises(ValueError, match="The prompts have no counterfactual to take values from"):
        patch_value("counterfactual", spliced, PromptPairs((without,)), "live")
    assert patch_value("zero", spliced, PromptPairs((with_one, without)), "live") is zero
