"""Metrics by name: built in, read elsewhere, and a user's own from a Python module."""

from pathlib import Path

import pytest
import torch

from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metric_names import metric_named
from attribution.prompts.metrics import METRICS, Metric
from attribution.runs.chunk_key import metric_in_words
from tests.worlds.tiny_models import PAIRS, World

OWN = """
import torch
from attribution import Metric

def gap(logits, batch):
    return logits[:, 3] - logits[:, 5]

both = Metric("both", "logits", of=lambda logits, batch: logits[:, 0, 3] + logits[:, 1, 3], at=(-2, -1))
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_built_in_metrics_have_their_names() -> None:
    assert all(metric_named(name) is metric for name, metric in METRICS.items())
    at = metric_named("kl_divergence at verb, -1")
    assert (at.at, at.name) == (("verb", "-1"), "kl_divergence at verb, -1")
    assert metric_in_words(at) != metric_in_words(metric_named("kl_divergence at -1"))


def test_a_function_of_the_users_own_is_measured(own: str, llama_world: World) -> None:
    metric = metric_named(f"{own}:gap")
    found = exact_patching(llama_world.spliced, PAIRS, metric)
    gap = Metric("gap", "logits", of=lambda logits, _: logits[:, 3] - logits[:, 5])
    expected = exact_patching(llama_world.spliced, PAIRS, gap)
    assert found.metric == f"{own}:gap"
    torch.testing.assert_close(torch.tensor(found.effect), torch.tensor(expected.effect))
    assert metric_named(f"{own}:gap at -2").at == ("-2",)


def test_a_metric_of_the_users_own_is_measured_where_it_reads(own: str, llama_world: World) -> None:
    total = exact_patching(llama_world.spliced, PAIRS, metric_named(f"{own}:both")).total_effect
    column = Metric("column", "logits", of=lambda logits, _: logits[:, 3])
    each = [exact_patching(llama_world.spliced, PAIRS, column.reading_at(p)).total_effect for p in (-2, -1)]
    torch.testing.assert_close(torch.tensor(total), torch.tensor(each[0] + each[1]))


def test_kept_work_knows_the_file_that_a_metric_came_from(own: str) -> None:
    assert metric_named(f"{own}:gap").version == metric_named(f"{own}:both").version
    assert len(metric_named(f"{own}:gap").version or "") == 64


def test_a_metric_that_does_not_exist_is_an_error_that_says_what_does(own: str) -> None:
    for name, message in {
        "accuracy": r"No metric 'accuracy'\. Choose one of: logit_difference, .*module:name",
        "no_such_module:gap": r"the module 'no_such_module' cannot be imported",
        f"{own}:other": rf"{own} has no 'other'\. It has Metric, gap, both\.",
        f"{own}:number": r"is int; expected a Metric or a function",
        "log_probability at a, b": r"log_probability is read at one position; got a, b",
    }.items():
        with pytest.raises(ValueError, match=message):
            metric_named(name)
