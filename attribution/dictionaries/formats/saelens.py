"""The SAELens folder format: cfg.json + sae_weights.safetensors, read and written.

normalize_activations "expected_average_only_in": SAELens does not scale activations at inference. At the end of
training its trainer folds the scaling factor into the weights and writes "none", so a folder that still has this
setting is a checkpoint. If the trainer's activation_scaler.json lies beside it, the factor is folded here. If not, the
SAE is read as SAELens reads it, unscaled, with a warning.
"""

import json
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.saelens_config import CONFIG_FILE, SAELensConfig, read_config, read_scaling_factor
from attribution.dictionaries.formats.saelens_folding import (
    fold_decoder_norms,
    fold_finetuning,
    fold_scaling_factor,
    fold_threshold,
)
from attribution.dictionaries.formats.saelens_training import CENTRE
from attribution.dictionaries.kinds.batchtopk import BatchTopK
from attribution.dictionaries.kinds.gated import Gated
from attribution.dictionaries.kinds.jumprelu import JumpReLU
from attribution.dictionaries.kinds.prolu import ProLU
from attribution.dictionaries.kinds.pursuit import Pursuit
from attribution.dictionaries.kinds.relu import ReLU
from attribution.dictionaries.kinds.sae import SAE
from attribution.dictionaries.kinds.tensor_faults import number_fault, shape_fault
from attribution.dictionaries.kinds.topk import TopK
from attribution.dictionaries.kinds.trained_positions import ALL_POSITIONS

WEIGHTS_FILE: Final = "sae_weights.safetensors"
ENCODERS: Final[dict[str, type[SAE]]] = {
    "standard": ReLU,
    "jumprelu": JumpReLU,
    "gated": Gated,
    "topk": TopK,
    "batchtopk": BatchTopK,
    "matryoshka_batchtopk": BatchTopK,
    "prolu": ProLU,
}
"""The `architecture` in cfg.json -> the encoder."""


def read_saelens(folder: Path, *, site: str | None, device: torch.device | str, dtype: torch.dtype) -> SAE:
    """The SAE in a SAELens folder; a given `site` replaces the hook name in cfg.json.

    Factors are folded in float32 or better, before the cast to `dtype`.

    Raises:
        SAEFileError: a file that is missing, unreadable or inconsistent.
    """
    config = read_config(folder / CONFIG_FILE, ENCODERS, site)
    kind = ENCODERS[config.architecture]
    tensors, finetuned = _read_tensors(folder / WEIGHTS_FILE, kind, config)
    precise = torch.promote_types(dtype, torch.float32)
    tensors = {name: tensor.to(device=device, dtype=precise) for name, tensor in tensors.items()}
    by_decoder_norm = config.rescale_acts_by_decoder_norm and kind in (TopK, BatchTopK)
    if config.expects_average:
        follows = by_decoder_norm and kind is BatchTopK
        tensors = _on_raw_activations(tensors, folder, threshold_follows=follows)
    if by_decoder_norm:
        tensors = fold_decoder_norms(tensors)
    if finetuned is not None:
        tensors = fold_finetuning(tensors, finetuned.to(tensors["W_dec"]))
    settings: dict[str, Any] = {
        "site": config.site,
        "positions": config.positions,
        "prepend_bos": config.prepend_bos,
        "trained_on": config.trained_on,
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalisation": config.normalisation,
    }
    if config.k is not None:
        settings["k"] = config.k
    sae = kind(**tensors, **settings).to(dtype=dtype)
    for name, tensor in sae.tensors().items():
        if fault := number_fault(name, tensor):
            raise SAEFileError(folder / WEIGHTS_FILE, f"{fault}, in {dtype} and after the factors of {CONFIG_FILE}")
    return sae


def _on_raw_activations(tensors: dict[str, Tensor], folder: Path, *, threshold_follows: bool) -> dict[str, Tensor]:
    factor = read_scaling_factor(folder)
    if factor is not None:
        return fold_scaling_factor(tensors, factor, threshold_follows=threshold_follows)
    warnings.warn(
        f"{folder / CONFIG_FILE}: normalize_activations is 'expected_average_only_in' and the folder does "
        "not hold the scaling factor. The SAE is used on unscaled activations, as SAELens does.",
        stacklevel=4,
    )
    return tensors


def save_sae(sae: SAE, folder: str | Path) -> None:
    """Write the SAE as a SAELens folder. `load_sae` reads it back bit for bit in the same dtype.

    SAELens itself reads every kind except "prolu" and "batchtopk", for which it has no inference form.

    Raises:
        ValueError: a `Pursuit`, which is no more than a decoder.
    """
    if isinstance(sae, Pursuit):
        raise ValueError("A pursuit has no encoder to save. Save the SAE whose decoder it searches.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sae.tensors().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    config = {
        "architecture": "standard" if sae.kind == "relu" else sae.kind,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": str(sae.W_dec.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none" if sae.normalisation == "centred" else sae.normalisation,
        "reshape_activations": "hook_z" if sae.site.endswith("hook_z") else "none",
        "metadata": {"hook_name": sae.site, "sae_lens_version": "6.0.0", **_training(sae)},
    }
    settings = {f.name for f in fields(sae)} - {f.name for f in fields(SAE)} - sae.tensors().keys()
    config |= {name: getattr(sae, name) for name in sorted(settings)}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _training(sae: SAE) -> dict[str, Any]:
    """What the SAE says of its training, as SAELens's metadata; nothing where it says nothing."""
    found: dict[str, Any] = {"model_name": sae.trained_on.model} if sae.trained_on.model else {}
    if sae.normalisation == "centred":
        found["model_from_pretrained_kwargs"] = {CENTRE: True}
    if sae.prepend_bos is not None:
        found["prepend_bos"] = sae.prepend_bos
    if sae.positions != ALL_POSITIONS:
        found["seqpos_slice"] = [sae.positions.start, sae.positions.stop, sae.positions.step]
    return found


def _read_tensors(
    file: Path, kind: type[SAE], config: SAELensConfig
) -> tuple[dict[str, Tensor], Float[Tensor, " d_sae"] | None]:
    """The tensors of the file under SAELens's present keys, each checked; on the CPU, in the file's dtype.

    Beside them the factors that finetuning gave the features, if there are any.
    """
    try:
        stored = load_file(file)
    except FileNotFoundError:
        raise SAEFileError(file, "no such file; a SAELens folder holds it beside cfg.json") from None
    except (OSError, SafetensorError, RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise SAEFileError(file, f"cannot be read as safetensors: {error!s:.200}") from error
    for name, tensor in stored.items():
        if fault := number_fault(name, tensor):
            raise SAEFileError(file, fault)
    finetuned = _finetuning(stored, config, file)
    tensors = fold_threshold(stored, config.d_sae)
    axes = kind.tensor_axes()
    if fault := _key_fault(set(tensors), set(axes), config.architecture):
        raise SAEFileError(file, fault)
    for name, tensor in tensors.items():
        if fault := shape_fault(name, tensor, axes[name], {"d_in": config.d_in, "d_sae": config.d_sae}):
            raise SAEFileError(file, fault)
    return tensors, finetuned


def _finetuning(stored: dict[str, Tensor], config: SAELensConfig, file: Path) -> Float[Tensor, " d_sae"] | None:
    """The factors of finetuning, taken out of `stored`; None if there are none. Old files hold ones without use."""
    names = sorted({"scaling_factor", "finetuning_scaling_factor"} & stored.keys())
    factors = [stored.pop(name) for name in names]
    if not config.finetuning_scaling_factor:
        for name, factor in zip(names, factors, strict=True):
            if not (factor == 1).all():
                raise SAEFileError(file, f"{name} is not 1 everywhere, and {CONFIG_FILE} does not say that it is used")
        return None
    if len(factors) != 1:
        found = ", ".join(names) or "neither"
        raise SAEFileError(
            file, f"expected scaling_factor or finetuning_scaling_factor, as cfg.json says; found {found}"
        )
    if fault := shape_fault(names[0], factors[0], ("d_sae",), {"d_sae": config.d_sae}):
        raise SAEFileError(file, fault)
    return factors[0]


def _key_fault(found: set[str], expected: set[str], architecture: str) -> str | None:
    if found == expected:
        return None
    missing, foreign = ", ".join(sorted(expected - found)), ", ".join(sorted(found - expected))
    faults = [f"{missing} missing"] if missing else []
    faults += [f"{foreign} not expected"] if foreign else []
    return (
        f"{' and '.join(faults)}; architecture {architecture!r} has {', '.join(sorted(expected))}; "
        f"found {', '.join(sorted(found)) or 'no tensor'}"
    )
