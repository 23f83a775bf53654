"""What the options refuse is what the methods themselves refuse: nothing more, nothing less."""

from itertools import product
from typing import get_args

import pytest

from attribution.methods.registry import METHODS, options_of
from attribution.prompts.metrics import METRICS
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import counterfactual, zero
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from circuits.commands.choices import refuse_excluded
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
