"""Load SAEs from disk: one folder, or a folder of folders.

    folder/cfg.json + folder/sae_weights.safetensors     SAELens
    folder/params.npz                                    Gemma Scope (give `site`: the file does not name its hook)

Nothing on disk is executed: JSON, safetensors and plain numpy arrays only.

To add a format: a function like `read_saelens` in a file of `formats`, and one line in `FORMATS`.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import torch

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.gemma_scope import PARAMS_FILE, read_gemma_scope
from attribution.dictionaries.formats.saelens import read_saelens
from attribution.dictionaries.formats.saelens_config import CONFIG_FILE, read_outline
from attribution.dictionaries.kinds.sae import SAE
from attribution.models.site_names import sites_in_layers, sites_named


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

    Settings of cfg.json that are not understood and may matter are listed in a warning.

    Raises:
        SAEFileError: no SAE in the folder, or one that cannot be used.
    """
    folder = Path(folder)
    if (folder / CONFIG_FILE).exists():
        _warn_of_unknown(folder, read_outline(folder / CONFIG_FILE).unknown)
    return _read(folder, device=device, dtype=dtype, site=site)


def _read(folder: Path, *, device: torch.device | str, dtype: torch.dtype, site: str | None = None) -> SAE:
    for file, read in FORMATS.items():
        if (folder / file).exists():
            return replace(read(folder, site=site, device=device, dtype=dtype), source=str(folder / file))
    there = "it holds neither" if folder.is_dir() else "there is no such folder"
    raise SAEFileError(folder, f"no SAE here; expected {' or '.join(FORMATS)} in this folder, {there}")


def load_saes(
    folder: str | Path,
    *,
    sites: str | Sequence[str] | None = None,
    layers: Iterable[int] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    canonical: Callable[[str], str] = str,
) -> dict[str, SAE]:
    """Every SAELens SAE in `folder`, at most two levels down, by site in natural order (2 before 10).

    Args:
        sites: only those at these sites: names, kinds (`resid_post`) or globs of either (`blocks.[2-5].*`). The weights
            of others are not read.
        layers: only those in these layers, such as `range(2, 11)`.
        canonical: gives the name of a hook by which `sites` and `layers` choose, as `LanguageModel.canonical` does.

    Settings of cfg.json that are not understood and may matter are listed in one warning.

    Raises:
        SAEFileError: no SAE, one that cannot be used or does not name its site, or two for one site.
        LookupError: a name in `sites` that no SAE there has; the message lists them.
        ValueError: no SAE lies in `layers`; the message lists the layers in which there are some.
    """
    home_of, unknown = saes_in(folder)
    _warn_of_unknown(Path(folder), unknown)
    chosen = _chosen({canonical(site): site for site in home_of}, sites, layers, canonical)
    return {site: _read(home_of[site], device=device, dtype=dtype) for site in sorted(chosen, key=_natural)}


def saes_in(folder: str | Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The SAELens SAEs in a folder, by site the folder of each; and settings that are not understood. Reads no weights.

    Raises:
        SAEFileError: as `load_saes`, as far as that needs no weights.
    """
    folder = Path(folder)
    patterns = ("/".join(["*"] * depth + [CONFIG_FILE]) for depth in range(_DEPTH + 1))
    homes = sorted({file.parent for pattern in patterns for file in folder.glob(pattern)})
    if not homes:
        raise SAEFileError(
            folder, f"no SAE found; expected folders that hold {CONFIG_FILE}, at most {_DEPTH} levels down"
        )
    home_of: dict[str, Path] = {}
    unknown: dict[str, None] = {}
    for home in homes:
        outline = read_outline(home / CONFIG_FILE)
        if not outline.site:
            raise SAEFileError(home / CONFIG_FILE, "metadata.hook_name is missing; expected the hook of the SAE")
        if outline.site in home_of:
            both = f"{home_of[outline.site]} and {home}"
            raise SAEFileError(folder, f"two SAEs for site {outline.site!r}: {both}; expected one per site")
        home_of[outline.site] = home
        unknown |= dict.fromkeys(outline.unknown)
    return home_of, tuple(unknown)


def _chosen(
    stored: dict[str, str],
    sites: str | Sequence[str] | None,
    layers: Iterable[int] | None,
    canonical: Callable[[str], str],
) -> list[str]:
    """The names in the files, of those sites that are asked for by their canonical names."""
    there = tuple(stored)
    if sites is not None:
        names = (sites,) if isinstance(sites, str) else tuple(sites)
        there = sites_named(tuple(map(canonical, names)), there)
    if layers is not None:
        there = sites_in_layers(layers, there)
    return [stored[site] for site in there]


def _warn_of_unknown(folder: Path, keys: Sequence[str]) -> None:
    if keys:
        warnings.warn(
            f"{folder}: {CONFIG_FILE} has settings that are not understood and may change what the SAE computes: "
            f"{', '.join(keys)}.",
            stacklevel=3,
        )


def _natural(site: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", site)]
