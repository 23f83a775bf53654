"""Cautions: what is no error, but makes less sense than it looks, such as judging a circuit on the pairs that found it.

One kind of value wherever it is said: `Certificate.warnings`, `Verdict.warnings`, run.json, the terminal and the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from graphs.fields.quantities import Count
from graphs.plain_data import dataclass_from_plain
from graphs.short_repr import short_repr

CautionKind = Literal[
    "shared_pairs",
    "repeated_pairs",
    "few_pairs",
    "other_model",
    "other_site",
    "inactive_dictionary",
    "node_named_twice",
]

FIGURES_IN_WORDS: Final[Mapping[CautionKind, str]] = {
    "shared_pairs": "{shared:,} of {pairs:,} pairs",
    "repeated_pairs": "{different:,} different of {pairs:,}",
    "few_pairs": "as few as {pairs:,}",
    "other_model": "{saes:,} of {all:,} SAEs",
    "other_site": "{saes:,} of {all:,} SAEs",
    "inactive_dictionary": "{saes:,} of {all:,} SAEs",
    "node_named_twice": "{shared:,} of {pairs:,} prompts",
}
"""The figures of each kind, in words."""


@dataclass(frozen=True)
class Caution:
    """One thing to know before believing the numbers.

    Attributes:
        kind: what is the matter.
        about: which pairs or which node it concerns; "" where that is in the sentence alone.
        figures: how much, by name; those that `FIGURES_IN_WORDS` has for the kind.
        sentence: what is the matter, what it does to the numbers, and what to do.
    """

    __repr__ = short_repr

    kind: CautionKind
    about: str
    figures: Mapping[str, Count]
    sentence: str

    def __post_init__(self) -> None:
        try:
            FIGURES_IN_WORDS[self.kind].format(**self.figures)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"a warning of kind {self.kind!r} with figures {dict(self.figures)}.") from error
        if max(self.figures.values()) > max(self.figures.get(name, 0) for name in ("pairs", "all")):
            raise ValueError(f"a warning of kind {self.kind!r} counts more than all: {dict(self.figures)}.")

    @property
    def value(self) -> str:
        """Its figures in words: `3 of 10 pairs`."""
        return FIGURES_IN_WORDS[self.kind].format(**self.figures)

    @property
    def name(self) -> str:
        """What it is about, in a few words: `shared pairs, held out`."""
        return self.kind.replace("_", " ") + (f", {self.about}" if self.about else "")

    @property
    def is_grave(self) -> bool:
        """Whether nothing is left of what the numbers should show: all pairs that judge are pairs that found."""
        return self.kind == "shared_pairs" and self.figures["shared"] == self.figures["pairs"]


def caution_from_plain(content: Mapping[str, Any]) -> Caution:
    """The inverse of `as_plain_data`; fields that do not fit are a ValueError."""
    return dataclass_from_plain(Caution, content)
