"""Does ITO see better, or does it fiddle with small values? Codes whose small activations are rounded to 0.

`graphs/quality/threshold_rounding.py` has the question and the numbers. For each site alone:

    encoder    f = E(x)
    refitted   the best positive coefficients on the encoder's support
    pursuit    gradient pursuit of as many features as E(x) has, position by position

Two passes over the text: one for the size of the encoder's features, which is the unit of the thresholds, and one with
a run for each site, code and threshold, those of all thresholds in one forward. All codes are of the bare model's
activations. Without gradients.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.checking.reconstruction_numbers import ratio, recovered
from attribution.checking.text_batch import Sums, TextBatch, summed_over_text, with_tokens_to_predict
from attribution.dictionaries import SAE, Frame, gradient_pursuit, novelty, refitted
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.models.hooks import SiteFunction
from attribution.runs.progress import Progress, progress_between, silent
from attribution.splice.spliced_model import SplicedModel
from graphs import ChosenFeatures, RoundedCode, ThresholdRounding
from graphs.quality.threshold_rounding import CODES

STAGE: Final = "threshold_rounding"
SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
CHOICES: Final = 32
"""Choices whose novelty is measured."""


def threshold_rounding(
    spliced: SplicedModel,
    texts: Iterable[Sequence[int]],
    *,
    shares: Sequence[float] = SHARES,
    text: str = "a text",
    batch_size: int = 16,
    progress: Progress = silent,
) -> ThresholdRounding:
    """Measure the three codes of every site at every threshold. Where chunks are kept, each batch is a chunk.

    Args:
        spliced: the model with its SAEs, whose decoders the pursuit searches.
        texts: token ids of each text; every next token is predicted.
        shares: the thresholds, in units of the mean size of the encoder's active features at a site; 0 is added.
        text: what the texts are, in words.
        batch_size: texts in one forward pass.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: no text with a token to predict, a negative threshold, or a site whose encoder is never active.

    Examples:
        >>> found = threshold_rounding(spliced, [pair.clean_ids for pair in pairs], shares=[0.2])
        >>> found.bet("FVU").outcome in ("won", "lost", "open", "void")
        True
    """
    texts = with_tokens_to_predict(texts)
    grid = tuple(sorted({0.0, *map(float, shares)}))
    if not grid[0] >= 0 or not np.isfinite(grid[-1]):
        raise ValueError(f"Thresholds are shares of a feature's mean size, 0 or more; got {grid[0]:g} to {grid[-1]:g}.")

    def over(what: str, measured: Callable[[TextBatch], Sums], start: float, end: float) -> Sums:
        about = {STAGE: what, "shares": grid}
        told = progress_between(progress, start, end)
        return summed_over_text(spliced, texts, batch_size, STAGE, about, measured, told)

    with spliced.model.frozen(), torch.no_grad():
        sizes = over("sizes", _sizes, 0.0, 0.03)
        for site in spliced.sites:
            if not sizes[f"{site}:count"]:
                raise ValueError(f"No feature of the SAE at {site} is active in the text. Give more text.")
        units = {site: float(sizes[f"{site}:size"] / sizes[f"{site}:count"]) for site in spliced.sites}
        sums = over("rounded", partial(_rounded, units, grid), 0.03, 1.0)
    rows = tuple(row for site in spliced.sites for row in _rows(sums, site, grid))
    choices = tuple(_choices(sums, site, units[site]) for site in spliced.sites)
    return ThresholdRounding(text, int(sums["tokens"]), grid, rows, choices)


def _arrivals(batch: TextBatch) -> tuple[dict[str, Tensor], Float[Tensor, "scored vocab"]]:
    """What arrives at every site of the bare model, and its predictions."""
    seen: dict[str, Tensor] = {}

    def watch(site: str) -> SiteFunction:
        def function(x: Tensor) -> Tensor:
            seen[site] = x
            return x

        return function

    logits = batch.logits({site: watch(site) for site in batch.spliced.sites})
    return seen, logits


def _sizes(batch: TextBatch) -> Sums:
    """Of each site the sum of its active features' sizes, and their number."""
    found: Sums = {}
    for site, x in _arrivals(batch)[0].items():
        sae = batch.spliced.saes[site]
        size = sae.encode(x[batch.here]).features * sae.W_dec.norm(dim=1)
        found[f"{site}:size"] = size.double().sum().cpu().numpy()
        found[f"{site}:count"] = (size > 0).sum().cpu().numpy()
    return found


def _rounded(units: Mapping[str, float], grid: tuple[float, ...], batch: TextBatch) -> Sums:
    """The sums of one batch: of each site, code and threshold what is left, and what the pursuit chose."""
    seen, clean = _arrivals(batch)
    found: Sums = {"tokens": np.asarray(len(clean)), "ce": np.asarray(batch.losses(clean, clean)[0])}
    for site, arrived in seen.items():
        sae, x = batch.spliced.saes[site], arrived[batch.here]
        codes, frame, chosen = _codes(sae, x)
        lengths = sae.W_dec.norm(dim=1)
        left = np.zeros((len(CODES), len(grid), 4))
        for c, code in enumerate(CODES):
            rounded = [torch.where(codes[code] * lengths >= share * units[site], codes[code], 0) for share in grid]
            decoded = [sae.decode(kept, frame) for kept in rounded]
            losses = _losses(batch, clean, site, decoded)
            for n, (kept, written) in enumerate(zip(rounded, decoded, strict=True)):
                missed = float((x.double() - written.double()).square().sum())
                left[c, n] = (*losses[n], int((kept > 0).sum()), missed)
        zero = batch.losses(clean, batch.logits(batch.writing({site: 0.0})))[0]
        own = {"left": left, "zero": np.asarray(zero), "n": np.asarray(len(x))}
        wide = x.double()
        own |= {"square": wide.square().sum().cpu().numpy(), "total": wide.sum(0).cpu().numpy(), **chosen}
        found |= {f"{site}:{name}": values for name, values in own.items()}
    return found


def _losses(
    batch: TextBatch,
    clean: Float[Tensor, "scored vocab"],
    site: str,
    decoded: Sequence[Float[Tensor, "place width"]],
) -> list[tuple[float, float]]:
    """Σ CE and Σ KL of runs in which the site writes one of these at its positions. The runs are one forward."""
    count = len(decoded)
    names = ("ids", "last", "following", "scored", "here")
    together = replace(batch, **{name: torch.cat([getattr(batch, name)] * count) for name in names})

    def write(x: Float[Tensor, "row pos width"]) -> Float[Tensor, "row pos width"]:
        written = x.clone()
        written[together.here] = torch.cat(list(decoded)).to(x.dtype)
        return written

    return [batch.losses(clean, run) for run in together.logits({site: write}).chunk(count)]


def _codes(
    sae: SAE, x: Float[Tensor, "place width"]
) -> tuple[dict[str, Float[Tensor, "place d_sae"]], Frame | None, Sums]:
    """The three codes of some activations, their frame, and sums of what was chosen."""
    encoding, normalised = sae.encode(x), normalise(x.to(sae.W_dec.dtype), sae.normalisation)[0]
    features, target = encoding.features, normalised - sae.b_dec
    active = features > 0
    search = gradient_pursuit(target, sae.W_dec, k=active.sum(-1))
    found = {"encoder": features, "refitted": refitted(target, sae.W_dec, active), "pursuit": search.coefficients}
    size, order = (features * sae.W_dec.norm(dim=1)).topk(int(active.sum(-1).max()) if len(x) else 0, dim=-1)
    used = search.coefficients > 0
    chosen = {"used": used.sum().cpu().numpy(), "same": (used & active).sum().cpu().numpy()}
    for name, steps in (("pursuit", search.chosen), ("encoder", torch.where(size > 0, order, -1))):
        steps = steps[:, :CHOICES]
        new, there = novelty(sae.W_dec, steps).double().sum(0).cpu().numpy(), (steps >= 0).sum(0).cpu().numpy()
        chosen |= {f"{name} new": _padded(new), f"{name} there": _padded(there)}
    return found, encoding.frame, chosen


def _padded(values: np.ndarray) -> np.ndarray:
    return np.pad(values, (0, CHOICES - len(values)))


def _rows(sums: Sums, site: str, grid: tuple[float, ...]) -> list[RoundedCode]:
    tokens, n = int(sums["tokens"]), int(sums[f"{site}:n"])
    clean, zero = float(sums["ce"]), float(sums[f"{site}:zero"])
    variance = float(sums[f"{site}:square"] - (sums[f"{site}:total"] ** 2).sum() / n)
    rows: list[RoundedCode] = []
    for c, code in enumerate(CODES):
        for share, (ce, kl, active, missed) in zip(grid, sums[f"{site}:left"][c].tolist(), strict=True):
            rows.append(
                RoundedCode(
                    site=site,
                    code=code,
                    share=share,
                    l0=active / n,
                    fvu=ratio(missed, max(variance, 0.0)),
                    ce_recovered=recovered(zero, ce, clean),
                    ce_increase=(ce - clean) / tokens,
                    kl=kl / tokens,
                )
            )
    return rows


def _choices(sums: Sums, site: str, unit: float) -> ChosenFeatures:
    def mean(name: str) -> tuple[float, ...]:
        new, there = sums[f"{site}:{name} new"], sums[f"{site}:{name} there"]
        return tuple((new[there > 0] / there[there > 0]).tolist())

    used = max(int(sums[f"{site}:used"]), 1)
    return ChosenFeatures(site, unit, int(sums[f"{site}:same"]) / used, mean("pursuit"), mean("encoder"))
