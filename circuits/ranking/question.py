"""A question about a model: which pairs, which metric, what nodes are set to, and how SAE errors are treated.

Every stage of discovery answers the same question, with batches that fit the same memory.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from attribution.chord.chord_integrated_gradients import chord_attribution
from attribution.chord.chord_result import ChordAttribution
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature
from attribution.methods.exact_patching import exact_patching
from attribution.methods.registry import METHODS, options_of
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import Room
from attribution.runs.progress import Progress
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.prompt_references import Mean
from attribution.splice.recording import ErrorMode, path_mode
from attribution.splice.references import Reference, zero
from attribution.splice.references import counterfactual as patch_prompt
from attribution.splice.spliced_model import SplicedModel


def reference_named(patch_value: str) -> Reference:
    """The reference that is a patch value by this name: zero, the mean, or for all others the patch prompt's value."""
    found: dict[str, Reference] = {"zero": zero, "mean": Mean()}
    return found.get(patch_value, patch_prompt)


@dataclass(frozen=True)
class Question:
    """What is asked about a model, and how much memory the answers may take."""

    spliced: SplicedModel
    pairs: PromptPairs
    metric: Metric
    error_mode: ErrorMode
    patch_value: PatchValue = counterfactual
    memory: int | None = None
    """Bytes that batches may hold. None: a share of the free memory."""
    _swept: list[ChordAttribution] = field(default_factory=list, init=False, repr=False, compare=False)
    """Holds chord IG with its parts after the first sweep."""

    @cached_property
    def room(self) -> Room:
        """Batch sizes within the memory."""
        return Room.of(self.spliced, self.pairs, self.error_mode, self.memory)

    @cached_property
    def fitted(self) -> SplicedModel:
        """The spliced model with gradient graphs that fit the memory."""
        return self.room.fitted(self.spliced)

    @property
    def reference(self) -> Reference:
        """What everything outside a circuit is set to: the same value that nodes are patched with."""
        return reference_named(self.patch_value.name)

    @property
    def meaningless(self) -> frozenset[str]:
        """Methods that have no meaning for it: chords need a patch prompt, gradients at the clean run need a slope."""
        chords = () if self.patch_value is counterfactual else ("ig-input", "chord-ig")
        return frozenset((*chords, *(("atp", "atp-star") if self.metric.flat_at_clean else ())))

    def exact(self, only: np.ndarray | None, progress: Progress) -> Effects:
        """Exact effects of all nodes, or of those with the given keys."""
        return exact_patching(
            self.spliced,
            self.pairs,
            self.metric,
            error_mode=self.error_mode,
            patch_value=self.patch_value,
            batch_size=self.room.pairs("exact"),
            runs_at_once=self.room.runs,
            bytes_at_once=self.room.cone_bytes,
            only=only,
            in_float64=self.room.holds_float64,
            progress=progress,
        )

    def estimate(
        self, method: str, progress: Progress, points: Quadrature | None = None, *, checked: bool = False
    ) -> Effects:
        """Effects by a method's name in `METHODS`, in the error mode whose path ends where exact patching's does.

        Set `checked` if an estimate will be compared with exact effects. The checker needs chord IG's smooth and jump
        parts; a sweep of chord IG then measures them too and is kept for the checker.
        """
        if method == "chord-ig" and points is None and (self._swept or checked):
            chords = self.chords(progress)
            if chords is not None:
                return chords.effects
        options: dict[str, Any] = {"patch_value": self.patch_value, "progress": progress}
        options["batch_size"] = self.room.pairs(method)
        if (runs := self.room.runs_of(method)) is not None:
            options["runs_at_once"] = runs
        options |= options_of(method, self.error_mode, points)
        return METHODS[method](self.fitted, self.pairs, self.metric, **options)

    def chords(self, progress: Progress) -> ChordAttribution | None:
        """Chord IG with its smooth and jump parts. The first call sweeps, later ones return the same result.

        None in `live` mode, where the metric meets no gate, and without a patch prompt: the checker needs no parts
        then.
        """
        if self.error_mode == "live" or self.patch_value is not counterfactual:
            return None
        if not self._swept:
            swept = chord_attribution(
                self.fitted,
                self.pairs,
                self.metric,
                error_mode=path_mode(self.error_mode),
                split=True,
                batch_size=self.room.pairs("chord-ig"),
                runs_at_once=self.room.runs_of("chord-ig"),
                progress=progress,
            )
            self._swept.append(swept)
        return self._swept[0]
