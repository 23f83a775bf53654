"""The parts of the prompt pairs, by the names that files have for them, and in words."""

from typing import Final

OWN: Final = "own"
"""The pairs that found the circuit."""
VALIDATION: Final = "validation"
"""The pairs that chose its size."""
TEST: Final = "test"
"""Pairs that judge it."""


def part_in_words(name: str) -> str:
    """The name of a part as it is shown: the pairs that found the circuit are the `training` pairs."""
    return "training" if name == OWN else name.replace("_", " ")
