"""One line of a certificate: a value, a reading, and a colour by a stated rule."""

from dataclasses import dataclass
from typing import Final, Literal

Colour = Literal["green", "amber", "red", "grey"]

NO_RULE: Final = "no colour: a fact, not a judgement"


@dataclass(frozen=True)
class CertificateLine:
    """One line of a certificate, all in words.

    Attributes:
        name: what the line is about.
        value: its number, with its unit.
        reading: what the number means.
        colour: how far to trust it.
        rule: the rule that the colour follows.
    """

    name: str
    value: str
    reading: str
    colour: Colour
    rule: str
