"""Runs of one text with sites written by plain hooks, one forward each."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tests.worlds.tiny_models import World


def log_probabilities(
    world: World, ids: Sequence[int], sites: Sequence[str], values: Mapping[str, Tensor] | None = None
) -> Tensor:
    """[pos, vocab], where the given sites write their reconstruction, or these values; BOS is left alone."""

    def write(site: str) -> Callable[..., Tensor]:
        def function(x: Tensor, hook: object = None) -> Tensor:
            sae, flat = world.saes[site], x.flatten(2)
            encoding = sae.encode(flat)
            written = (
                sae.decode(encoding.features, encoding.frame)
                if values is None
                else values[site].to(flat).expand_as(flat)
            )
            y = written.clone()
            if ids[0] == world.model.bos_id:
                y[:, 0] = flat[:, 0]
            return y.reshape(x.shape)

        return function

    with torch.no_grad():
        logits = world.model.module.run_with_hooks(torch.tensor([ids]), fwd_hooks=[(s, write(s)) for s in sites])
    return logits[0].log_softmax(-1)


def arrivals(world: World, texts: Sequence[Sequence[int]], site: str) -> Tensor:
    """[position, width]: what arrives at a site in the bare model, without BOS."""
    rows = []
    for ids in texts:
        with torch.no_grad():
            _, cache = world.model.module.run_with_cache(torch.tensor([ids]))
        rows.append(cache[site].flatten(2)[0][1 if ids[0] == world.model.bos_id else 0 :])
    return torch.cat(rows)
