"""Where an SAE was trained, as its file says."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TrainedOn:
    """The names that an SAE's file gives; "" and None where it gives none.

    Attributes:
        model: of the model, in whatever spelling.
        hook: of the hook, in whatever spelling.
        layer: the number of the layer, where the file has it beside the hook's name.
    """

    model: str = ""
    hook: str = ""
    layer: int | None = None


NOT_SAID: Final = TrainedOn()
"""A file, or an SAE made in Python, that says nothing."""
