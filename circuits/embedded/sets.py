"""Where the embedded model and its SAEs are, and what they are called. Imports no torch."""

from pathlib import Path
from typing import Final

_EMBEDDED_FOLDER: Final = Path(__file__).resolve().parent
MODEL_FOLDER: Final = _EMBEDDED_FOLDER / "model"
SAES_FOLDER: Final = _EMBEDDED_FOLDER / "saes"
EMBEDDED: Final = "embedded"
"""What the embedded model is called."""
DEFAULT_SAES: Final = "jumprelu"
"""The embedded set of SAEs that covers all 12 sites."""


def sae_sets() -> tuple[str, ...]:
    """The names of the embedded sets of SAEs, as `load_saes` takes them.

    Examples:
        >>> sae_sets()
        ('gated', 'jumprelu', 'prolu', 'relu', 'topk')
        >>> len(load_saes(sae_sets()[0]))
        4
    """
    return tuple(sorted(f.name for f in SAES_FOLDER.iterdir() if f.is_dir()))
