"""SAELens's cfg.json, in every spelling since its first release, read into one form.

    now (6.x)       architecture, k, metadata.hook_name
    before          hook_name or hook_point at top level; activation_fn_str or activation_fn with
                    activation_fn_kwargs.k for TopK; no architecture: standard; normalize_activations boolean

A setting that would silently change the features is an error: another activation function, a single attention head,
whitening that was never folded into the weights, another output than the input. What the file says of the model and the
positions of training is read in `saelens_training.py`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.saelens_keys import unknown_keys
from attribution.dictionaries.formats.saelens_schema import Arithmetic, Place, Scaler, Stored, Training, WithMetadata
from attribution.dictionaries.formats.saelens_training import (
    normalisation_at,
    processing_of,
    trained_on,
    trained_positions,
    unknown_arguments,
)
from attribution.dictionaries.kinds.normalisation import Normalisation
from attribution.dictionaries.kinds.trained_on import TrainedOn
from attribution.dictionaries.kinds.trained_positions import TrainedPositions
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text
from graphs.files.typed_content import FileContent, typed

CONFIG_FILE = "cfg.json"
SCALER_FILE = "activation_scaler.json"

_Content = TypeVar("_Content", bound=FileContent)


@dataclass(frozen=True)
class SAELensConfig:
    """What cfg.json says about the SAE's arithmetic, its hook (site "" if it names none) and its training."""

    architecture: str
    d_in: int
    d_sae: int
    site: str
    apply_b_dec_to_input: bool
    normalisation: Normalisation
    expects_average: bool
    k: int | None
    rescale_acts_by_decoder_norm: bool
    finetuning_scaling_factor: bool
    positions: TrainedPositions
    prepend_bos: bool | None
    trained_on: TrainedOn


def read_config(file: Path, architectures: Collection[str], site: str | None = None) -> SAELensConfig:
    """The configuration in `file`; a given `site` replaces the hook that it names.

    Raises:
        SAEFileError: a setting that is missing, malformed or not supported, such as an unknown architecture.
    """
    raw = _read_object(file)
    settings, said = _typed(Arithmetic, raw, file), _typed(Training, _with_metadata(raw, file), file)
    architecture, k = _architecture_and_k(settings, architectures, file)
    stored = _normalisation(settings.normalize_activations)
    _refuse_other_shapes(said, file)
    named = said.site if site is None else site
    own = "none" if stored == "expected_average_only_in" else stored
    return SAELensConfig(
        architecture=architecture,
        d_in=settings.d_in,
        d_sae=settings.d_sae,
        site=named,
        apply_b_dec_to_input=settings.apply_b_dec_to_input,
        normalisation=normalisation_at(named, own, processing_of(said), file),
        expects_average=stored == "expected_average_only_in",
        k=k,
        rescale_acts_by_decoder_norm=settings.rescale_acts_by_decoder_norm,
        finetuning_scaling_factor=settings.finetuning_scaling_factor,
        positions=trained_positions(said, file),
        prepend_bos=said.prepend_bos,
        trained_on=trained_on(said),
    )


@dataclass(frozen=True)
class ConfigOutline:
    """The hook that a cfg.json names, "" if none, and its keys that are not understood and may matter."""

    site: str
    unknown: tuple[str, ...]


def read_outline(file: Path) -> ConfigOutline:
    """The outline of `file`; weights are not read, and settings are not checked.

    Raises:
        SAEFileError: the file is missing or malformed.
    """
    raw = _read_object(file)
    said = _with_metadata(raw, file)
    return ConfigOutline(_typed(Place, said, file).site, (*unknown_keys(raw), *unknown_arguments(said)))


def read_scaling_factor(folder: Path) -> float | None:
    """The factor by which SAELens's trainer multiplied activations; None if it left none in the folder."""
    file = folder / SCALER_FILE
    return _typed(Scaler, _read_object(file), file).scaling_factor if file.exists() else None


def _read_object(file: Path) -> Mapping[str, Any]:
    try:
        raw = parse_json(read_text(file))
    except FileNotFoundError:
        raise SAEFileError(file, "no such file; expected an SAE's settings in JSON") from None
    except (OSError, ValueError) as error:
        raise SAEFileError(file, f"cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise SAEFileError(file, f"holds a JSON {type(raw).__name__}; expected an object of settings")
    return raw


def _typed(kind: type[_Content], content: Any, file: Path) -> _Content:
    try:
        return typed(kind, content)
    except ValueError as error:
        raise SAEFileError(file, str(error)) from None


def _with_metadata(raw: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    return {**raw, **(_typed(WithMetadata, raw, file).metadata or {})}


def _architecture_and_k(settings: Arithmetic, architectures: Collection[str], file: Path) -> tuple[str, int | None]:
    architecture = settings.architecture or "standard"
    activation = settings.activation_fn_str or settings.activation_fn or "relu"
    if activation == "topk":
        architecture = "topk"
    elif activation != "relu":
        raise SAEFileError(file, f"activation_fn is {activation!r}; expected 'relu' or 'topk'")
    if architecture not in architectures:
        raise SAEFileError(file, f"architecture is {architecture!r}; expected one of {', '.join(architectures)}")
    if architecture != "topk":
        return architecture, None
    kwargs = settings.activation_fn_kwargs
    k = settings.k if "k" in settings.model_fields_set or kwargs is None else kwargs.k
    if not isinstance(k, int) or not 1 <= k <= settings.d_sae:
        raise SAEFileError(file, f"k is {k!r}; expected an integer with 1 <= k <= d_sae = {settings.d_sae}")
    return architecture, k


def _refuse_other_shapes(said: Training, file: Path) -> None:
    """An SAE reads and writes one activation."""
    out, width = said.hook_name_out, said.d_out
    for key, found, own in (("hook_name_out", out, said.hook_name), ("d_out", width, said.d_in)):
        if found is not None and found != own:
            raise SAEFileError(file, f"{key} is {found!r}, another than the input's {own!r}: transcoders are not read")


def _normalisation(found: bool | Stored | None) -> Stored:
    if found is None or isinstance(found, bool):
        return "expected_average_only_in" if found else "none"
    return found
