"""Load the model and the SAEs that ship with the project."""

from pathlib import Path
from typing import Final

from attribution.dictionaries import SAE, load_saes
from attribution.models.language_model import LanguageModel

FOLDER: Final = Path(__file__).resolve().parent
MODEL_FOLDER: Final = FOLDER / "model"
SAES_FOLDER: Final = FOLDER / "saes"
DEFAULT_SAES: Final = "jumprelu"


def embedded_model() -> LanguageModel:
    """The embedded transformer with its tokenizer."""
    model = LanguageModel.load(MODEL_FOLDER)
    model.name = "embedded"
    return model


def embedded_saes(name: str = DEFAULT_SAES) -> dict[str, SAE]:
    """One of the sets of SAEs trained on the embedded model, by site; see the README of this folder."""
    if name not in sae_sets():
        raise ValueError(f"No embedded SAE set {name!r}. Sets: {', '.join(sae_sets())}.")
    return load_saes(SAES_FOLDER / name)


def sae_sets() -> tuple[str, ...]:
    """Names of the embedded sets of SAEs."""
    return tuple(sorted(f.name for f in SAES_FOLDER.iterdir() if f.is_dir()))
