"""Load a model and its SAEs, the embedded ones or your own, and splice the SAEs in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from attribution import dictionaries
from attribution.dictionaries import SAE
from attribution.models.language_model import LanguageModel
from attribution.models.loading import Backend
from attribution.models.opening import Bos
from attribution.splice.spliced_model import SplicedModel
from circuits.embedded.sets import DEFAULT_SAES, EMBEDDED, MODEL_FOLDER, SAES_FOLDER, sae_sets


def load_model(
    name_or_folder: str | Path = EMBEDDED,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    backend: Backend = "auto",
    bos: Bos | None = None,
) -> LanguageModel:
    """The embedded model, or any left-to-right language model that transformers opens.

    The model proves itself first: `model_report` says what it has proved.

    Args:
        name_or_folder: `embedded`, a Hugging Face folder on disk, or a name on the hub, whose weights are downloaded.
        device, dtype: where the weights are kept, and in which precision.
        backend: `transformer-lens` or `hugging-face` runs its blocks; `auto` is the first whose logits are those of the
            Hugging Face model.
        bos: open prompts with BOS `always`, `never`, or as the `tokenizer` does by itself. By default as the SAEs that
            are spliced in were trained; if they do not say, as TransformerLens has it for the architecture. It is
            decided when SAEs are spliced in or the first prompt is tokenised: `model.opening`.

    Raises:
        FileNotFoundError: a path is no folder, or the folder has no config.json.
        ValueError: it is not a decoder-only language model, not causal, its weights or logits are not finite, or the
            chosen backend computes other logits; or `bos` is `always`, and the tokenizer has no BOS.

    Examples:
        >>> model = load_model()
        >>> model.name, model.n_layers
        ('embedded', 4)
    """
    if name_or_folder == EMBEDDED:
        return embedded_model(device=device, dtype=dtype, backend=backend, bos=bos)
    return LanguageModel.load(name_or_folder, device=device, dtype=dtype, backend=backend, bos=bos)


def load_saes(
    folder_or_set: str | Path = DEFAULT_SAES,
    *,
    sites: str | Sequence[str] | None = None,
    layers: Iterable[int] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    canonical: Callable[[str], str] = str,
) -> dict[str, SAE]:
    """SAEs by the site each belongs to, in the order of the layers.

    Args:
        folder_or_set: the name of an embedded set (`sae_sets()`), or a folder of SAELens folders. To read a folder
            that is named like an embedded set, write it as a path: `./relu`.
        sites: only those at these sites: names, kinds (`resid_post`) or globs of either (`blocks.[2-5].*`). The weights
            of others are not read.
        layers: only those in these layers, such as `range(2, 11)`.
        canonical: gives a hook the name by which `sites` and `layers` choose; `model.canonical`, where files have the
            model's own names.

    Raises:
        FileNotFoundError: it is neither an embedded set nor a folder.
        SAEFileError: the folder has no SAEs, a damaged file, or two SAEs for one site.
        LookupError, ValueError: no SAE is at a site of `sites`, or in `layers`; the message lists what there is.

    Examples:
        >>> list(load_saes("relu", layers=[2, 3]))
        ['blocks.2.hook_resid_post', 'blocks.3.hook_resid_post']
        >>> saes = load_saes("relu")
        >>> list(saes)[0], saes["blocks.0.hook_resid_post"].d_sae
        ('blocks.0.hook_resid_post', 766)
    """
    about: dict[str, Any] = {"sites": sites, "layers": layers, "device": device, "dtype": dtype, "canonical": canonical}
    if folder_or_set in sae_sets():
        return dictionaries.load_saes(SAES_FOLDER / str(folder_or_set), **about)
    if not Path(folder_or_set).is_dir():
        raise FileNotFoundError(f"SAEs {folder_or_set}: no such folder. Embedded sets: {', '.join(sae_sets())}.")
    return dictionaries.load_saes(folder_or_set, **about)


def splice(model: LanguageModel, saes: Mapping[str, SAE] | Iterable[SAE], *, splice_bos: bool = False) -> SplicedModel:
    """The model with an SAE spliced in at each site; every measurement starts from it.

    Until something intervenes, its logits are bit-identical to the bare model's: each site writes back what its SAE
    reconstructs plus the SAE's error.

    Args:
        saes: SAEs by site, or SAEs that know their site.
        splice_bos: splice at the BOS position too. SAEs are rarely trained on it, so by default it is left as it is.

    Raises:
        LookupError: the model has no such site.
        ValueError: no SAEs, two SAEs at one site, a width that does not fit, or a site whose writes do not reach the
            logits as the gradient says.

    Examples:
        >>> spliced = splice(model, load_saes("relu"))
        >>> spliced.sites[-1]
        'blocks.3.hook_resid_post'
    """
    return SplicedModel(model, saes, splice_bos=splice_bos)


def embedded_model(
    *, device: str = "cpu", dtype: torch.dtype = torch.float32, backend: Backend = "auto", bos: Bos | None = None
) -> LanguageModel:
    """The embedded transformer with its tokenizer."""
    model = LanguageModel.load(MODEL_FOLDER, device=device, dtype=dtype, backend=backend, bos=bos)
    model.name = EMBEDDED
    return model


def embedded_saes(
    name: str = DEFAULT_SAES, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, SAE]:
    """A set of SAEs trained on the embedded model, by site. The README of this folder describes the sets.

    Raises:
        ValueError: there is no such set.
    """
    if name not in sae_sets():
        raise ValueError(f"No embedded SAE set {name!r}. Sets: {', '.join(sae_sets())}.")
    return dictionaries.load_saes(SAES_FOLDER / name, device=device, dtype=dtype)
