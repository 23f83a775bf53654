"""The bet on searched codes (ITO): is their better reconstruction more than a matter of small activations?

    T = share · mean size a_i |d_i| of the encoder's active features at a site;   activations below T become 0

Three codes of each activation, of equal L0 before rounding: the encoder's, the encoder's support with coefficients
refitted, and gradient pursuit's. Each site is spliced alone; a mean is over sites.

    lead(T) = number of the encoder's code − number of the pursuit's code        FVU or CE increase: less is better
    T*      = the largest T at which the encoder keeps 90% of its L0

The bet says that the lead comes from small activations. It is won if nothing of the lead is left at T*, and lost if
more than half is. Source: METHODS of this project, section 11; Smith 2024.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from graphs.short_repr import short_repr

CODES: Final = ("encoder", "refitted", "pursuit")
KEPT_L0: Final = 0.9
LOST_ABOVE: Final = 0.5

Outcome = Literal["won", "lost", "open", "void"]


@dataclass(frozen=True)
class RoundedCode:
    """One code of one site, its activations below a threshold set to 0, and what is left of the reconstruction.

    Attributes:
        share: of the site's unit, which is the threshold.
        l0: active features per position, after rounding.
        fvu: Σ|x − x̂|² / Σ|x − mean x|²; None where x does not vary.
        ce_recovered: (CE of zeros − CE) / (CE of zeros − CE of the model); None where the two are equal.
        ce_increase, kl: nats per predicted token; from the bare model.
    """

    site: str
    code: str
    share: float
    l0: float
    fvu: float | None
    ce_recovered: float | None
    ce_increase: float
    kl: float


@dataclass(frozen=True)
class ChosenFeatures:
    """What the pursuit chose at one site, beside what the encoder did.

    Attributes:
        unit: the mean size of the encoder's active features, in units of the activation.
        same: the share of the pursuit's features that the encoder has, too.
        novelty: of the pursuit's n-th choice, the part that those before do not span: 1 if orthogonal to all of them.
            The mean over the positions that have so many.
        encoder_novelty: the same of the encoder's features, the largest first.
    """

    __repr__ = short_repr

    site: str
    unit: float
    same: float
    novelty: tuple[float, ...]
    encoder_novelty: tuple[float, ...]


@dataclass(frozen=True)
class Bet:
    """Who wins the bet by one measure.

    Attributes:
        lead: of the pursuit over the encoder, before rounding; positive if the pursuit is better.
        share: T*, as a share of the sites' units.
        lead_left: the lead at T*.
        outcome: `void` if there is no lead, `open` between won and lost.
    """

    measure: str
    lead: float
    share: float
    lead_left: float
    outcome: Outcome


MEASURES: Final[Mapping[str, Callable[[RoundedCode], float | None]]] = MappingProxyType(
    {"FVU": lambda row: row.fvu, "CE increase": lambda row: row.ce_increase, "KL": lambda row: row.kl}
)
"""What the codes are compared by; less is better."""


@dataclass(frozen=True)
class ThresholdRounding:
    """Three codes at every site and threshold, on some text.

    Attributes:
        text: what it was measured on, in words.
        tokens: number of predicted tokens.
        shares: the thresholds, in units of each site; the first is 0.
    """

    __repr__ = short_repr

    text: str
    tokens: int
    shares: tuple[float, ...]
    rows: tuple[RoundedCode, ...]
    choices: tuple[ChosenFeatures, ...]

    def mean(self, code: str, share: float, of: Callable[[RoundedCode], float | None]) -> float:
        """The mean of a number over the sites that have one.

        Raises:
            ValueError: no site has one.
        """
        found = [of(row) for row in self.rows if row.code == code and row.share == share]
        known = [value for value in found if value is not None]
        if not known:
            raise ValueError(f"No site has this number for the code {code!r} at {share} of its unit.")
        return sum(known) / len(known)

    def lead(self, measure: str, share: float) -> float:
        """By how much the pursuit is better than the encoder by a measure of `MEASURES`."""
        encoder, pursuit = (self.mean(code, share, MEASURES[measure]) for code in ("encoder", "pursuit"))
        return encoder - pursuit

    def bet(self, measure: str) -> Bet:
        """Who wins, by a measure of `MEASURES`."""
        l0 = {share: self.mean("encoder", share, lambda row: row.l0) for share in self.shares}
        kept = max(share for share in self.shares if l0[share] >= KEPT_L0 * l0[0.0])
        lead, left = self.lead(measure, 0.0), self.lead(measure, kept)
        outcome: Outcome = "open"
        if lead <= 0:
            outcome = "void"
        elif left <= 0:
            outcome = "won"
        elif left > LOST_ABOVE * lead:
            outcome = "lost"
        return Bet(measure, lead, kept, left, outcome)
