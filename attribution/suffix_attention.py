"""Attention of the last positions of a text: keys and values of the first ones are known, and shared by all runs."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from attribution.plain_blocks import PlainBlock


def suffix_attention(
    block: PlainBlock,
    queries: Float[Tensor, "run query head d_head"],
    keys: Float[Tensor, "run new group d_head"],
    values: Float[Tensor, "run new group d_head"],
    old_keys: Float[Tensor, "old group d_head"],
    old_values: Float[Tensor, "old group d_head"],
) -> Float[Tensor, "run query head d_head"]:
    """z of the last `query` positions. Old and new keys together are those of all positions up to the last.

    Each group of heads shares its keys and values. The old ones are not copied for each run.
    """
    old, new, wanted = len(old_keys), keys.shape[1], queries.shape[1]
    grouped = rearrange(queries, "r q (g h) e -> g r (h q) e", g=keys.shape[2])
    with_old = torch.einsum("g r x e, k g e -> g r x k", grouped, old_keys)
    with_new = torch.einsum("g r x e, r k g e -> g r x k", grouped, keys)
    scores = block.scaling * torch.cat([with_old, with_new], -1)
    if block.softcap is not None:
        scores = block.softcap * torch.tanh(scores / block.softcap)
    shown = _visible(old + new, wanted, block.window, scores.device)
    heads = queries.shape[2] // keys.shape[2]
    scores = scores.masked_fill(~repeat(shown, "q k -> (h q) k", h=heads), -torch.inf)
    pattern = torch.softmax(scores, -1, dtype=block.softmax_in).to(scores.dtype)
    mixed = torch.einsum("g r x k, k g e -> g r x e", pattern[..., :old], old_values)
    mixed = mixed + torch.einsum("g r x k, r k g e -> g r x e", pattern[..., old:], values)
    return rearrange(mixed, "g r (h q) e -> r q (g h) e", q=wanted)


def _visible(keys: int, queries: int, window: int | None, device: torch.device) -> Tensor:
    """[query, key]: a query, one of the last positions, sees itself and what stands before it, within the window."""
    key = torch.arange(keys, device=device)
    query = key[keys - queries :, None]
    shown = key <= query
    return shown if window is None else shown & (key > query - window)
