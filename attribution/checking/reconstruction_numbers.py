"""Numbers of a reconstruction out of the sums of `text_batch.py`; None where a denominator is 0.

L0 = active features per position       FVU = Σ|x − x̂|² / Σ|x − mean x|²       cosine = mean of cos(x̂, x)
γ = E|x̂|² / E⟨x̂, x⟩                     ρ = E⟨x̂, x⟩ / E|x|²                    Source: Rajamanoharan et al. 2024a
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReconstructionNumbers:
    """What one SAE reconstructs of the activations at its site.

    Attributes:
        positions: number of activations; the means are over them, 0 if there are none.
        active: at how many of them each feature is active.
        mean: of the activations, [d_in].
    """

    positions: int
    active: np.ndarray
    mean: np.ndarray
    l0: float
    fvu: float | None
    cosine: float
    gamma: float | None
    rho: float | None

    @classmethod
    def of(cls, sums: Mapping[str, np.ndarray], site: str) -> "ReconstructionNumbers":
        """From the sums of `TextBatch.site_sums`."""

        def total(name: str) -> float:
            return float(sums[f"{site}:{name}"])

        n, active, whole = int(total("n")), sums[f"{site}:active"], sums[f"{site}:total"]
        places = max(n, 1)
        return cls(
            positions=n,
            active=active,
            mean=whole / places,
            l0=float(active.sum()) / places,
            fvu=ratio(total("missed"), max(total("square") - float((whole**2).sum()) / places, 0.0)),
            cosine=total("cosine") / places,
            gamma=ratio(total("written"), total("along")),
            rho=ratio(total("along"), total("square")),
        )


def recovered(ablated: float, spliced: float, clean: float) -> float | None:
    """The share of an ablation's cost that a splice wins back: (ablated − spliced) / (ablated − clean).

    None where the ablation costs nothing: a share of that would mean nothing.
    """
    return float(ablated - spliced) / float(ablated - clean) if ablated > clean else None


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None where the whole is 0."""
    return None if whole == 0 else part / whole
