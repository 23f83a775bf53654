"""Load SAEs from disk: one folder, or a folder of folders.

    folder/cfg.json + folder/sae_weights.safetensors     SAELens
    folder/params.npz                                    Gemma Scope (give `site`: the file does not name its hook)

Nothing on disk is executed: JSON, safetensors and plain numpy arrays only.

To add a format: a function like `read_saelens` in a file of `formats`, and one line in `FORMATS`.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import torch

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.gemma_scope import PARAMS_FILE, read_gemma_scope
from attribution.dictionaries.formats.saelens import read_saelens
from attribution.dictionaries.formats.saelens_config import CONFIG_FILE
from attribution.dictionaries.kinds.sae import SAE


class ReadsFolder(Protocol):
    """Reads the SAE in a folder; a `site` that is given wins over the one in the file."""

    def __call__(self, folder: Path, *, site: str | None, device: torch.device | str, dtype: torch.dtype) -> SAE: ...


FORMATS: Final[dict[str, ReadsFolder]] = {
    CONFIG_FILE: read_saelens,
    PARAMS_FILE: read_gemma_scope,
}
"""The file by which a folder's format is known -> the function that reads the folder. The first one found is taken."""

_DEPTH: Final = 2


def load_sae(
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    site: str | None = None,
) -> SAE:
    """The SAE in `folder`, its weights cast to `dtype`. A `site` given here wins over the one in the file.

    Raises:
        SAEFileError: no SAE in the folder, or one that cannot be used.
    """
    folder = Path(folder)
    for file, read in FORMATS.items():
        if (folder / file).exists():
            return replace(read(folder, site=site, device=device, dtype=dtype), source=str(folder / file))
    there = "it holds neither" if folder.is_dir() else "there is no such folder"
    raise SAEFileError(folder, f"no SAE here; expected {' or '.join(FORMATS)} in this folder, {there}")


def load_saes(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, SAE]:
    """Every SAELens SAE in `folder`, at most two levels down, by site in natural order (2 before 10).

    Raises:
        SAEFileError: no SAE, one that cannot be used or does not name its site, or two for one site.
    """
    folder = Path(folder)
    patterns = ("/".join(["*"] * depth + [CONFIG_FILE]) for depth in range(_DEPTH + 1))
    homes = sorted({file.parent for pattern in patterns for file in folder.glob(pattern)})
    if not homes:
        raise SAEFileError(
            folder, f"no SAE found; expected folders that hold {CONFIG_FILE}, at most {_DEPTH} levels down"
        )
    saes: dict[str, SAE] = {}
    home_of: dict[str, Path] = {}
    for home in homes:
        sae = load_sae(home, device=device, dtype=dtype)
        if not sae.site:
            raise SAEFileError(home / CONFIG_FILE, "metadata.hook_name is missing; expected the hook of the SAE")
        if sae.site in saes:
            raise SAEFileError(
                folder,
                f"two SAEs for site {sae.site!r}: {home_of[sae.site]} and {home}; expected one per site",
            )
        saes[sae.site], home_of[sae.site] = sae, home
    return {site: saes[site] for site in sorted(saes, key=_natural)}


def _natural(site: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", site)]
