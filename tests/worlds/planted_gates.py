"""A world in which gates of every kind stand exactly at their threshold, and how far gates of a world stand from it."""

from dataclasses import replace

import torch

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, TopK
from attribution.dictionaries.kinds.normalisation import normalise
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.gate_rounding import ROUNDINGS, rounding
from attribution.splice.recording import ErrorMode, Recording
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import BOS, bridge, saes_on

SITES: dict[str, type[SAE]] = {
    "blocks.0.hook_attn_out": JumpReLU,
    "blocks.0.hook_mlp_out": ProLU,
    "blocks.0.hook_resid_post": BatchTopK,
    "blocks.1.attn.hook_z": TopK,
    "blocks.1.hook_attn_out": Gated,
    "blocks.1.hook_mlp_out": TopK,
    "blocks.2.hook_resid_post": JumpReLU,
}
NORMS = {"blocks.1.hook_attn_out": "layer_norm", "blocks.2.hook_resid_post": "constant_norm_rescale"}
PLANTED = 3
"""Gates planted at each site; at those with TopK, features whose pre-activations are equal."""

PAIRS = PromptPairs(
    (
        PromptPair((BOS, 5, 9, 3, 17), (BOS, 5, 12, 3, 17), 4, 7),
        PromptPair((BOS, 7, 8, 2, 11, 4), (BOS, 7, 8, 20, 15, 4), 9, 2),
        PromptPair((5, 6, 2, 8), (14, 6, 2, 8), 3, 13),
        PromptPair((BOS, 18, 4, 6), (BOS, 18, 21, 6), 12, 5),
        PromptPair((BOS, 2, 19, 10, 3, 7, 6), (BOS, 2, 19, 10, 22, 7, 6), 8, 16),
        PromptPair((BOS, 13, 5, 5), (BOS, 13, 9, 5), 2, 21),
        PromptPair((BOS, 4, 16, 14, 9), (BOS, 4, 3, 14, 9), 10, 6),
        PromptPair((BOS, 11, 20, 2), (BOS, 11, 7, 2), 19, 3),
    )
)


def planted_world(kind: str, mode: ErrorMode) -> SplicedModel:
    """SAEs whose gates stand at their threshold in the clean runs of `PAIRS` in a mode, at three positions.

    In `zero` mode what arrives at a site depends on the SAEs before it, so they are planted one after the other.
    """
    model = bridge(kind, 3)
    saes = saes_on(model, SITES, NORMS)
    batch = PAIRS.batch()
    for site in SITES:
        spliced = SplicedModel(model, saes, dtype=torch.float64)
        recording = spliced.record(batch.clean_ids, batch.last, mode)
        saes[site] = _planted(saes[site], recording, site)
    return SplicedModel(model, saes, dtype=torch.float64)


def _planted(sae: SAE, recording: Recording, site: str) -> SAE:
    x, _ = normalise(recording.sites[site].arrival.double(), sae.normalisation)
    p = sae.project(x)
    rows = [0, 1, 4]
    at = p[rows, [int(recording.last[row]) - n for n, row in enumerate(rows)]]  # also where a patch arrives
    if isinstance(sae, TopK):
        b = sae.b_enc.clone()
        order = (at[0] + b).argsort(descending=True)[sae.k - 1 : sae.k - 1 + PLANTED]
        b[order] = (at[0] + b)[order[0]] - at[0][order]
        return replace(sae, b_enc=b)
    name = next(name for name in ("threshold", "b_gate", "b_enc") if name in sae.margin_tensors)
    constants, free = getattr(sae, name).clone(), torch.ones(sae.d_sae, dtype=torch.bool)
    for own in at:
        value, _ = sae.value_and_margin(own)
        feature = int(torch.where(free, value, -torch.inf).argmax())
        assert value[feature] > 0
        constants[feature] = value[feature] if name == "threshold" else -own[feature]
        free[feature] = False
    return replace(sae, **{name: constants})


def roundings_from_threshold(spliced: SplicedModel, recording: Recording) -> float:
    """The least |margin| of a gate that would jump, in roundings of the terms that it is made of."""
    least = torch.inf
    for site, record in recording.sites.items():
        sae = spliced.saes[site]
        encoding = sae.encode(record.arrival)
        if encoding.margin is None:
            continue
        of_one = rounding(sae, record.arrival, encoding)
        jumps = recording.spliced[..., None] & (encoding.value > ROUNDINGS * of_one)
        if jumps.any():
            least = min(least, float((encoding.margin.abs() / of_one)[jumps].min()))
    return least
