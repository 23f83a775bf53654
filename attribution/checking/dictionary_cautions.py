"""Cautions about dictionaries: trained on another model, at another hook, or inactive on all prompts."""

import re
from collections.abc import Iterable, Sequence

import torch

from attribution.dictionaries import SAE
from attribution.models.language_model import LanguageModel
from attribution.models.model_names import same_model
from attribution.models.site_names import layer_of
from attribution.prompts.prompt_pairs import PairBatch
from attribution.splice.spliced_model import SplicedModel
from graphs.cautions import Caution

_LISTED = 3
_LONGEST = 60
"""Characters of a name out of a file."""


def dictionary_cautions(spliced: SplicedModel, batches: Iterable[PairBatch] = ()) -> tuple[Caution, ...]:
    """All cautions about the SAEs that are spliced in.

    Args:
        spliced: the model with its SAEs.
        batches: the prompts. They are run until each SAE has been active, which as a rule takes one batch.
    """
    return (*other_model(spliced), *other_site(spliced), *inactive(spliced, batches))


def other_model(spliced: SplicedModel) -> tuple[Caution, ...]:
    """A caution for each other model that the files of SAEs name; files that name none say nothing."""
    sites: dict[str, list[str]] = {}
    for site, sae in spliced.saes.items():
        if sae.trained_on.model:
            sites.setdefault(sae.trained_on.model, []).append(site)
    found = {name: own for name, own in sites.items() if not same_model(name, spliced.model.names)}
    return tuple(_other_model(spliced, _short(name), own) for name, own in found.items())


def _other_model(spliced: SplicedModel, name: str, sites: Sequence[str]) -> Caution:
    were = "1 SAE was" if len(sites) == 1 else f"{len(sites)} SAEs were"
    sentence = (
        f"{were} trained on the model {name}, says cfg.json ({_listed(sites)}); the model here is "
        f"{_short(spliced.model.name)}. Unless both names mean the same weights, the features mean nothing here: take "
        "SAEs of this model."
    )
    return Caution("other_model", "", {"saes": len(sites), "all": len(spliced.saes)}, sentence)


def other_site(spliced: SplicedModel) -> tuple[Caution, ...]:
    """A caution if SAEs are spliced in at another hook, or another layer, than those that their files name."""
    elsewhere = {
        site: other for site, sae in spliced.saes.items() if (other := _trained_elsewhere(spliced.model, site, sae))
    }
    if not elsewhere:
        return ()
    each = _listed([f"{site} (trained at {other})" for site, other in elsewhere.items()])
    subject = "1 SAE is" if len(elsewhere) == 1 else f"{len(elsewhere)} SAEs are"
    sentence = (
        f"{subject} spliced in elsewhere than trained: {each}. The features there stand for something else, or for "
        "nothing: splice an SAE in where it was trained."
    )
    return (Caution("other_site", "", {"saes": len(elsewhere), "all": len(spliced.saes)}, sentence),)


def inactive(spliced: SplicedModel, batches: Iterable[PairBatch]) -> tuple[Caution, ...]:
    """A caution if no feature of some SAE is active at any spliced position of any prompt, clean or patch."""
    silent, ran = dict.fromkeys(spliced.sites), False
    with spliced.model.frozen(), torch.no_grad():
        for batch in batches:
            ran = True
            for ids in (batch.clean_ids, batch.patch_ids):
                for site, record in spliced.record(ids, batch.last).sites.items():
                    if len(record.features.key):
                        silent.pop(site, None)
                if not silent:
                    return ()
    if not ran:
        return ()
    sentence = (
        f"No feature of the SAE{'' if len(silent) == 1 else 's'} at {_listed(tuple(silent))} is active on any prompt: "
        "all that passes there counts as SAE error. Look whether the SAE belongs to this model and this hook."
    )
    return (Caution("inactive_dictionary", "", {"saes": len(silent), "all": len(spliced.sites)}, sentence),)


def _trained_elsewhere(model: LanguageModel, site: str, sae: SAE) -> str | None:
    """The hook, or the layer, that an SAE's file names in place of `site`; None if it names this one, or none."""
    said, here = sae.trained_on, layer_of(site)
    hook = said.hook or sae.site
    try:
        differs = bool(hook) and model.resolve(hook) != site
    except LookupError:  # a name of another library, or of a deeper model: its number is that of the layer
        number = re.search(r"\d+", hook)
        differs = number is not None and int(number[0]) != here
    if differs:
        return _short(hook)
    return None if said.layer in (None, here) else f"layer {said.layer}"


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _LISTED else f", and {len(names) - _LISTED} more"
    return ", ".join(names[:_LISTED]) + more


def _short(name: str) -> str:
    """A name out of a file, on one line and not too long; what is no character is shown by its number."""
    return repr(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
