"""Prompts of which lengths compute alike, so that padding one to the length of another changes nothing.

Rotary positions of some kinds depend on the length of the batch: longrope has one table up to the length it was first
trained with and another beyond it; dynamic NTK has a table for every length beyond it. Transformers keeps the table of
the longest batch so far, so a model with dynamic NTK is also set back before each run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

import torch
from torch import nn


@dataclass(frozen=True)
class PromptLengths:
    """Which lengths compute alike.

    kind: `any`: all. `longrope`: those up to `limit`, and those beyond. `dynamic`: those up to `limit`; beyond it only
    equal lengths. `equal`: only equal lengths.
    longest: tokens of the longest prompt, where that is more than the configuration's context.
    """

    kind: Literal["any", "longrope", "dynamic", "equal"] = "any"
    limit: int = 0
    longest: int | None = None

    def alike(self, length: int) -> int:
        """A number that lengths share if they compute alike."""
        if self.kind == "longrope":
            return int(length > self.limit)
        if self.kind == "dynamic":
            return length if length > self.limit else 0
        return length if self.kind == "equal" else 0

    def cut(self, lengths: Sequence[int], size: int) -> Iterator[range]:
        """Ranges of consecutive prompts that compute alike, at most `size` in each."""
        start = 0
        for _, group in groupby(lengths, self.alike):
            end = start + len(list(group))
            yield from (range(first, min(first + size, end)) for first in range(start, end, size))
            start = end

    @property
    def in_words(self) -> str | None:
        """What a person should know; None for `any`."""
        return {
            "any": None,
            "longrope": f"prompts of more than {self.limit} tokens have other rotary positions than shorter ones "
            "(longrope), so no batch holds both",
            "dynamic": f"rotary positions of prompts of more than {self.limit} tokens depend on their length (dynamic "
            "NTK), so a batch holds one length of these",
            "equal": "logits depend on the length of the batch, so each batch holds prompts of one length",
        }[self.kind]


ANY_LENGTHS: Final = PromptLengths()
"""Prompts of all lengths compute alike."""


def lengths_by_configuration(config: Any) -> PromptLengths:
    """What a Hugging Face configuration says of its rotary positions."""
    said = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    tables = [table for table in (said, *said.values()) if isinstance(table, dict)]
    for table in tables:
        kind = table.get("rope_type", table.get("type"))
        original = table.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        limit = int(original or getattr(config, "max_position_embeddings", 0) or 0)
        if kind == "longrope":
            return PromptLengths("longrope", limit)
        if kind == "dynamic":
            limit = int(getattr(config, "max_position_embeddings", limit))
            return PromptLengths("dynamic", limit, int(limit * float(table.get("factor", 1.0))))
    return PromptLengths()


def growing_rotary(model: nn.Module) -> tuple[Any, ...]:
    """The modules whose rotary positions grow with the longest batch so far (dynamic NTK)."""
    return tuple(
        module
        for module in model.modules()
        if getattr(module, "rope_type", None) == "dynamic" and hasattr(module, "original_inv_freq")
    )


def set_back_rotary(modules: Sequence[Any]) -> None:
    """Undo what earlier, longer batches left in rotary positions that grow."""
    for module in modules:
        with torch.no_grad():
            module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)
        module.max_seq_len_cached = module.original_max_seq_len
