"""Which tokens a feature's decoder direction promotes and suppresses when it is read out directly.

    weight_v(f) = w_v − mean over the vocabulary of w,      w = unembed(norm(d)) − unembed(norm(0))
    d = W_dec[f]          at the residual stream, attn_out and mlp_out
    d = W_dec[f] W_O      at hook_z, the heads flattened

The final norm's scale is positive and common to all tokens, so w has the ranking of the direction through the norm's
weight and the unembedding. Linearised: at a real residual stream x the direction also changes that scale, which adds
a multiple of x's own logits; what later layers make of the direction is left out. One head evaluation for each feature.
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

_ADDED: Final = re.compile(r"blocks\.\d+\.(hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)|attn\.hook_z)")


def is_added_to_stream(site: str) -> bool:
    """True where a feature's direction ends up in the residual stream, as it is or through W_O."""
    return _ADDED.fullmatch(site) is not None


def logit_weights(model: LanguageModel, sae: SAE, site: str, features: Sequence[int]) -> Float[Tensor, "feature vocab"]:
    """Logits that each feature's direction alone gives (at root mean square 1), relative to their mean over tokens.

    Raises:
        ValueError: a site whose features are not added to the residual stream.
    """
    if not is_added_to_stream(site):
        raise ValueError(f"Features at {site!r} are not added to the residual stream: they promote no token directly.")
    directions = sae.W_dec[list(features)]
    if site.endswith("hook_z"):
        W_O, _ = model.attention_output(layer_of(site))
        directions = directions @ W_O.flatten(0, 1).to(directions.dtype)
    weights = model.direct_logits(directions)
    return weights - weights.mean(-1, keepdim=True)
