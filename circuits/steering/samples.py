"""Text that steered prompts are continued with, and how fluent the unsteered model finds it.

    fluency = mean of −log p(token | the tokens before it) in the unsteered model, over all generated tokens, in nats

A sample is drawn with a seed of its own, made of the run's seed, the prompt's number and the sample's: it is the same
whatever other prompts, samples and strengths are run, and samples of two strengths differ by the steering alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.generation import generate
from circuits.ablation.temperature import refuse_temperature
from circuits.steering.steering import PromptRow, Steering

NO_TOKEN: Final = -1
"""Fills up samples that closed early."""


@dataclass(frozen=True)
class Sampling:
    """How prompts are continued: for how many tokens, how often, at which temperature, and with which seed.

    Temperature 0 takes the likeliest token, which there is one sample of.

    Examples:
        >>> Sampling(new_tokens=8, samples=2).temperature
        1.0
    """

    new_tokens: int = 12
    samples: int = 4
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.new_tokens < 1 or self.samples < 1 or self.seed < 0:
            raise ValueError("Generate at least 1 token and 1 sample, with a seed of at least 0.")
        refuse_temperature(self.temperature, "The temperature")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"At temperature 0 all {self.samples} samples are the same: ask for 1.")

    def seed_of(self, prompt: int, sample: int) -> int:
        """The seed of one sample of one prompt."""
        return int(np.random.SeedSequence([self.seed, prompt, sample]).generate_state(1)[0])


@dataclass(frozen=True)
class Samples:
    """Samples of all prompts, those of the first prompt first.

    Attributes:
        ids: the generated tokens; after the closing token, `NO_TOKEN`.
        cross_entropy: of each token in the unsteered model, in nats; 0 at `NO_TOKEN`.
    """

    ids: Int[np.ndarray, "sample token"]
    cross_entropy: Float[np.ndarray, "sample token"]


def sample(
    spliced: SplicedModel,
    pairs: PromptPairs,
    rows: Sequence[PromptRow],
    steering: Steering,
    strength: float,
    sampling: Sampling,
    *,
    batch_size: int = 16,
    progress: Progress = silent,
) -> Samples:
    """Continue every clean prompt at one strength, and judge the text without steering.

    Args:
        rows: of each pair.
        batch_size: samples in one forward.
        spliced, pairs, steering, strength, sampling, progress: as in `steer`.
    """
    shape = len(pairs) * sampling.samples, sampling.new_tokens
    ids, losses, done = np.full(shape, NO_TOKEN), np.zeros(shape), 0
    for batch in _batches(rows, sampling.samples, batch_size):
        told = progress_between(progress, done / shape[0], (done + len(batch)) / shape[0])
        prompts = [pairs[n].clean_ids[: rows[n].end + 1] for n, _ in batch]
        longer = [_longer(rows[n], sampling.new_tokens) for n, _ in batch]
        found = generate(
            spliced,
            torch.tensor(prompts, device=spliced.model.device),
            steering.edits(strength, spliced, longer),
            new_tokens=sampling.new_tokens,
            error_mode=steering.error_mode,
            temperature=sampling.temperature,
            seed=[sampling.seed_of(*both) for both in batch],
            closing_id=spliced.model.eos_id,
            progress=told,
        )
        places = [n * sampling.samples + k for n, k in batch]
        new, own = _judged(spliced, found.ids, len(prompts[0]), steering)
        ids[places, : new.shape[1]], losses[places, : new.shape[1]] = new, own
        done += len(batch)
    return Samples(ids, losses)


def _batches(rows: Sequence[PromptRow], samples: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """(prompt, sample) of at most `size` rows whose prompts are equally long."""
    for end in sorted({row.end for row in rows}):
        alike = [(n, k) for n, row in enumerate(rows) if row.end == end for k in range(samples)]
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _longer(row: PromptRow, new_tokens: int) -> PromptRow:
    """The row of the prompt alone, without an answer, and of what will follow it."""
    count = row.end + 1
    return PromptRow(row.names[:count], row.spliced[:count], row.end, count + new_tokens)


def _judged(
    spliced: SplicedModel, ids: Int[Tensor, "row pos"], prompt: int, steering: Steering
) -> tuple[np.ndarray, np.ndarray]:
    """The new tokens up to the first that closes, and the cross-entropy of each in the unsteered model."""
    new = ids[:, prompt:]
    read = torch.arange(prompt - 1, ids.shape[1] - 1, device=ids.device).expand(len(ids), -1)
    logits = spliced.run(ids, error_mode=steering.error_mode, read=read).logits
    losses = -logits.double().log_softmax(-1).gather(-1, new[..., None])[..., 0]
    closes = torch.zeros_like(new) if spliced.model.eos_id is None else (new == spliced.model.eos_id).long()
    there = (closes.cumsum(1) - closes) == 0
    return new.masked_fill(~there, NO_TOKEN).cpu().numpy(), losses.masked_fill(~there, 0).cpu().numpy()
