"""Dictionaries of a place compared at equal L0.

A denser dictionary reconstructs more, so numbers at different L0 say nothing about which is better. The dictionaries of
a family are points (L0, number); between two neighbours the family is taken to lie on the line that joins them, which
is what using each of the two at a share of the positions gives for L0 and squared error. Outside its points a family
has no value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from graphs.quality.dictionary_quality import DictionaryAtSite, DictionaryQuality
from graphs.short_repr import short_repr

MEASURES: Final[Mapping[str, Callable[[DictionaryAtSite], float | None]]] = MappingProxyType(
    {
        "FVU": lambda found: found.fvu,
        "CE increase": lambda found: found.alone.ce_increase,
        "KL": lambda found: found.alone.kl,
    }
)
"""What is compared; less is better."""


@dataclass(frozen=True)
class AtEqualL0:
    """One measure of every family at one L0 of one site; None for a family with no dictionaries on both sides of it.

    Attributes:
        of: the name of a dictionary that has this L0.
    """

    __repr__ = short_repr

    site: str
    measure: str
    l0: float
    of: str
    values: Mapping[str, float | None]


def compare_at_equal_l0(qualities: Sequence[DictionaryQuality]) -> tuple[AtEqualL0, ...]:
    """Every family at the L0 of every dictionary, by site and measure; only where at least two families have a value.

    Raises:
        ValueError: the dictionaries were measured on different texts.
    """
    refuse_other_texts(qualities)
    found: list[AtEqualL0] = []
    for site in sites_of(qualities):
        for measure in MEASURES:
            curves = curves_at(qualities, site, measure)
            for l0, name in sorted((at.l0, quality.name) for quality, at in _at(qualities, site)):
                values = {family: value_at(points, l0) for family, points in curves.items()}
                if sum(value is not None for value in values.values()) > 1:
                    found.append(AtEqualL0(site, measure, l0, name, values))
    return tuple(found)


def curves_at(
    qualities: Sequence[DictionaryQuality], site: str, measure: str
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Of each family at a site the points (L0, number), by L0; none of dictionaries whose number is undefined."""
    points: dict[str, list[tuple[float, float]]] = {}
    for quality, at in _at(qualities, site):
        own = points.setdefault(quality.family, [])
        if (value := MEASURES[measure](at)) is not None:
            own.append((at.l0, value))
    return {family: tuple(sorted(own)) for family, own in points.items()}


def value_at(points: Sequence[tuple[float, float]], l0: float) -> float | None:
    """The number of a family at an L0, on the line between its neighbouring points; None outside them.

    Of several points at this L0 it is the best.
    """
    if here := [value for x, value in points if x == l0]:
        return min(here)
    for (low, first), (high, second) in pairwise(sorted(points)):
        if low < l0 < high:
            return first + (second - first) * (l0 - low) / (high - low)
    return None


def sites_of(qualities: Sequence[DictionaryQuality]) -> tuple[str, ...]:
    """The sites of all dictionaries, in their order."""
    return tuple(dict.fromkeys(at.site for quality in qualities for at in quality.sites))


def refuse_other_texts(qualities: Sequence[DictionaryQuality]) -> None:
    """A ValueError if qualities were measured on different texts, or there are none."""
    if not qualities:
        raise ValueError("No dictionaries: there is nothing to compare.")
    for quality in qualities:
        if (quality.text, quality.tokens) != (qualities[0].text, qualities[0].tokens):
            raise ValueError(
                f"{quality.name} was measured on {quality.text}, {qualities[0].name} on {qualities[0].text}: measure "
                "both on the same text."
            )


def _at(qualities: Sequence[DictionaryQuality], site: str) -> list[tuple[DictionaryQuality, DictionaryAtSite]]:
    return [(quality, at) for quality in qualities for at in quality.sites if at.site == site]
