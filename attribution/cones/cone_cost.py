"""The cost of patching in cones, in FLOPs, predicted from the shapes, counts and positions of the patches.

    FLOPs = Σ over batches Σ over blocks from the entered one on
                runs · [positions · (q, k, v) + wanted positions · (output + MLP + encodes + keys · heads)]
          + Σ over runs of what their own site needs and the logits that the metric reads

A multiply-add is 2 FLOPs. Only matrix products count: no norms, softmax, activation functions or gathers, and not the
decoding of active features (about L0 / d_sae of its encoding). `executed` follows `cone.py` and includes the padding of
unequal runs and masked keys. `bound` is each run alone: from its own position on, keys that it can see, one query in
the last block for each position that the metric reads.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from attribution.cones.cone import Cone
from attribution.cones.plain_run import PlainLayer, part_of
from attribution.effects.patches import Patches
from attribution.runs.memory import BYTES_AT_ONCE
from attribution.splice.resuming import TOKENS


@dataclass(frozen=True)
class ConeCost:
    """FLOPs of patching: `executed` in batches, and `bound`, which no grouping of runs can avoid."""

    executed: float = 0.0
    bound: float = 0.0

    def __add__(self, other: "ConeCost") -> "ConeCost":
        return ConeCost(self.executed + other.executed, self.bound + other.bound)

    def __mul__(self, times: float | int) -> "ConeCost":
        return ConeCost(self.executed * times, self.bound * times)


def cone_flops(cone: Cone, patches: Sequence[Patches], logits: int = 2, bytes_at_once: int = BYTES_AT_ONCE) -> ConeCost:
    """FLOPs of `effects_in_cones` with these arguments, if the metric reads so many logits of each run."""
    pricing = _Pricing.of(cone)
    unread = _product_flops(pricing.layers[0].width, logits) * cone.read.shape[1]
    total = ConeCost(unread, 0.0) * len(cone.read)  # the clean metric
    entering: dict[int, list[Tensor]] = {}
    for patch in patches:
        block, places = cone.entered_block(patch.site), torch.stack([patch.row, patch.pos])
        reaches = patch.pos <= cone.ends[patch.row]
        if block == len(cone.layers):
            reaches = (cone.read[patch.row] == patch.pos[:, None]).any(1)
        places = places[:, reaches]
        entering.setdefault(block, []).append(places)
        own = pricing.start(patch.site) + unread
        total += ConeCost(own, own) * places.shape[1]
    for block, found in entering.items():
        if block < len(cone.layers):
            row, pos = torch.cat(found, 1)
            total += ConeCost(
                _executed(cone, pricing, block, row, pos, bytes_at_once), _bound(cone, pricing, block, row, pos)
            )
    return total


def _executed(cone: Cone, pricing: "_Pricing", block: int, row: Tensor, pos: Tensor, bytes_at_once: int) -> float:
    """FLOPs of all blocks from the entered one on, in the batches that are executed."""
    total = 0.0
    for wave in cone.waves(row, pos, bytes_at_once):
        for batch in wave:
            length = int(cone.lengths(row[batch], pos[batch]).max())
            keys = max(length, int(cone.ends[row[batch]].max()) + 1)
            total += len(batch) * pricing.executed(block, length, keys)
    return total


def _bound(cone: Cone, pricing: "_Pricing", block: int, row: Tensor, pos: Tensor) -> float:
    """FLOPs of all blocks from the entered one on, each run alone."""
    places, counts = torch.unique(torch.cat([pos[None], cone.read[row].T]), dim=1, return_counts=True)
    each = zip(places.T.tolist(), counts.tolist(), strict=True)
    return math.fsum(count * pricing.bound(block, first, read) for (first, *read), count in each)


@dataclass(frozen=True)
class _LayerPrice:
    """FLOPs of one block's parts at one position; `pair` is one query with one key, in all heads together."""

    width: int
    queries: float
    keys_values: float
    output: float
    mlp: float
    pair: float
    encodes: dict[str, float]
    parallel: bool
    window: int | None

    @property
    def written(self) -> float:
        """FLOPs from z to the input of the next block, at one position."""
        return self.output + self.mlp + sum(self.encodes.values())

    def seen(self, pos: int) -> int:
        """Number of keys that the query at `pos` can see."""
        return pos + 1 if self.window is None else min(pos + 1, self.window)


@dataclass(frozen=True)
class _Pricing:
    layers: tuple[_LayerPrice, ...]
    entry: float
    """FLOPs of the encoder at block 0's input."""
    read: int
    """Positions that the metric reads."""

    @classmethod
    def of(cls, cone: Cone) -> "_Pricing":
        layers = tuple(_layer_price(cone, number) for number in range(len(cone.layers)))
        return cls(layers, _encoder_flops(cone, "blocks.0.hook_resid_pre"), cone.read.shape[1])

    def start(self, site: str) -> float:
        """FLOPs from a site's output to the input of the block above it, as in `Cone.start`."""
        if site == TOKENS:
            return self.entry
        layer, part = self.layers[int(site.split(".")[1])], part_of(site)
        if part == "hook_resid_pre":
            return 0.0
        cost = layer.encodes["next"]
        if part == "hook_resid_post":
            return cost
        cost += layer.encodes["hook_resid_post"]
        if part == "attn.hook_z":
            cost += layer.output + layer.encodes["hook_attn_out"]
        if part != "hook_mlp_out" and not layer.parallel:
            cost += layer.mlp + layer.encodes["hook_mlp_out"]
        return cost

    def executed(self, block: int, length: int, keys: int) -> float:
        """FLOPs of one run in a batch whose window has `length` positions and whose queries see `keys` keys."""
        total = 0.0
        for number in range(block, len(self.layers)):
            layer = self.layers[number]
            wanted = self.read if number == len(self.layers) - 1 else length
            total += (1 if number == block else length) * (layer.queries + layer.keys_values)
            total += wanted * (layer.written + keys * layer.pair)
        return total

    def bound(self, block: int, pos: int, read: Sequence[int]) -> float:
        """FLOPs of one run alone, from its position `pos` to the last of those that are read."""
        last = max(read)
        total, length = 0.0, last + 1 - pos
        for number in range(block, len(self.layers)):
            layer = self.layers[number]
            at_the_end = {place for place in read if place >= pos}
            wanted = at_the_end if number == len(self.layers) - 1 else range(pos, last + 1)
            new_queries = len(wanted) if number > block else int(pos in wanted)
            total += (1 if number == block else length) * layer.keys_values + new_queries * layer.queries
            total += len(wanted) * layer.written + sum(map(layer.seen, wanted)) * layer.pair
        return total


def _layer_price(cone: Cone, number: int) -> _LayerPrice:
    layer = cone.layers[number]
    width, heads, d_head = layer.inputs.shape[-1], *layer.queries.shape[2:]
    queries = _product_flops(width, heads * d_head)
    parts = ("attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    encodes = {part: _encoder_flops(cone, f"blocks.{number}.{part}") for part in parts}
    return _LayerPrice(
        width=width,
        queries=queries,
        keys_values=_counted_flops(layer, layer.block.queries_keys_values, width) - queries,
        output=_counted_flops(layer, layer.block.output, heads * d_head),
        mlp=_counted_flops(layer, layer.block.mlp, width),
        pair=4.0 * heads * d_head,
        encodes={**encodes, "next": _encoder_flops(cone, f"blocks.{number + 1}.hook_resid_pre")},
        parallel=layer.block.parallel,
        window=layer.block.window,
    )


def _encoder_flops(cone: Cone, site: str) -> float:
    """FLOPs of a site's encoder at one position; 0 if the error mode passes no encoder."""
    sae = cone.spliced.saes.get(site)
    return 0.0 if sae is None or cone.error_mode == "live" else _product_flops(sae.d_in, sae.d_sae)


def _product_flops(rows: int, columns: int) -> float:
    return 2.0 * rows * columns


def _counted_flops(layer: PlainLayer, part: Callable[[Tensor], object], width: int) -> float:
    """FLOPs of one part of a block at one position."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        part(layer.inputs.new_zeros(1, 1, width))
    return float(counter.get_total_flops())
