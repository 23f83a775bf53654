"""A language model that ends in a probe: tokens in, the probe's logit out.

    logits(ids) = probe(x_site)      one number for each position

Every method that measures effects on a model's logits (exact patching, AtP, IG, in every error mode) can then measure
them on a probe. Metrics read the last position, and so does the probe. If the probe's site is in the residual
stream, runs start inside the model as usual, and end at the probe.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attribution.models.hooks import hooked, logits_with
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of
from attribution.models.soundness import activation_widths
from attribution.prompts.metrics import Metric
from attribution.splice.resuming import first_block_after
from attribution.splice.spliced_model import SplicedModel
from circuits.shift.linear_probe import LinearProbe

probe_logit: Final = Metric("probe_logit", "nats", of=lambda logits, _batch: logits[:, 0])
"""The probe's log odds of class 1 at the last position."""


class _Probed(nn.Module):
    """The module that `LanguageModel` wraps: the blocks up to the probe's site, with the probe as the unembedding."""

    def __init__(self, model: LanguageModel, site: str, probe: LinearProbe) -> None:
        super().__init__()
        self.whole = model.module
        if model.is_bridge:
            self.original_model = model.module.original_model
        self.language_model, self.site = model, site
        self.blocks = list(model.module.blocks)[: first_block_after(site)]
        self.unembed = nn.Linear(len(probe.weight), 1, dtype=model.dtype, device=model.device)
        with torch.no_grad():
            self.unembed.weight[:] = probe.weight
            self.unembed.bias[:] = probe.bias
        self.cfg = SimpleNamespace(d_model=model.d_model, d_vocab=model.d_vocab, n_ctx=model.n_context)
        self.hook_dict = {n: h for n, h in model.module.hook_dict.items() if _is_before(n, site)}

    def forward(self, ids: Tensor, **_: Any) -> Float[Tensor, "row pos 1"]:
        arrived: list[Tensor] = []

        def read(x: Tensor) -> Tensor:
            arrived.append(x)
            return x

        with hooked(self.language_model, {self.site: read}):
            self.language_model.logits(ids)
        return self.unembed(arrived[0])


def _is_before(name: str, site: str) -> bool:
    """False for hooks in blocks after the site's."""
    return not name.startswith("blocks.") or layer_of(name) <= layer_of(site)


def ending_in_probe(spliced: SplicedModel, site: str, probe: LinearProbe) -> SplicedModel:
    """The spliced model up to a site, where the probe ends it, with the SAEs before and at the site.

    Effects that are measured on it with `probe_logit` are changes of the probe's logit, in nats.

    Raises:
        ValueError: no SAE is spliced in at or before the site.
    """
    site = spliced.model.resolve(site)
    upstream = upstream_sites(spliced, site)
    if not upstream:
        raise ValueError(
            f"No SAE is spliced in at or before {site!r}, so a probe there has no features. Splice one in, or probe a "
            "later site."
        )
    model = LanguageModel(
        _Probed(spliced.model, site, probe),
        spliced.model.tokenizer,
        name=f"{spliced.model.name}, probe at {site}",
        bos=spliced.model.bos,
    )
    saes = {s: spliced.saes[s] for s in upstream}
    return SplicedModel(model, saes, splice_bos=spliced.splice_bos, dtype=next(iter(saes.values())).W_dec.dtype)


def upstream_sites(spliced: SplicedModel, site: str) -> tuple[str, ...]:
    """The spliced sites that the forward pass reaches before a site, and the site itself if it is spliced."""
    model, asked = spliced.model, spliced.model.resolve(site)
    layer_of(asked)
    sites = tuple(dict.fromkeys((*spliced.sites, asked)))
    order = list(activation_widths(sites, model.probe_ids(), partial(logits_with, model)))
    return tuple(s for s in order[: order.index(asked) + 1] if s in spliced.saes)
