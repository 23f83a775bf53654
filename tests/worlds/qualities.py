"""Qualities of dictionaries made by hand."""

from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from graphs import DictionaryAtSite, DictionaryQuality, Histogram, SpliceQuality

SITE = "blocks.0.hook_resid_post"
SPLICE = SpliceQuality(
    ce=2.1,
    ce_zero=8.0,
    ce_mean=6.0,
    ce_increase=0.1,
    ce_recovered_of_zero=5.9 / 6,
    ce_recovered_of_mean=3.9 / 4,
    kl=0.2,
    kl_zero=6.0,
    kl_mean=4.0,
    kl_recovered_of_zero=1 - 0.2 / 6,
    kl_recovered_of_mean=0.95,
)
VALUES = Histogram((0.0, 0.5, 1.0), (3, 1), 0.1, 0.2, 0.9)


def at_site(site: str = SITE, *, l0: float = 10.0, fvu: float | None = 0.1) -> DictionaryAtSite:
    """A dictionary of 8 features that shrinks by 10%."""
    return DictionaryAtSite(
        site=site,
        kind="jumprelu",
        features=8,
        l0=l0,
        fvu=fvu,
        cosine=0.95,
        gamma=0.9,
        rho=0.81,
        dead=(3,),
        dense=(0, 1),
        frequencies=Histogram((-2.0, -1.0, 0.0), (5, 2), -1.9, -1.5, -0.5),
        parameters={"threshold": VALUES},
        alone=SPLICE,
    )


def quality(
    name: str = "one", family: str = "jumprelu", *sites: DictionaryAtSite, text: str = "a text"
) -> DictionaryQuality:
    """The quality of some dictionaries, by default of one."""
    return DictionaryQuality(name, family, text, 100, 90, 2.0, sites or (at_site(),), SPLICE)


def dictionaries(family: str, *points: tuple[float, float | None], site: str = SITE) -> list[DictionaryQuality]:
    """Dictionaries of a family, each with its L0 and its FVU."""
    return [quality(f"{family} {l0:g}", family, at_site(site, l0=l0, fvu=fvu)) for l0, fvu in points]


def elsewhere(found: DictionaryQuality) -> DictionaryQuality:
    """The same on another text."""
    return replace(found, text="another text")


def finding_of(figure: go.Figure) -> str:
    """What a figure says in its title."""
    layout: Any = figure.layout
    return layout.meta["finding"]
