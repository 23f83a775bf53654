"""The quality of dictionaries on a text: what they reconstruct, and what that does to the model's predictions.

`graphs/quality/dictionary_quality.py` has the formulas of the numbers. Two passes over the text:

    1. the model as it is: at each site the SAE reads what arrives, and the mean activation is taken
    2. the model as it is again, and three runs for each site and for all sites together, in which a site writes its
       reconstruction, 0, or its mean activation; at spliced positions only

So 5 + 3 · sites forward passes, without gradients. Exact up to rounding: everything is summed in float64.
Source: METHODS of this project, section 7; γ is that of Rajamanoharan et al. 2024a.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from attribution.checking.reconstruction_numbers import ReconstructionNumbers, recovered
from attribution.checking.text_batch import (
    ALL_SITES,
    Sums,
    TextBatch,
    splices_of,
    summed_over_text,
    with_tokens_to_predict,
)
from attribution.dictionaries import SAE
from attribution.runs.chunk_file import Arrays
from attribution.runs.memory import texts_at_once
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.spliced_model import SplicedModel
from graphs import DictionaryAtSite, DictionaryQuality, Histogram, SpliceQuality
from graphs.quality.dictionary_quality import DENSE

STAGE: Final = "dictionary_quality"
BINS: Final = 30
"""Bars of a histogram."""
_RUNS: Final = ("spliced", "zero", "mean")


def dictionary_quality(
    spliced: SplicedModel,
    texts: Iterable[Sequence[int]],
    *,
    text: str = "a text",
    name: str = "dictionaries",
    family: str | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: Progress = silent,
) -> DictionaryQuality:
    """Measure the dictionaries that are spliced in. Where chunks are kept (`attribution/runs`), each batch is a chunk.

    Args:
        spliced: the model with its SAEs.
        texts: token ids of each text, as `Corpus.pieces` gives them. Every next token is predicted.
        text: what the texts are, in words.
        name: what the dictionaries are called.
        family: dictionaries that differ only in sparsity share one; by default the kinds of encoder.
        batch_size: texts in one forward pass; by default as many as fit into `memory`, 32 at the most.
        memory: bytes that a batch may hold; by default half of the free memory.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: no text with a token to predict, no position of it is spliced, or batches of fewer than one text.

    Examples:
        >>> texts = list(embedded_corpus(model, documents=4).pieces())
        >>> quality = dictionary_quality(splice(model, load_saes("relu")), texts)
        >>> all(site.gamma < 1 for site in quality.sites)  # an L1 penalty shrinks
        True
    """
    texts = with_tokens_to_predict(texts)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    size = texts_at_once(spliced, max(map(len, texts)), memory) if batch_size is None else batch_size

    def over(what: str, measured: Callable[[TextBatch], Sums], start: float, end: float) -> Sums:
        told = progress_between(progress, start, end)
        return summed_over_text(spliced, texts, size, STAGE, {STAGE: what}, measured, told)

    first = 1 / (3 * len(spliced.sites) + 5)
    with spliced.model.frozen(), torch.no_grad():
        sums = over("reading", TextBatch.site_sums, 0.0, first)
        read = {site: ReconstructionNumbers.of(sums, site) for site in spliced.sites}
        if not any(own.positions for own in read.values()):
            raise ValueError("The text has no position at which SAEs are spliced in. Give longer texts.")
        runs = over("splicing", partial(_losses, read), first, 1.0)
    return DictionaryQuality(
        name=name,
        family=", ".join(sorted({spliced.saes[site].kind for site in read})) if family is None else family,
        text=text,
        positions=max(own.positions for own in read.values()),
        tokens=int(runs["tokens"]),
        ce_model=float(runs["ce"]) / int(runs["tokens"]),
        sites=tuple(_at_site(spliced.saes[site], site, read[site], _splice_quality(runs, site)) for site in read),
        together=_splice_quality(runs, ALL_SITES),
    )


def _losses(read: dict[str, ReconstructionNumbers], batch: TextBatch) -> Sums:
    """Σ CE and Σ KL of every run of one batch."""
    clean = batch.logits({})
    means = {site: torch.from_numpy(own.mean) for site, own in read.items()}
    found: Sums = {"tokens": np.asarray(len(clean)), "ce": np.asarray(batch.losses(clean, clean)[0])}
    for name, chosen in splices_of(batch.spliced.sites).items():
        own: dict[str, Tensor] = {site: means[site] for site in chosen}
        runs = {
            "spliced": batch.reconstructing(chosen),
            "zero": batch.writing(dict.fromkeys(chosen, 0.0)),
            "mean": batch.writing(own),
        }
        found |= {f"{name}:{run}": np.asarray(batch.losses(clean, batch.logits(f))) for run, f in runs.items()}
    return found


def _splice_quality(sums: Arrays, name: str) -> SpliceQuality:
    tokens = int(sums["tokens"])
    clean = float(sums["ce"]) / tokens
    (ce, kl), (ce_zero, kl_zero), (ce_mean, kl_mean) = ((sums[f"{name}:{run}"] / tokens).tolist() for run in _RUNS)
    return SpliceQuality(
        ce=ce,
        ce_zero=ce_zero,
        ce_mean=ce_mean,
        ce_increase=ce - clean,
        ce_recovered_of_zero=recovered(ce_zero, ce, clean),
        ce_recovered_of_mean=recovered(ce_mean, ce, clean),
        kl=kl,
        kl_zero=kl_zero,
        kl_mean=kl_mean,
        kl_recovered_of_zero=recovered(kl_zero, kl, 0.0),
        kl_recovered_of_mean=recovered(kl_mean, kl, 0.0),
    )


def _at_site(sae: SAE, site: str, read: ReconstructionNumbers, alone: SpliceQuality) -> DictionaryAtSite:
    share = read.active / max(read.positions, 1)
    return DictionaryAtSite(
        site=site,
        kind=sae.kind,
        features=sae.d_sae,
        l0=read.l0,
        fvu=read.fvu,
        cosine=read.cosine,
        gamma=read.gamma,
        rho=read.rho,
        dead=tuple(np.flatnonzero(share == 0).tolist()),
        dense=tuple(np.flatnonzero(share > DENSE).tolist()),
        frequencies=_histogram(np.log10(share[share > 0]), (-np.log10(max(read.positions, 2)), 0.0)),
        parameters={name: _histogram(_numbers(getattr(sae, name))) for name in sae.encoder_tensors},
        alone=alone,
    )


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def _histogram(values: np.ndarray, limits: tuple[float, float] | None = None) -> Histogram:
    """`BINS` equal steps between the limits, by default the least and the largest value."""
    counts, edges = np.histogram(values, BINS, limits)
    about = (values.min(), np.median(values), values.max()) if len(values) else (None, None, None)
    return Histogram(
        tuple(edges.tolist()), tuple(counts.tolist()), *(None if value is None else float(value) for value in about)
    )
