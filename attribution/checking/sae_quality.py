"""The quality of the spliced SAEs on some text, each alone and all at once, as a certificate has it.

    CE recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)        L0 = active features per token
    KL(model ‖ spliced) and CE increase, in nats per token              FVU = Σ|x − x̂|² / Σ|x − mean x|²

In the spliced run a site writes its reconstruction, in the zero run it writes 0; both at spliced positions only. Costs
one forward pass of the bare model, two for each SAE, and two for all of them together. `dictionary_quality` measures
more. Source: METHODS of this project, section 7.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from attribution.checking.reconstruction_numbers import ReconstructionNumbers, recovered
from attribution.checking.text_batch import ALL_SITES, Sums, TextBatch, added, splices_of
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import environment_of, key_of
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, silent
from attribution.splice.spliced_model import SplicedModel
from graphs import SAEQuality, SiteQuality

STAGE: Final = "sae_quality"


def sae_quality(
    spliced: SplicedModel,
    prompts: Sequence[Sequence[int]],
    text: str,
    *,
    last_only: Sequence[int] | None = None,
    batch_size: int = 32,
    progress: Progress = silent,
) -> SAEQuality:
    """The quality of the SAEs on some prompts. Where chunks are kept (`attribution/runs`), each batch is a chunk.

    Args:
        spliced: the model with its SAEs.
        prompts: token ids of each text. Every next token is predicted, unless `last_only` is given.
        text: description of the prompts.
        last_only: one token for each prompt. Only this token is predicted, as the next one after the prompt.
        batch_size: prompts in one forward pass.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: no prompts, or none with a token to predict.
    """
    if not prompts or (last_only is None and max(map(len, prompts)) < 2):
        raise ValueError("There is no token to predict. Give texts of at least two tokens.")
    parts: list[Arrays] = []
    with spliced.model.frozen(), torch.no_grad():
        for part in spliced.model.lengths.cut(list(map(len, prompts)), batch_size):
            chosen = slice(part.start, part.stop)
            given = prompts[chosen], None if last_only is None else last_only[chosen]
            parts.append(
                kept_chunk(STAGE, partial(_chunk_key, spliced, *given), lambda _, g=given: _sums_of_batch(spliced, *g))
            )
            progress(part.stop / len(prompts))
    sums = added(parts)
    return SAEQuality(
        text=text,
        tokens=int(sums["tokens"]),
        sites=tuple(_of_site(sums, site) for site in spliced.sites),
        **_of_splice(sums, ALL_SITES),
    )


def _chunk_key(
    spliced: SplicedModel, prompts: Sequence[Sequence[int]], answers: Sequence[int] | None, store: ChunkStore
) -> str:
    ids = {"prompts": [list(ids) for ids in prompts], "answers": None if answers is None else list(answers)}
    return key_of({**environment_of(store, spliced), "quality": STAGE, **ids})


def _sums_of_batch(spliced: SplicedModel, prompts: Sequence[Sequence[int]], answers: Sequence[int] | None) -> Sums:
    """The sums of one batch: of each site, and of the runs in which it, or all sites, are spliced."""
    batch = TextBatch.of(spliced, prompts, answers)
    clean = batch.logits({})
    found: Sums = {"tokens": np.asarray(len(clean)), "ce": np.asarray(batch.losses(clean, clean)[0])}
    for name, sites in splices_of(spliced.sites).items():
        of_sites: Sums = {}
        written = batch.losses(clean, batch.logits(batch.reconstructing(sites, of_sites)))
        nothing = batch.losses(clean, batch.logits(batch.writing(dict.fromkeys(sites, 0.0))))
        found |= {f"{name}:spliced": np.asarray(written), f"{name}:zero": np.asarray(nothing)}
        if name != ALL_SITES:
            found |= of_sites
    return found


def _of_splice(sums: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """CE recovered, CE increase and KL where one site, or all sites, are spliced."""
    tokens, clean = int(sums["tokens"]), float(sums["ce"])
    ce, kl = map(float, sums[f"{name}:spliced"])
    zero = float(sums[f"{name}:zero"][0])
    return {"ce_recovered": recovered(zero, ce, clean), "ce_increase": (ce - clean) / tokens, "kl": kl / tokens}


def _of_site(sums: Mapping[str, np.ndarray], site: str) -> SiteQuality:
    own = ReconstructionNumbers.of(sums, site)
    return SiteQuality(site=site, l0=own.l0, fvu=own.fvu or 0.0, **_of_splice(sums, site))
