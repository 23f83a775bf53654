"""SAELens's cfg.json, in every spelling since its first release, read into one form.

    now (6.x)       architecture, k, metadata.hook_name
    before          hook_name or hook_point at top level; activation_fn_str or activation_fn with
                    activation_fn_kwargs.k for TopK; no architecture: standard; normalize_activations boolean

A setting that would silently change the features is an error: another activation function, a single attention head,
whitening that was never folded into the weights, another output than the input. What the file says of the model and the
positions of training is read in `saelens_training.py`.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.saelens_keys import unknown_keys
from attribution.dictionaries.formats.saelens_training import (
    normalisation_at,
    opens_with_bos,
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

CONFIG_FILE = "cfg.json"
SCALER_FILE = "activation_scaler.json"
NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")


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
    said = {**raw, **_object(raw, "metadata", file)}
    architecture, k = _architecture_and_k(raw, architectures, file)
    stored = _normalisation(raw, file)
    _refuse_other_shapes(said, file)
    processing = processing_of(said, file)
    named = _site(said, file) if site is None else site
    own = "none" if stored == "expected_average_only_in" else stored
    return SAELensConfig(
        architecture=architecture,
        d_in=_positive_integer(raw, "d_in", file),
        d_sae=_positive_integer(raw, "d_sae", file),
        site=named,
        apply_b_dec_to_input=_boolean(raw, "apply_b_dec_to_input", True, file),
        normalisation=normalisation_at(named, own, processing, file),
        expects_average=stored == "expected_average_only_in",
        k=k,
        rescale_acts_by_decoder_norm=_boolean(raw, "rescale_acts_by_decoder_norm", False, file),
        finetuning_scaling_factor=_boolean(raw, "finetuning_scaling_factor", False, file),
        positions=trained_positions(said, file),
        prepend_bos=opens_with_bos(said, file),
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
    said = {**raw, **_object(raw, "metadata", file)}
    return ConfigOutline(_site(said, file), (*unknown_keys(raw), *unknown_arguments(said)))


def read_scaling_factor(folder: Path) -> float | None:
    """The factor by which SAELens's trainer multiplied activations; None if it left none in the folder."""
    file = folder / SCALER_FILE
    if not file.exists():
        return None
    factor = _read_object(file).get("scaling_factor")
    if factor is None:
        return None
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise SAEFileError(file, f"scaling_factor is {factor!r}; expected a positive number")
    return float(factor)


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


def _object(raw: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    found = raw.get(key) or {}
    if not isinstance(found, dict):
        raise SAEFileError(file, f"{key} is {found!r}; expected an object")
    return found


def _architecture_and_k(raw: Mapping[str, Any], architectures: Collection[str], file: Path) -> tuple[str, int | None]:
    architecture = raw.get("architecture") or "standard"
    activation = raw.get("activation_fn_str") or raw.get("activation_fn") or "relu"
    k = raw.get("k", _object(raw, "activation_fn_kwargs", file).get("k"))
    if activation == "topk":
        architecture = "topk"
    elif activation != "relu":
        raise SAEFileError(file, f"activation_fn is {activation!r}; expected 'relu' or 'topk'")
    if architecture not in architectures:
        raise SAEFileError(file, f"architecture is {architecture!r}; expected one of {', '.join(architectures)}")
    if architecture != "topk":
        return architecture, None
    d_sae = _positive_integer(raw, "d_sae", file)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= d_sae:
        raise SAEFileError(file, f"k is {k!r}; expected an integer with 1 <= k <= d_sae = {d_sae}")
    return architecture, k


def _refuse_other_shapes(said: Mapping[str, Any], file: Path) -> None:
    """An SAE reads and writes one activation, flattened or not."""
    if (shape := said.get("reshape_activations")) not in (None, "none", "hook_z"):
        raise SAEFileError(file, f"reshape_activations is {shape!r}; expected 'none' or 'hook_z'")
    out, width = said.get("hook_name_out"), said.get("d_out")
    for key, found, own in (("hook_name_out", out, said.get("hook_name")), ("d_out", width, said.get("d_in"))):
        if found is not None and found != own:
            raise SAEFileError(file, f"{key} is {found!r}, another than the input's {own!r}: transcoders are not read")


def _site(said: Mapping[str, Any], file: Path) -> str:
    head = said.get("hook_head_index", said.get("hook_point_head_index"))
    if head is not None:
        raise SAEFileError(file, f"hook_head_index is {head!r}; expected null: SAEs of one head are not supported")
    site = said.get("hook_name") or said.get("hook_point") or ""
    if not isinstance(site, str):
        raise SAEFileError(file, f"hook_name is {site!r}; expected a hook's name, e.g. 'blocks.3.hook_mlp_out'")
    return site


def _normalisation(
    raw: Mapping[str, Any], file: Path
) -> Literal["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale"]:
    found = raw.get("normalize_activations")
    if found is None or isinstance(found, bool):
        return "expected_average_only_in" if found else "none"
    if found not in NORMALISATIONS:
        raise SAEFileError(file, f"normalize_activations is {found!r}; expected one of {', '.join(NORMALISATIONS)}")
    return found


def _positive_integer(raw: Mapping[str, Any], key: str, file: Path) -> int:
    found = raw.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise SAEFileError(
            file, f"{key} is {found!r}; expected a positive integer" if key in raw else f"{key} is missing"
        )
    return found


def _boolean(raw: Mapping[str, Any], key: str, default: bool, file: Path) -> bool:
    found = raw.get(key, default)
    if not isinstance(found, bool):
        raise SAEFileError(file, f"{key} is {found!r}; expected true or false")
    return found
