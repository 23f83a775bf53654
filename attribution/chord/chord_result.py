"""The result of chord IG: attributions of all nodes, with the evidence of how far they can be trusted.

A sweep gives a `ChordPart` for each batch; `assemble_attribution` makes one `ChordAttribution` of all of them. Parts
turn into plain arrays and back, so that they can be kept in chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attribution.effects.effects import Effects, joined
from attribution.runs.chunk_file import with_prefix
from attribution.splice.node_keys import NodeColumns
from attribution.splice.spliced_model import SplicedModel
from graphs import JumpLedger
from graphs.short_repr import short_repr

_SMOOTH, _LEDGER = "smooth.", "ledger."


@dataclass(frozen=True)
class ChordAttribution:
    """Chord IG of all nodes, with the evidence of how far it can be trusted.

    Attributes:
        effects: attribution of every node. Their residual is total effect − Σ sources − Σ undivided jumps.
        smooth: for each node of `effects`, the part that passes through no flipped gate; the rest, effect − smooth, is
            its jump part. None unless `split` was given.
        ledger: every gate that differs between the two runs.
        stretches: the stretches, each named by what it ends at: a site, or `metric`.
        stretch_residual, stretch_points: per example and stretch, the residual in units of the metric and the number
            of points.
        gross_flow: per example and site, Σ |attribution| of its nodes / |total effect|. Far above 1 where large
            attributions cancel; infinite if the total effect is 0 and some attribution is not.
        rtol: the requested tolerance; None if there was none.
        converged: per example, whether Σ |stretch residuals| <= rtol · |total effect|; None without rtol.
    """

    __repr__ = short_repr

    effects: Effects
    smooth: np.ndarray | None
    ledger: JumpLedger
    stretches: tuple[str, ...]
    stretch_residual: np.ndarray
    stretch_points: np.ndarray
    gross_flow: np.ndarray
    rtol: float | None
    converged: np.ndarray | None

    @property
    def jump(self) -> np.ndarray | None:
        """For each node of `effects`, the part that passes through flipped gates; None unless `split` was given."""
        return None if self.smooth is None else self.effects.effect - self.smooth


@dataclass(frozen=True)
class ChordPart:
    """One batch of a `ChordAttribution`: everything but the effects."""

    stretches: tuple[str, ...]
    smooth: list[NodeColumns]
    ledger: dict[str, np.ndarray]
    residual: np.ndarray
    points: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The part as plain arrays; `of` is the inverse."""
        smooth = joined(self.smooth) if self.smooth else {}
        return {
            "stretches": np.array(self.stretches, dtype=np.str_),
            "residual": self.residual,
            "points": self.points,
            **{f"{_SMOOTH}{name}": column for name, column in smooth.items()},
            **{f"{_LEDGER}{name}": column for name, column in self.ledger.items()},
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "ChordPart":
        """The inverse of `arrays`."""
        smooth = with_prefix(_SMOOTH, arrays)
        return cls(
            stretches=tuple(map(str, arrays["stretches"])),
            smooth=[smooth] if smooth else [],
            ledger=with_prefix(_LEDGER, arrays),
            residual=arrays["residual"],
            points=arrays["points"],
        )


def assemble_attribution(
    effects: Effects, parts: list[ChordPart], spliced: SplicedModel, rtol: float | None
) -> ChordAttribution:
    """One result from the batches of a sweep and the effects that were made of them."""
    residual = np.concatenate([part.residual for part in parts])
    examples, sites = len(effects.total_effect), len(effects.sites)
    gross = np.bincount(
        effects.example * sites + effects.site, weights=np.abs(effects.effect), minlength=examples * sites
    ).reshape(examples, sites)
    total = np.abs(effects.total_effect)
    smooth = [columns for part in parts for columns in part.smooth]
    return ChordAttribution(
        effects=effects,
        smooth=joined(smooth)["effect"] if smooth else None,
        ledger=JumpLedger.of([part.ledger for part in parts], spliced.sites, effects.total_effect),
        stretches=parts[0].stretches,
        stretch_residual=residual,
        stretch_points=np.concatenate([part.points for part in parts]),
        gross_flow=np.divide(gross, total[:, None], out=np.where(gross > 0, np.inf, 0.0), where=total[:, None] > 0),
        rtol=rtol,
        converged=None if rtol is None else np.abs(residual).sum(1) <= rtol * total,
    )
