"""Gemma Scope: one params.npz per JumpReLU SAE, with W_enc, b_enc, W_dec, b_dec and threshold.

    z = x @ W_enc + b_enc;   f = z where z > threshold, else 0;   x_hat = f @ W_dec + b_dec

No normalisation, and b_dec is not subtracted on the way in. Source: Lieberum et al. 2024.
"""

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.kinds.jumprelu import JumpReLU
from attribution.dictionaries.kinds.tensor_faults import negative_fault, number_fault, shape_fault

PARAMS_FILE = "params.npz"
_NO_ARCHIVE: Final = (
    *(OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
    *(SyntaxError, TokenError, OverflowError, MemoryError, KeyError, TypeError),
)
"""What numpy and zipfile raise where a file is no archive of plain arrays."""


def read_gemma_scope(folder: Path, *, site: str | None, device: torch.device | str, dtype: torch.dtype) -> JumpReLU:
    """The SAE in a folder that holds params.npz."""
    if site is None:
        raise SAEFileError(folder / PARAMS_FILE, "does not name its hook; pass site=, e.g. 'blocks.3.hook_resid_post'")
    return load_gemma_scope(folder / PARAMS_FILE, site=site, device=device, dtype=dtype)


def load_gemma_scope(
    file: str | Path,
    *,
    site: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> JumpReLU:
    """The SAE in `file`, its weights cast to `dtype`. The file does not name its hook, so `site` must.

    Raises:
        SAEFileError: a file that is missing or unreadable, or arrays that are missing, misshapen or not finite.
    """
    file = Path(file)
    arrays = _read_arrays(file)
    axes = JumpReLU.tensor_axes()
    if missing := sorted(axes.keys() - arrays.keys()):
        raise SAEFileError(file, f"{', '.join(missing)} missing; found {', '.join(sorted(arrays))}")
    if arrays["W_enc"].ndim != 2:
        raise SAEFileError(file, f"W_enc has shape {arrays['W_enc'].shape}; expected (d_in, d_sae)")
    d_in, d_sae = arrays["W_enc"].shape
    tensors = {}
    for name in axes:
        if arrays[name].dtype not in (np.float16, np.float32, np.float64):
            raise SAEFileError(file, f"{name} has dtype {arrays[name].dtype}; expected floating-point numbers")
        tensor = torch.from_numpy(arrays[name])
        fault = shape_fault(name, tensor, axes[name], {"d_in": d_in, "d_sae": d_sae}) or number_fault(name, tensor)
        if name == "threshold":
            fault = fault or negative_fault(name, tensor)
        if fault:
            raise SAEFileError(file, fault)
        tensors[name] = tensor.to(device=device, dtype=dtype)
        if fault := number_fault(name, tensors[name]):
            raise SAEFileError(file, f"{fault}, in {dtype}")
    return JumpReLU(**tensors, site=site)


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Every array under its key. Later files spell w_enc and w_dec; here they are W_enc and W_dec."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise SAEFileError(file, "holds a single array; expected a .npz with one array per tensor")
        with archive:
            return {"W" + key[1:] if key.startswith("w_") else key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise SAEFileError(file, "no such file") from None
    except SAEFileError:
        raise
    except _NO_ARCHIVE as error:
        raise SAEFileError(file, f"cannot be read as a .npz of plain arrays: {error!s:.200}") from error
