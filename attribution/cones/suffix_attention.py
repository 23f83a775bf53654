"""Attention of a text's last positions. Keys and values of earlier positions are known and shared by all runs."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.plain_blocks import PlainBlock


def suffix_attention(
    block: PlainBlock,
    queries: Float[Tensor, "run query head d_head"],
    keys: Float[Tensor, "run new group d_head"],
    values: Float[Tensor, "run new group d_head"],
    old_keys: Float[Tensor, "old group d_head"],
    old_values: Float[Tensor, "old group d_head"],
    shown: Bool[Tensor, "runs query key"],
) -> Float[Tensor, "run query head d_head"]:
    """z of some queries over the old keys, which are not copied for each run, followed by the new keys.

    Each group of heads shares its keys and values. `shown` is one mask for all runs, or one for each.
    """
    old, wanted, dtype = len(old_keys), queries.shape[1], values.dtype
    if block.scores_in is not None:
        queries, keys, old_keys = (part.to(block.scores_in) for part in (queries, keys, old_keys))
    grouped = rearrange(queries, "r q (g h) e -> g r (h q) e", g=keys.shape[2])
    with_old = torch.einsum("g r x e, k g e -> g r x k", grouped, old_keys)
    with_new = torch.einsum("g r x e, r k g e -> g r x k", grouped, keys)
    scores = torch.cat([with_old, with_new], -1).mul_(block.scaling)  # in place, here and below: scores are large
    del with_old, with_new
    if block.softcap is not None:
        scores = block.softcap * torch.tanh(scores / block.softcap)
    by_query = rearrange(scores, "g r (h q) k -> g r h q k", q=wanted).masked_fill_(~shown[:, None], -torch.inf)
    pattern = torch.softmax(by_query, -1, dtype=block.softmax_in).to(dtype).flatten(2, 3)
    mixed = torch.einsum("g r x k, k g e -> g r x e", pattern[..., :old], old_values)
    mixed = mixed + torch.einsum("g r x k, r k g e -> g r x e", pattern[..., old:], values)
    return rearrange(mixed, "g r (h q) e -> r q (g h) e", q=wanted)


def visible_keys(
    keys: Int[Tensor, "runs key"], queries: Int[Tensor, "runs query"], window: int | None
) -> Bool[Tensor, "runs query key"]:
    """Which keys a query sees, by position: itself and earlier ones, within the attention window.

    Negative positions lie before a text begins. They see only each other, and nothing else sees them.
    """
    key, query = keys[:, None, :], queries[:, :, None]
    shown = (key <= query) & ((key >= 0) | (query < 0))
    return shown if window is None else shown & (key > query - window)
