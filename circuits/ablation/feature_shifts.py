"""Which features change after an ablation, averaged over prompts by the names of positions.

    shift(feature) = Σ over prompts of (E(x) after − E(x) before) / number of prompts

E(x) encodes what arrives at the feature's site, before the ablation changes anything there. So a node that is set
itself counts only with the change that reaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from attribution.effects.measurement import numpy_of
from attribution.splice.recording import FeatureChange, Recording
from attribution.splice.spliced_model import SplicedRun


@dataclass(frozen=True)
class FeatureShift:
    """One feature at one position. `before` and `after` are means over the `prompts` prompts in which they differ.

    `shift` is the mean change over all prompts.
    """

    site: str
    index: int
    position: str
    before: float
    after: float
    prompts: int
    shift: float

    def __str__(self) -> str:
        return f"{self.site}/{self.index}@{self.position}"


@dataclass
class FeatureShifts:
    """Collects the changes of all prompts, batch by batch."""

    sites: tuple[str, ...]
    prompts: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    columns: list[np.ndarray] = field(default_factory=list)

    def add(self, clean: Recording, run: SplicedRun, labels: Sequence[Sequence[str]]) -> None:
        """Add a batch: its clean run, its run with edits, and the names of its positions, row by row."""
        self.prompts += len(labels)
        width = max(map(len, labels))
        place = np.array([[self._place(own[p]) if p < len(own) else -1 for p in range(width)] for own in labels])
        for number, site in enumerate(self.sites):
            change = FeatureChange.between(clean.sites[site].features, run.encoded[site])
            row, pos, index, old, new = (numpy_of(getattr(change, n)) for n in ("row", "pos", "index", "old", "new"))
            self.columns.append(np.stack([np.full(len(row), number), place[row, pos], index, old, new], axis=1))

    def largest(self, count: int) -> tuple[FeatureShift, ...]:
        """The `count` features with the largest |shift|."""
        table = np.concatenate(self.columns)
        keys, group = np.unique(table[:, :3].astype(np.int64), axis=0, return_inverse=True)
        group, names = group.reshape(-1), list(self.labels)
        times = np.bincount(group, minlength=len(keys))
        old, new = (np.bincount(group, weights=table[:, c], minlength=len(keys)) for c in (3, 4))
        order = np.argsort(-np.abs(new - old), kind="stable")[:count]
        return tuple(
            FeatureShift(
                site=self.sites[keys[n, 0]],
                index=int(keys[n, 2]),
                position=names[keys[n, 1]],
                before=float(old[n] / times[n]),
                after=float(new[n] / times[n]),
                prompts=int(times[n]),
                shift=float((new[n] - old[n]) / self.prompts),
            )
            for n in order
        )

    def _place(self, label: str) -> int:
        return self.labels.setdefault(label, len(self.labels))
