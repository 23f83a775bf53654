"""SAEs from disk: one folder, or a folder of folders.

    folder/cfg.json + folder/sae_weights.safetensors     SAELens
    folder/params.npz                                    Gemma Scope (pass site: the file does not say)

Nothing on disk is executed: JSON, safetensors and plain numpy arrays only.
"""

import re
from dataclasses import replace
from pathlib import Path

import torch

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.gemma_scope import PARAMS_FILE, load_gemma_scope
from attribution.dictionaries.formats.saelens import read_saelens
from attribution.dictionaries.formats.saelens_config import CONFIG_FILE
from attribution.dictionaries.kinds.sae import SAE

DEPTH = 2


def load_sae(
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    site: str | None = None,
) -> SAE:
    """The SAE in `folder`, its weights cast to `dtype`. A `site` given here wins over the one in cfg.json."""
    folder = Path(folder)
    if (folder / CONFIG_FILE).exists():
        return replace(read_saelens(folder, device=device, dtype=dtype, site=site), source=str(folder / CONFIG_FILE))
    if (folder / PARAMS_FILE).exists():
        if site is None:
            raise SAEFileError(
                folder / PARAMS_FILE, "does not name its hook; pass site=, e.g. 'blocks.3.hook_resid_post'"
            )
        loaded = load_gemma_scope(folder / PARAMS_FILE, site=site, device=device, dtype=dtype)
        return replace(loaded, source=str(folder / PARAMS_FILE))
    there = "it holds neither" if folder.is_dir() else "there is no such folder"
    raise SAEFileError(folder, f"no SAE here; expected {CONFIG_FILE} or {PARAMS_FILE} in this folder, {there}")


def load_saes(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, SAE]:
    """Every SAELens SAE in `folder`, at most two levels down, by site in natural order (2 before 10)."""
    folder = Path(folder)
    patterns = ("/".join(["*"] * depth + [CONFIG_FILE]) for depth in range(DEPTH + 1))
    homes = sorted({file.parent for pattern in patterns for file in folder.glob(pattern)})
    if not homes:
        raise SAEFileError(
            folder, f"no SAE found; expected folders that hold {CONFIG_FILE}, at most {DEPTH} levels down"
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
