"""A sweep over strengths: steer prompts at each, and measure the metric, KL, fluency and the effect on other text.

Each strength takes a clean and a steered forward over the prompts, the same over the text, and the steps of generation.
Inside `kept_in` what was found at a strength is kept: a run that was stopped, or one with more strengths, goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from attribution.checking.dictionary_cautions import dictionary_cautions
from attribution.effects.measurement import numpy_of
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.patch_values import zero
from attribution.splice.resuming import at_least_float32
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.ablation import active_there
from circuits.ablation.generation import decoded_text, refuse_too_long
from circuits.ablation.named_twice import named_twice
from circuits.ablation.side_effect import effect_on_text
from circuits.steering.samples import NO_TOKEN, Sampling, sample
from circuits.steering.steering import PromptRow, Steering
from graphs.sweeps.steering_sweep import SteeredAt, SteeredText, SteeringSweep

STAGE: Final = "steering"
STRENGTHS: Final = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def steer(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    steering: Steering,
    *,
    strengths: Sequence[float] = STRENGTHS,
    sampling: Sampling | None = None,
    documents: Sequence[Sequence[int]] = (),
    batch_size: int = 16,
    text_batch_size: int | None = None,
    progress: Progress = silent,
) -> SteeringSweep:
    """Steer the clean prompts of `pairs` at several strengths.

    Args:
        spliced: the model with its SAEs.
        pairs: the clean prompts are steered and continued; patch prompts are not used.
        metric: what is read of each prompt.
        steering: what is changed; `Steering.named` makes it of texts.
        strengths: each multiplies the changes; 0, the unsteered model, is always added.
        sampling: how the prompts are continued; None generates nothing, and fluency is not known.
        documents: token ids of general text, at least two each, on which KL and cross-entropy are measured with every
            node changed at every position; none measures nothing.
        batch_size: prompts, or samples, in one forward.
        text_batch_size: documents in one forward; by default `batch_size`.
        progress: told the share of work done.

    Raises:
        ValueError: a strength that is no finite number, a text that the model's context does not hold, or a steering
            that changes nothing at any strength in any prompt; the message lists the features that are active there.

    Examples:
        >>> steering = Steering.named([f"{name}:add=5"], spliced, pairs)
        >>> sweep = steer(spliced, pairs, logit_difference, steering, strengths=[1.0], sampling=Sampling(3, samples=2))
        >>> [found.strength for found in sweep.strengths], len(sweep.at(1.0).samples)
        ([0.0, 1.0], 4)
    """
    refuse_other_types(pairs, metric)
    asked = _ordered(strengths)
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    if sampling is not None:
        refuse_too_long(spliced.model, max(pair.end for pair in pairs) + 1 + sampling.new_tokens)
    run = _Run(spliced, pairs, metric, steering, sampling, documents, batch_size, text_batch_size or batch_size)
    parts: list[Arrays] = []
    with spliced.model.frozen():
        for number, strength in enumerate(asked):
            told = progress_between(progress, number / len(asked), (number + 1) / len(asked))
            parts.append(kept_chunk(STAGE, partial(run.key, strength), lambda _keep, s=strength, t=told: run.at(s, t)))
            progress((number + 1) / len(asked))
    touched = np.any([part["touched"] for part in parts], axis=0)
    if not touched.any() and len(asked) > 1:
        first = steering.changes[0]
        raise ValueError(
            f"Cannot {first.text}: it would change nothing in any of the {len(pairs)} prompts, at any strength. "
            f"{active_there(spliced, pairs, first.node)}"
        )
    names = [change.node for change in steering.changes]
    twice = named_twice(names, position_names(pairs), "the second change acts on what the first wrote")
    return SteeringSweep(
        changes=tuple(change.text for change in steering.changes),
        when=steering.when,
        error_mode=steering.error_mode,
        metric=metric.name,
        unit=metric.unit,
        prompts=tuple(decoded_text(pair.clean_ids[: pair.end + 1], spliced.model) for pair in pairs),
        strengths=tuple(run.found(strength, part) for strength, part in zip(asked, parts, strict=True)),
        idle=tuple(change.text for n, change in enumerate(steering.changes) if not touched[n] and len(asked) > 1),
        maxima={change.text: change.maximum for change in steering.changes if change.maximum is not None},
        documents=len(documents),
        warnings=(*twice, *dictionary_cautions(spliced, pairs.batches(batch_size, spliced.model))),
    )


def _ordered(strengths: Sequence[float]) -> list[float]:
    if wrong := next((s for s in strengths if not math.isfinite(s)), None):
        raise ValueError(f"A strength must be a finite number; got {wrong}.")
    return sorted({0.0, *(float(s) + 0.0 for s in strengths)})


def _finite(values: np.ndarray, what: str, strength: float) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"At strength {strength:g} {what} is no finite number. Steer less strongly.")
    return values


@dataclass(frozen=True)
class _Run:
    """Everything that is the same at all strengths."""

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    steering: Steering
    sampling: Sampling | None
    documents: Sequence[Sequence[int]]
    batch_size: int
    text_batch_size: int

    @property
    def rows(self) -> list[PromptRow]:
        """One for each pair."""
        batch = self.pairs.batch(device=self.spliced.model.device)
        here = self.spliced.spliced_positions(batch.clean_ids, batch.last).tolist()
        labels = position_names(self.pairs)
        return [
            PromptRow(own, mask[: len(pair)], pair.end, len(pair))
            for own, mask, pair in zip(labels, here, self.pairs, strict=True)
        ]

    def key(self, strength: float, store: ChunkStore) -> str:
        given = store, self.spliced, self.metric, zero
        keys = chunk_keys(*given, name=STAGE, error_mode=self.steering.error_mode)
        return keys.key(
            self.pairs,
            range(len(self.pairs)),
            steering=self.steering.plain(),
            strength=strength,
            sampling=None if self.sampling is None else asdict(self.sampling),
            documents=[list(ids) for ids in self.documents],
        )

    def at(self, strength: float, progress: Progress) -> Arrays:
        """What is found at one strength, as the arrays of a chunk."""
        ends = np.cumsum([1, 2 * bool(self.documents), 4 * (self.sampling is not None)])
        shares = [float(end / ends[-1]) for end in ends]
        rows = self.rows
        found = self._on_prompts(strength, rows)
        progress(shares[0])
        if self.documents:
            effect = effect_on_text(
                self.spliced,
                self.steering.edits_everywhere(strength, self.spliced),
                self.documents,
                error_mode=self.steering.error_mode,
                batch_size=self.text_batch_size,
                progress=progress_between(progress, shares[0], shares[1]),
            )
            found["text"] = _finite(np.array([effect.kl, effect.cross_entropy_after]), "KL on text", strength)
        if self.sampling is not None:
            given = self.spliced, self.pairs, rows, self.steering, strength, self.sampling
            told = progress_between(progress, shares[1], 1.0)
            samples = sample(*given, batch_size=self.batch_size, progress=told)
            found |= {"ids": samples.ids, "cross_entropy": samples.cross_entropy}
        return found

    def _on_prompts(self, strength: float, rows: Sequence[PromptRow]) -> dict[str, np.ndarray]:
        parts: list[tuple[np.ndarray, ...]] = []
        touched = np.zeros(len(self.steering.changes), dtype=bool)
        for batch in self.pairs.batches(self.batch_size, self.spliced.model, self.metric.positions):
            edits = self.steering.edits(strength, self.spliced, [rows[int(e)] for e in batch.example])
            given = {"last": batch.last, "error_mode": self.steering.error_mode, "read": batch.read}
            clean = at_least_float32(self.spliced.run(batch.clean_ids, **given).logits)
            run = self.spliced.run(batch.clean_ids, edits, **given)
            for own in run.touched.values():
                for part in own:
                    touched[part.nodes.cpu().numpy()] = True
            parts.append(self._read(clean, at_least_float32(run.logits), batch))
        metric, kl, likeliest = (np.concatenate(column) for column in zip(*parts, strict=True))
        about = {"metric": _finite(metric, self.metric.name, strength), "kl": _finite(kl, "KL", strength)}
        return {**about, "likeliest": likeliest, "touched": touched}

    def _read(
        self, clean: Float[Tensor, "row *read vocab"], steered: Float[Tensor, "row *read vocab"], batch: PairBatch
    ) -> tuple[np.ndarray, ...]:
        metric = self.metric.bind(clean, batch)(steered, batch)
        before, after = (each.double().log_softmax(-1) for each in (clean, steered))
        kl = (before.exp() * (before - after)).sum(-1)
        first = steered if steered.ndim == 2 else steered[:, 0]
        mean = kl if kl.ndim == 1 else kl.mean(-1)
        return numpy_of(metric), numpy_of(mean), numpy_of(first.argmax(-1))

    def found(self, strength: float, part: Arrays) -> SteeredAt:
        """The arrays of a chunk as plain data."""
        text = part.get("text")
        return SteeredAt(
            strength,
            tuple(part["metric"].tolist()),
            tuple(part["kl"].tolist()),
            tuple(self.spliced.model.token_text(int(t)) for t in part["likeliest"]),
            tuple(self._texts(part["ids"], part["cross_entropy"])) if "ids" in part else (),
            None if text is None else float(text[0]),
            None if text is None else float(text[1]),
        )

    def _texts(self, ids: np.ndarray, losses: np.ndarray) -> list[SteeredText]:
        assert self.sampling is not None
        found: list[SteeredText] = []
        for number, (own, each) in enumerate(zip(ids, losses, strict=True)):
            there = own != NO_TOKEN
            text = decoded_text(own[there].tolist(), self.spliced.model)
            found.append(
                SteeredText(number // self.sampling.samples, text, int(there.sum()), float(each[there].mean()))
            )
        return found
