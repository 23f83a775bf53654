"""The tokens that a feature's decoder direction promotes and suppresses when it is unembedded directly.

    weight_v(f) = w_v − mean over the vocabulary of w,      w = unembed(norm(d)) − unembed(norm(0))
    d = W_dec[f]          at the residual stream, attn_out and mlp_out
    d = W_dec[f] W_O      at hook_z, the heads flattened

The final norm's scale is positive and the same for all tokens, so it does not change how w ranks them. This is a linear
approximation: at a real residual stream x the direction also changes the scale, which adds a multiple of x's own
logits. What later layers make of the direction is left out. Costs one evaluation of the unembedding for each feature.
Source: nostalgebraist 2020 (logit lens).
"""

import re
from collections.abc import Sequence
from typing import Final

from jaxtyping import Float
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of

_ADDED_TO_STREAM: Final = re.compile(
    r"blocks\.\d+\.(hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)|attn\.hook_z)"
)


def is_added_to_stream(site: str) -> bool:
    """True if features at this site are added to the residual stream, directly or through W_O."""
    return _ADDED_TO_STREAM.fullmatch(site) is not None


def logit_weights(model: LanguageModel, sae: SAE, site: str, features: Sequence[int]) -> Float[Tensor, "feature vocab"]:
    """The logits of each feature's direction alone, scaled to root mean square 1, minus their mean over tokens.

    Raises:
        ValueError: features at this site are not added to the residual stream.
    """
    if not is_added_to_stream(site):
        raise ValueError(f"Features at {site!r} are not added to the residual stream: they promote no token directly.")
    directions = sae.W_dec[list(features)]
    if site.endswith("hook_z"):
        W_O, _ = model.attention_output(layer_of(site))
        directions = directions @ W_O.flatten(0, 1).to(directions.dtype)
    weights = model.direct_logits(directions)
    return weights - weights.mean(-1, keepdim=True)
