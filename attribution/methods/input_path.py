"""The input path: the model's runs between two prompts, as token embeddings (in `path` mode errors too) move on a line.

    entry(α) = (1−α) entry_clean + α entry_patch;     e_s(α) = (1−α) ε_s,clean + α ε_s,patch

Everything else follows from these as the model computes it, so gates open and close on the way. α = 0 is the clean run,
α = 1 the patch run.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.splice.recording import ErrorMode, Recording
from attribution.splice.spliced_model import SplicedModel


@dataclass(frozen=True)
class InputPath:
    """The path of a batch of pairs. Positions that are not `reached` cannot differ between its ends."""

    spliced: SplicedModel
    clean: Recording
    patch: Recording
    reached: Bool[Tensor, "row pos"]
    error_mode: ErrorMode

    @classmethod
    def of(cls, situation: Situation) -> "InputPath":
        """The path of a situation that has a patch run."""
        assert situation.changes.patch is not None
        return cls(
            situation.spliced, situation.clean, situation.changes.patch, situation.batch.reached, situation.error_mode
        )

    def record(
        self, rows: Int[Tensor, " run"], alpha: Float[Tensor, " run"], *, with_gradients: bool = False
    ) -> Recording:
        """A recording whose row n is row `rows[n]` of the batch at `alpha[n]`."""
        here = self.reached[rows][..., None]

        def between(old: Tensor, new: Tensor) -> Tensor:
            moved = alpha[:, None, None].to(old.dtype) * torch.where(here, new[rows] - old[rows], 0)
            return old.detach()[rows] + moved

        errors = None
        if self.error_mode == "path":
            errors = {}
            for site, record in self.clean.sites.items():
                new = self.patch.sites[site].error
                assert record.error is not None
                assert new is not None
                errors[site] = between(record.error, new)
        return self.spliced.record(
            self.clean.ids[rows],
            self.clean.last[rows],
            self.error_mode,
            read=self.clean.read[rows],
            with_gradients=with_gradients,
            entry=between(self.clean.entry, self.patch.entry),
            errors=errors,
            kept={site: record.keep(rows) for site, record in self.clean.sites.items()},
        )
