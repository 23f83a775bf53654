"""Faithfulness and completeness: of one circuit, and of the circuits of growing size that a ranking gives.

    F(C) = (m(C) − m(∅)) / (m(M) − m(∅))        the ratio of means over pairs; never clipped
    completeness = F(M∖C): 0 where nothing outside the circuit contributes to the task
    CPR = ∫ F(k) dk,   CMD = ∫ |1 − F(k)| dk     trapezoid rule, linear in the share k; F = 1 gives CPR .999

Intervals are percentiles of a bootstrap over pairs. A bound is None where m(M) − m(∅) changes its sign in some
resample: the data then do not bound the ratio. Source: Marks et al. 2024; MIB, Mueller et al. 2025.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import isfinite
from typing import Any, Final

from graphs.fields.quantities import Count, Number, Share
from graphs.plain_data import dataclass_from_plain
from graphs.short_repr import short_repr

MIB_SHARES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ERROR_CHOICES: Final = ("nodes", "kept", "removed")
ORDERS: Final = ("absolute", "signed")

Bound = float | None
Bounds = tuple[Bound, ...]


@dataclass(frozen=True)
class Faithfulness:
    """Faithfulness and completeness of one circuit on the pairs of one split.

    Attributes:
        split, pairs: the prompts it was measured on, and how many pairs they are.
        nodes: number of the circuit's features and errors; tokens are inputs and do not count.
        reference: the value that every node outside is set to.
        errors: how SAE errors are treated: as `nodes` of the circuit, all `kept`, or all `removed`.
        metric, unit: of the four means over pairs.
        m_full, m_empty, m_circuit, m_rest: m(M), m(∅), m(C) and m(M∖C).
        faithfulness, completeness: the two ratios, with the bounds of their intervals.
        confidence, resamples: of the intervals.

    Raises:
        ValueError: the ratios do not follow from the means, or an interval is reversed.
    """

    __repr__ = short_repr

    split: str
    pairs: Count
    nodes: Count
    reference: str
    errors: str
    metric: str
    unit: str
    m_full: float
    m_empty: float
    m_circuit: float
    m_rest: float
    faithfulness: float
    low: Bound
    high: Bound
    completeness: float
    completeness_low: Bound
    completeness_high: Bound
    confidence: Share
    resamples: Count

    def __post_init__(self) -> None:
        _check_errors(self.errors)
        span = self.m_full - self.m_empty
        for name, part in (("faithfulness", self.m_circuit), ("completeness", self.m_rest)):
            value = getattr(self, name)
            if not isfinite(value) or abs(value * span - (part - self.m_empty)) > 1e-6 * max(abs(span), abs(part)):
                raise ValueError(f"{name} {value} does not follow from the means of the metric.")
        _check_bounds(self.split, [self.low, self.completeness_low], [self.high, self.completeness_high])

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Faithfulness":
        """The inverse of `as_dict`; fields that do not fit are a ValueError."""
        return dataclass_from_plain(cls, content)


@dataclass(frozen=True)
class FaithfulnessCurve:
    """Faithfulness and completeness of a ranking's first nodes, by their number, on one split.

    Attributes:
        ranking, split, reference, errors, metric: what was measured, as in `Faithfulness`.
        order: `absolute` ranks by |effect|, `signed` by −effect (see `circuits/faithfulness/faithfulness.py`).
        draws: number of rankings that were averaged; more than 1 for random circuits only.
        pairs: number of pairs of the split.
        shares, sizes: share and number of the ranking's features and errors; share 1 is the whole model M.
        faithfulness, completeness: one entry per share; `low` and `high` are the bounds of their intervals.

    Raises:
        ValueError: columns of different lengths, shares that do not rise, or a reversed interval.
    """

    __repr__ = short_repr

    ranking: str
    split: str
    reference: str
    errors: str
    metric: str
    order: str
    draws: Number
    pairs: Count
    shares: tuple[Share, ...]
    sizes: tuple[Count, ...]
    faithfulness: tuple[float, ...]
    low: Bounds
    high: Bounds
    completeness: tuple[float, ...]
    completeness_low: Bounds
    completeness_high: Bounds

    def __post_init__(self) -> None:
        _check_errors(self.errors)
        if self.order not in ORDERS:
            raise ValueError(f"There is no order {self.order!r}. Orders: {', '.join(ORDERS)}.")
        columns = {name: getattr(self, name) for name in _COLUMNS}
        if len(self.shares) < 2 or any(len(column) != len(self.shares) for column in columns.values()):
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise ValueError(
                f"A curve has two or more shares and one entry per share in every column; found {lengths}."
            )
        rising = all(a < b for a, b in pairwise(self.shares)) and self.shares[0] > 0 and self.shares[-1] <= 1
        if not rising or any(a > b for a, b in pairwise(self.sizes)):
            raise ValueError("Shares must rise from above 0 to at most 1, and sizes must not fall.")
        if not all(map(isfinite, (*self.faithfulness, *self.completeness))):
            raise ValueError(f"The curve of {self.ranking!r} on {self.split!r} has a value that is not finite.")
        _check_bounds(self.ranking, self.low, self.high)
        _check_bounds(self.ranking, self.completeness_low, self.completeness_high)

    @property
    def cpr(self) -> float:
        """CPR, the area under F over the share k; MIB's definition where the order is `signed`."""
        return area_under_curve(self.shares, self.faithfulness)

    @property
    def cmd(self) -> float:
        """CMD, the area under |1 − F| over the share k; 0 is best. MIB's definition where the order is `absolute`."""
        return area_under_curve(self.shares, tuple(abs(1 - f) for f in self.faithfulness))

    def as_dict(self) -> dict[str, Any]:
        """The fields and the two areas as plain data for JSON."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return plain | {"cpr": self.cpr, "cmd": self.cmd}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "FaithfulnessCurve":
        """The inverse of `as_dict`; fields that do not fit and areas that do not follow from them are a ValueError."""
        curve = dataclass_from_plain(cls, {k: v for k, v in content.items() if k not in ("cpr", "cmd")})
        for name in ("cpr", "cmd"):
            if name in content and abs(content[name] - getattr(curve, name)) > 1e-9 * max(1.0, abs(content[name])):
                raise ValueError(f"{name} {content[name]} does not follow from the curve: {getattr(curve, name)}.")
        return curve


_COLUMNS: Final = (
    "shares",
    "sizes",
    "faithfulness",
    "low",
    "high",
    "completeness",
    "completeness_low",
    "completeness_high",
)


def area_under_curve(shares: tuple[float, ...], values: tuple[float, ...]) -> float:
    """Trapezoid rule from the first share to the last; the area below the first share does not count."""
    points = list(zip(shares, values, strict=True))
    return sum((k2 - k1) * (v1 + v2) / 2 for (k1, v1), (k2, v2) in pairwise(points))


def _check_errors(errors: str) -> None:
    if errors not in ERROR_CHOICES:
        raise ValueError(f"`errors` is {errors!r}; expected one of {', '.join(ERROR_CHOICES)}.")


def _check_bounds(what: str, low: "Bounds | list[Bound]", high: "Bounds | list[Bound]") -> None:
    for below, above in zip(low, high, strict=True):
        if (below is None) != (above is None) or (below is not None and above is not None and below > above):
            raise ValueError(f"{what}: {below} to {above} is not an interval.")
