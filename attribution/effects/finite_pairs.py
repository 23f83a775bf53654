"""Every number that is written is finite: a pair whose metric is not stops the run before it begins, by its number.

A model may give NaN or infinity on some prompts only (activations that overflow half precision, a damaged embedding).
Costs one forward pass of the bare model for each prompt, once for the same pairs and metric.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from attribution.models.hooks import logits_at
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.splice.node_keys import KINDS, NodeColumns, NodeOfExample
from attribution.splice.resuming import at_least_float32

_BATCH: Final = 16
_FINITE: Final[WeakKeyDictionary[LanguageModel, set[tuple[str, Metric]]]] = WeakKeyDictionary()
"""Pairs and metrics that were found finite; each batch of a measurement is checked again by itself."""


class UnfinitePairs(ValueError):
    """Pairs whose metric is not finite. `rows` says for each by its number (from 0) what is wrong, in words."""

    def __init__(self, metric: str, rows: Mapping[int, str]) -> None:
        super().__init__(metric, dict(rows))
        self.metric, self.rows = metric, dict(rows)

    def __str__(self) -> str:
        (first, fault), *others = sorted(self.rows.items())
        also = f" So are pairs {', '.join(str(row) for row, _ in others)}." if others else ""
        return (
            f"Pair {first}: {self.metric} is {fault}.{also} Leave such pairs out (--skip-bad-pairs; "
            "attribution.finite_pairs in Python), or find out why the model computes no number there."
        )


def finite_pairs(model: LanguageModel, pairs: PromptPairs, metric: Metric) -> tuple[PromptPairs, dict[int, str]]:
    """The pairs whose metric is finite on both prompts, and for each of the others, by its number, what is wrong.

    Raises:
        ValueError: no pair is left, or the pairs do not fit the model.
    """
    refuse_other_types(pairs, metric)
    rows = unfinite_rows(model, pairs, metric)
    kept = tuple(pair for row, pair in enumerate(pairs) if row not in rows)
    if not kept:
        raise ValueError(f"No pair is left: {metric.name} is not finite in any of the {len(pairs)} pairs.")
    return (PromptPairs(kept) if rows else pairs), rows


def refuse_unfinite(model: LanguageModel, pairs: PromptPairs, metric: Metric) -> None:
    """Refuse pairs whose metric is not finite on both prompts, in the bare model.

    Raises:
        UnfinitePairs: the message names the pairs.
    """
    refuse_other_types(pairs, metric)
    known, key = _FINITE.setdefault(model, set()), (pairs.digest(), metric)
    if key in known:
        return
    if rows := unfinite_rows(model, pairs, metric):
        raise UnfinitePairs(metric.name, rows)
    known.add(key)


def unfinite_rows(model: LanguageModel, pairs: PromptPairs, metric: Metric) -> dict[int, str]:
    """For each pair whose metric is not finite, by its number, what is wrong, in words."""
    pairs.check_fits(model)
    rows: dict[int, str] = {}
    with torch.no_grad(), model.frozen():
        for batch in pairs.batches(_BATCH, model, metric.positions):
            clean, patch = (
                at_least_float32(logits_at(model, ids, batch.read, {})) for ids in (batch.clean_ids, batch.patch_ids)
            )
            bound = metric.bind(clean, batch)
            rows |= faults(batch.example, clean=bound(clean, batch), patch=bound(patch, batch))
    return rows


def faults(example: Tensor, *, clean: Tensor, patch: Tensor) -> dict[int, str]:
    """By example, what is wrong with metrics that are not finite, in words."""
    found: dict[int, str] = {}
    for prompt, values in (("patch", patch), ("clean", clean)):
        numbers = values.detach().tolist()
        bad = (row for row, number in enumerate(numbers) if not isfinite(number))
        found |= {int(example[row]): f"{numbers[row]} on the {prompt} prompt" for row in bad}
    return found


def refuse_unfinite_effects(columns: NodeColumns, sites: Sequence[str]) -> None:
    """Refuse nodes with an effect, a clean or a patch value that is not finite.

    Raises:
        ValueError: the message names the pair and the node.
    """
    for name in ("effect", "clean", "patch"):
        bad = np.flatnonzero(~np.isfinite(columns[name]))
        if len(bad):
            own = {column: int(columns[column][bad[0]]) for column in ("example", "site", "position", "kind", "index")}
            kind, site = KINDS[own["kind"]], sites[own["site"]]
            node = NodeOfExample(own["example"], site, own["position"], kind, own["index"])
            raise ValueError(
                f"Pair {node.example}: the {name} of {node} is {columns[name][bad[0]]}. Leave the pair out, or find "
                "out why the model computes no number there."
            )
