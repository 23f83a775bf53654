"""Feed an SAE what it was trained on: what holds of a centred model holds of this one, or not.

TransformerLens centres the weights that write to the residual stream (`center_writing_weights`) only where every norm
subtracts the mean, since only then does the model compute the same. There x − mean is the centred model's stream, and
the normalisation "centred" gives it. In other models (RMSNorm) it leaves the weights as they are: the SAE then read the
stream as it is.

Effects equal those in the centred model, in every error mode. One thing a raw model cannot know: the mean that a
decoder itself writes. No norm lets it through and no SAE was trained on it, so later SAEs do not read it.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from attribution.dictionaries import SAE
from attribution.dictionaries.kinds.trained_positions import TrainedPositions
from attribution.models.hooks import logits_with
from attribution.models.language_model import LanguageModel

_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-2}
_TOLERANCE_LOW_PRECISION = 0.1


def fed_as_trained(model: LanguageModel, saes: Mapping[str, SAE]) -> dict[str, SAE]:
    """The SAEs by site, as this model has to feed them.

    Raises:
        ValueError: a centred SAE, in a model of LayerNorms that computes something else without its stream's mean.
    """
    centred = [site for site, sae in saes.items() if sae.normalisation == "centred"]
    if not centred or ignores_mean(model):
        return dict(saes)
    cfg = model.module.cfg
    if getattr(cfg, "normalization_type", None) in ("LN", "LNPre") and not getattr(cfg, "final_rms", False):
        raise ValueError(
            f"The SAE for {centred[0]!r} was trained with center_writing_weights, but this model computes something "
            "else when its residual stream loses the mean. Use an SAE that was trained on the unprocessed model."
        )
    return {site: replace(sae, normalisation="none") if site in centred else sae for site, sae in saes.items()}


def common_positions(saes: Mapping[str, SAE]) -> TrainedPositions:
    """The positions that all the SAEs were trained on.

    Raises:
        ValueError: two SAEs were trained on different positions; the message names both.
    """
    (first, sae), *others = saes.items()
    for site, other in others:
        if other.positions != sae.positions:
            raise ValueError(
                f"The SAE for {first!r} was trained on {sae.positions} and that for {site!r} on {other.positions}. "
                "Splice in SAEs of the same positions together (seqpos_slice in their cfg.json)."
            )
    return sae.positions


def ignores_mean(model: LanguageModel) -> bool:
    """True where adding a constant to every entry of the residual stream leaves the logits as they are."""
    ids = model.probe_ids()
    with torch.no_grad(), model.frozen():
        before = logits_with(model, ids, {})
        after = logits_with(model, ids, {}, enter=lambda x: x + x.std())
    tolerance = _TOLERANCE.get(before.dtype, _TOLERANCE_LOW_PRECISION)
    return bool((after - before).abs().max() <= tolerance * (before - before.mean()).abs().max())
