"""The quality of a dictionary: what it reconstructs, and what its reconstructions do to the model's predictions.

    FVU = Σ|x − x̂|² / Σ|x − mean x|²       γ = E|x̂|² / E⟨x̂, x⟩       ρ = E⟨x̂, x⟩ / E|x|²
    ρ / γ = E⟨x̂, x⟩² / (E|x̂|² E|x|²)      E|x − x̂|² / E|x|² = 1 − ρ (2 − γ)

γ is the scale of x̂: x̂ / γ is the rescaled reconstruction that is closest to x, so γ = 1 is unbiased and γ < 1 is
shrinkage. ρ is how much of x the reconstruction carries. With γ = 1 it is 1 − E|x − x̂|² / E|x|², so it is below 1 for
every imperfect dictionary, shrunken or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphs.short_repr import short_repr

DENSE: Final = 0.1
"""A feature is dense if it is active at more than this share of the positions."""


@dataclass(frozen=True)
class Histogram:
    """How many values lie between each edge and the next; a value on an edge counts above it, except the last.

    Attributes:
        least, median, largest: of the values; None if there are none.
    """

    __repr__ = short_repr

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    least: float | None
    median: float | None
    largest: float | None


@dataclass(frozen=True)
class SpliceQuality:
    """What writing reconstructions does to the model's predictions, in nats per predicted token.

    CE is the cross-entropy of the next token in the text, KL is KL(model ‖ run) over the vocabulary: the first asks for
    the text, the second for the model. Each is measured in three runs, whose sites write the reconstruction, 0, or the
    activation's mean over the text.

    Attributes:
        ce, ce_zero, ce_mean: CE of the three runs.
        kl, kl_zero, kl_mean: KL of the three runs.
        ce_increase: ce − CE of the model.
        ce_recovered_of_zero, ce_recovered_of_mean: (CE of the ablated run − ce) / (CE of the ablated run − CE of the
            model); None where the ablation does not raise CE.
        kl_recovered_of_zero, kl_recovered_of_mean: 1 − kl / KL of the ablated run; None where that is 0.
    """

    ce: float
    ce_zero: float
    ce_mean: float
    ce_increase: float
    ce_recovered_of_zero: float | None
    ce_recovered_of_mean: float | None
    kl: float
    kl_zero: float
    kl_mean: float
    kl_recovered_of_zero: float | None
    kl_recovered_of_mean: float | None


@dataclass(frozen=True)
class DictionaryAtSite:
    """One dictionary at its site: reconstruction, features and parameters, and its splice alone.

    Attributes:
        site: the hook.
        kind: of the encoder.
        features: their number.
        l0: mean number of active features per position.
        fvu: fraction of variance unexplained; None where the activation does not vary.
        cosine: mean cosine of activation and reconstruction; a position where one of them is 0 counts as 0.
        gamma, rho: the two scale biases above; None where their denominator is 0.
        dead, dense: indices of the features that are never active on the text, and of those active at more than `DENSE`
            of its positions.
        frequencies: log10 of the share of positions at which each feature that is not dead is active.
        parameters: the encoder's biases and thresholds, by name.
        alone: only this site spliced.
    """

    __repr__ = short_repr

    site: str
    kind: str
    features: int
    l0: float
    fvu: float | None
    cosine: float
    gamma: float | None
    rho: float | None
    dead: tuple[int, ...]
    dense: tuple[int, ...]
    frequencies: Histogram
    parameters: Mapping[str, Histogram]
    alone: SpliceQuality


@dataclass(frozen=True)
class DictionaryQuality:
    """The quality of a model's dictionaries on a text.

    Attributes:
        name: of the dictionaries.
        family: dictionaries that differ only in sparsity share one: at equal L0 families are compared.
        text: what the text is, in words.
        positions: spliced positions of the text.
        tokens: next tokens that are predicted.
        ce_model: cross-entropy of the model as it is, in nats per token.
        sites: each dictionary.
        together: all of them spliced at once.
    """

    __repr__ = short_repr

    name: str
    family: str
    text: str
    positions: int
    tokens: int
    ce_model: float
    sites: tuple[DictionaryAtSite, ...]
    together: SpliceQuality
