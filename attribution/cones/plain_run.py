"""A recorded run seen again through plain blocks: what every block read, its keys and values, what its parts wrote.

One pass over the recorded inputs of all blocks. It is also the proof that the plain blocks are the model's: each
activation that was recorded is compared with what they compute, and a difference is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.cones.suffix_attention import suffix_attention, visible_keys
from attribution.models.architectures import UnknownArchitecture
from attribution.models.language_model import LanguageModel
from attribution.models.plain_blocks import PlainBlock, PlainModel, Rotation, rotated, rotation_in_halves
from attribution.models.site_names import layer_of
from attribution.splice.recording import Recording, SiteRecord
from attribution.splice.resuming import at_positions

BLOCK_SITES = ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
"""The sites of a block that a cone can start from, in the order of the forward pass."""

PARTS = ("attn.hook_z", "hook_attn_out", "hook_mlp_out")
"""Those of them that lie inside the block."""

TOLERANCE = 1e-4
"""Of the largest entry: far above what the order of sums does in float32, far below what a wrong weight does."""

ROUNDINGS = 8
"""In half precision rounding is larger: so many units in the last place of the largest entry."""


class Disagreement(UnknownArchitecture):
    """The plain blocks compute something else than the model."""


@dataclass(frozen=True)
class PlainLayer:
    """One block in the recorded run.

    Queries and keys are rotated by `rotation`. `attention` and `mlp` are what was written back; None where no site lies
    between them, so that no patch asks for them.
    """

    block: PlainBlock
    inputs: Float[Tensor, "row pos d_model"]
    queries: Float[Tensor, "row pos head d_head"]
    keys: Float[Tensor, "row pos group d_head"]
    values: Float[Tensor, "row pos group d_head"]
    attention: Float[Tensor, "row pos d_model"] | None
    mlp: Float[Tensor, "row pos d_model"] | None
    site_before_norm: Mapping[str, bool]
    """By part (`hook_attn_out`, `hook_mlp_out`): whether the site lies before the norm that follows the part."""
    rotation: Rotation | None


@dataclass(frozen=True)
class PlainRun:
    """All blocks of the recorded run, and the residual stream after the last one."""

    layers: tuple[PlainLayer, ...]
    end: Float[Tensor, "row pos d_model"]


def part_of(site: str) -> str:
    """The name of a site within its block.

    Raises:
        UnknownArchitecture: a cone cannot start from the site.
    """
    part = site.split(".", 2)[2]
    if part not in BLOCK_SITES:
        raise UnknownArchitecture(f"sites at {part}")
    return part


def plain_run(model: LanguageModel, plain: PlainModel, recording: Recording) -> PlainRun:
    """Every block of a recorded run, checked against the recording.

    Raises:
        Disagreement: a block computes something else than the model did.
        UnknownArchitecture: a site is not one of `BLOCK_SITES`.
    """
    sites = {(layer_of(s), part_of(s)): r for s, r in recording.sites.items()}
    found: list[PlainLayer] = []
    end = recording.entry.detach()
    for layer, block in enumerate(plain.blocks):
        record = {part: sites.get((layer, part)) for part in BLOCK_SITES}
        made, end = _plain_layer(layer, block, record, recording, _rotation(plain, layer, recording))
        found.append(made)
    _compare_logits(model, end, recording)
    return PlainRun(tuple(found), end)


def _rotation(plain: PlainModel, layer: int, recording: Recording) -> Rotation | None:
    """The rotation of each position in one layer: what the run handed to the block, else the model's table."""
    handed = recording.block_calls[layer].keywords.get("position_embeddings")
    if isinstance(handed, tuple):
        rotation = handed[0][0], handed[1][0]
    elif plain.rotation is not None:
        rotation = plain.rotation(recording.ids.shape[1])
    else:
        return None
    return rotation_in_halves(rotation) if plain.blocks[layer].interleaved else rotation


def _plain_layer(
    layer: int,
    block: PlainBlock,
    record: Mapping[str, SiteRecord | None],
    recording: Recording,
    rotation: Rotation | None,
) -> tuple[PlainLayer, Float[Tensor, "row pos d_model"]]:
    """One block, and the residual stream after it."""
    last, pre, post = recording.last, record["hook_resid_pre"], record["hook_resid_post"]
    x = recording.block_inputs[layer] if pre is None else pre.output
    q, k, v = block.queries_keys_values(block.norm(x))
    q, k = rotated(q, rotation), rotated(k, rotation)
    here = torch.arange(x.shape[1], device=x.device)[None]
    z = suffix_attention(block, q, k, v, k[0, :0], v[0, :0], visible_keys(here, here, block.window)).flatten(2)
    if (at_z := record["attn.hook_z"]) is not None:
        _compare("attention's heads", layer, at_z.arrival, z, last)
        z = at_z.output
    before: dict[str, bool] = {}
    attention = _part_written(block, "hook_attn_out", block.output(z), record, before, layer, last)
    mlp = _part_written(block, "hook_mlp_out", block.mlp_written(x, attention), record, before, layer, last)
    after = x + attention + mlp
    arrived = _next_input(recording, layer) if post is None else post.arrival
    if arrived is not None:
        _compare("the block's output", layer, arrived, after, last)
    asked = any(record[part] is not None for part in PARTS)
    parts = (attention, mlp) if asked else (None, None)
    made = PlainLayer(block, x, q, k, v, *parts, before, rotation)
    return made, after if post is None else post.output


def _compare_logits(model: LanguageModel, end: Float[Tensor, "row pos d_model"], recording: Recording) -> None:
    logits = model.head(at_positions(end, recording.read))
    logits = logits if recording.logits.ndim == 3 else logits[:, 0]
    if (logits - recording.logits).abs().max() > _tolerance(logits) * recording.logits.abs().max():
        raise Disagreement("the logits of plain blocks differ from the model's.")


def _part_written(
    block: PlainBlock,
    part: str,
    written: Tensor,
    record: Mapping[str, SiteRecord | None],
    before: dict[str, bool],
    layer: int,
    last: Tensor,
) -> Tensor:
    """What attention or the MLP adds to the stream, after its site and norm in the order that the recording shows."""
    norm = block.norm_after(part)
    site = record[part]
    normed = written if norm is None else norm(written)
    if site is None:
        return normed
    before[part] = norm is not None and _agree(site.arrival, written, last)
    _compare(part, layer, site.arrival, written if before[part] else normed, last)
    return norm(site.output) if before[part] and norm is not None else site.output


def _next_input(recording: Recording, layer: int) -> Tensor | None:
    return recording.block_inputs[layer + 1] if layer + 1 < len(recording.block_inputs) else None


def _compare(what: str, layer: int, recorded: Tensor, computed: Tensor, last: Tensor) -> None:
    if not _agree(recorded, computed, last):
        raise Disagreement(f"layer {layer}: {what} of plain blocks differs from the model's.")


def _agree(recorded: Tensor, computed: Tensor, last: Tensor) -> bool:
    """Equal within rounding at all positions but padding."""
    real = torch.arange(recorded.shape[1], device=last.device) <= last[:, None]
    recorded, computed = recorded[real], computed[real]
    return bool((recorded - computed).abs().max() <= _tolerance(computed) * recorded.abs().max())


def _tolerance(computed: Tensor) -> float:
    return max(TOLERANCE, ROUNDINGS * torch.finfo(computed.dtype).eps)
