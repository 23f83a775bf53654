"""The cost of estimates of all nodes, in operations and FLOPs of forwards and backwards of whole prompts.

    F   a forward: two FLOPs for each entry of the blocks' matrices at each position, and the last position's logits
    E   all encoders and decoders at each position, two each way; only where an error mode runs through them
    B   a backward: as much as its forward, since no parameter has a gradient

    atp        2 (F + E) + B                        ig         2 (F + E) + Σ over sites (q (F + B) + F) from the site on
    ig-input   2 (F + E) + (2q − 1) (F + E) + q B   chord-ig   2 (F + E) + q F + q Σ over stretches of their B

A multiply-add counts as 2. Attention scores, and everything that is not a matrix product, are left out of the FLOPs.
The q points run side by side: they cost FLOPs, but no more operations. A block launches about `BLOCK` operations and
the encoder and decoder of a site about `SITE`, forward or backward, whatever the architecture.
"""

from dataclasses import replace
from typing import Final

from torch import nn

from attribution.chord.stretches import METRIC, Stretch, sections
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of
from attribution.runs.pace import Work
from attribution.splice.recording import ErrorMode
from attribution.splice.resuming import TOKENS, first_block_after
from attribution.splice.spliced_model import SplicedModel

PRICED_METHODS = ("atp", "ig", "ig-input", "chord-ig")
BLOCK: Final = 50
SITE: Final = 60
_ATTENTION_SHARE = 1 / 3
"""Approximate share of attention in a block's matrices."""


def block_flops(model: LanguageModel) -> list[float]:
    """FLOPs of each block at one position."""
    return [_matrix_flops(block) for block in model.module.blocks]


def head_flops(model: LanguageModel) -> float:
    """FLOPs of all logits of one position."""
    return 2.0 * model.d_model * model.d_vocab


def forward_work(spliced: SplicedModel, rows: int, positions: int) -> Work:
    """A forward of the bare model over `rows` prompts with `positions` positions in total, as one batch."""
    blocks = block_flops(spliced.model)
    return Work(BLOCK * len(blocks), positions * sum(blocks) + rows * head_flops(spliced.model))


def encoders_work(spliced: SplicedModel, positions: int) -> Work:
    """All encoders and decoders once at so many positions, as one batch."""
    sizes = [sae.d_in * sae.d_sae for sae in spliced.saes.values()]
    return Work(SITE * len(sizes), 4.0 * positions * sum(sizes))


def sweep_work(
    method: str, spliced: SplicedModel, rows: int, positions: int, error_mode: ErrorMode, points: int, batches: int = 1
) -> Work:
    """A method in `PRICED_METHODS` over `rows` pairs whose prompts have `positions` positions in total.

    Raises:
        ValueError: the cost of the method is not known.
    """
    if method not in PRICED_METHODS:
        raise ValueError(f"The cost of {method!r} is not known. Choose one of: {', '.join(PRICED_METHODS)}.")
    of_a_batch = _batch_work(method, spliced, rows, positions, error_mode, points)
    return replace(of_a_batch, operations=batches * of_a_batch.operations)


def _batch_work(
    method: str, spliced: SplicedModel, rows: int, positions: int, error_mode: ErrorMode, points: int
) -> Work:
    blocks = [Work(BLOCK, positions * flops) for flops in block_flops(spliced.model)]
    head = Work(0, rows * head_flops(spliced.model))
    whole, encoders = forward_work(spliced, rows, positions), encoders_work(spliced, positions)
    through = Work() if error_mode == "live" else encoders
    recorded = 2 * (whole + encoders)
    if method == "atp":
        return recorded + whole + through
    if method == "ig":
        ends = [sum(blocks[start:], head + 0.5 * through) for start in map(_block_of_site, (TOKENS, *spliced.sites))]
        return sum((2 * one.side_by_side(points) + one for one in ends), recorded)
    if method == "ig-input":
        on_path, between = (whole + encoders).side_by_side(points), (whole + encoders).side_by_side(points - 1)
        return recorded + on_path + between + (whole + through).side_by_side(points)
    swept = [
        sum((_share_of_block(stretch, n) * block for n, block in enumerate(blocks)), head * (stretch.target == METRIC))
        for section in sections(spliced.sites)
        for stretch in section.stretches()
    ]
    secants = Work(3 * through.operations, through.flops)
    return recorded + sum(swept, whole).side_by_side(points) + secants


def _share_of_block(stretch: Stretch, number: int) -> float:
    """The share of a block that a stretch's backward passes; a part whose output is a leaf is not passed."""
    start, target = _first_block_run(stretch.leaves[0]), stretch.target
    last = None if target == METRIC else layer_of(target)
    if number < start or (last is not None and number > last):
        return 0.0
    leaves = {site.split(".", 2)[2] for site in stretch.leaves[1:] if layer_of(site) == number}
    attention = 0.0 if leaves & {"hook_attn_out", "attn.hook_z"} else _ATTENTION_SHARE
    if last == number and target.endswith(("hook_attn_out", "attn.hook_z")):
        return _ATTENTION_SHARE
    mlp = 0.0 if "hook_mlp_out" in leaves else 1 - _ATTENTION_SHARE
    return 0.0 if target.endswith("hook_resid_pre") and last == number else attention + mlp


def _first_block_run(site: str) -> int:
    return 0 if site == TOKENS else first_block_after(site)


def _block_of_site(site: str) -> int:
    return 0 if site == TOKENS else layer_of(site)


def _matrix_flops(block: nn.Module) -> float:
    return 2.0 * sum(weight.numel() for weight in block.parameters() if weight.ndim > 1)
