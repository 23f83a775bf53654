"""The temperature of generated text: 0 takes the likeliest token. Imports no torch."""

from typing import Final

COLDEST: Final = 0.001
HOTTEST: Final = 1000
"""Temperatures of drawn text; beyond them logits are no numbers any more, or all alike."""


def refuse_temperature(value: float, name: str) -> None:
    """Raise a ValueError for a temperature that no text can be drawn at; `name` opens the message."""
    if value != 0 and not COLDEST <= value <= HOTTEST:
        raise ValueError(f"{name} is 0 (the likeliest token), or from {COLDEST} to {HOTTEST}; got {value}.")
