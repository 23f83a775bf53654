"""What a model proves before anything is measured on it, on prompts of a few random tokens.

    finite     its logits are finite
    causal     the logits at a position do not change when the tokens that follow change
    padding    nor when more tokens follow, nor when a longer prompt stands beside it in the batch
    resuming   its blocks, called one by one with the arguments of a whole run taken for other rows, permuted and
               repeated, give the logits of the whole run

A model that fails one of the first two is refused, unless it is given as one that looks both ways. If longer batches
change logits, prompts of unequal length are not put into one batch. If blocks cannot be resumed, every patched run
starts at the tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.models.block_calls import BlockCall, RowAxes, axes_of_blocks
from attribution.models.hooks import logits_with, watched
from attribution.models.language_model import LanguageModel
from attribution.models.prompt_lengths import PromptLengths, lengths_by_configuration

_SHORT: Final = 5
_LONG: Final = 8
_ROWS: Final = (3, 5)
"""Prompts in the two batches that show which axes of a block's arguments hold the rows."""
_TOLERANCES: Final = {torch.float64: 1e-6, torch.float32: 1e-4}
_TOLERANCE_LOW_PRECISION: Final = 5e-2
"""Largest difference of logits that rounding makes, as a share of their spread. Many models take softmax in float32."""


@dataclass(frozen=True)
class Proof:
    """What a model has proved.

    Attributes:
        lengths: which lengths of prompts compute alike.
        axes: for each block, where its arguments hold the rows.
        resumes: runs may start at any block.
    """

    lengths: PromptLengths
    axes: tuple[RowAxes, ...]
    resumes: bool


def prove(model: LanguageModel) -> Proof:
    """Prove what the file's docstring lists.

    Raises:
        ValueError: logits that are not finite, or that depend on later tokens or on other prompts of the batch.
    """
    short = _random_ids(model, _ROWS[0], _SHORT, seed=1)
    with torch.no_grad(), model.frozen():
        alone = model.logits(short)
        _refuse_infinite(model, short, alone)
        lengths = _lengths(model, short, alone)
        axes = _row_axes(model)
        return Proof(lengths, axes, _resumes(model, axes))


def _random_ids(model: LanguageModel, rows: int, length: int, seed: int) -> Int[Tensor, "row pos"]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.d_vocab, (rows, length), generator=generator).to(model.device)
    if model.bos_id is not None and model.bos_id < model.d_vocab:
        ids[:, 0] = model.bos_id
    return ids


def _refuse_infinite(model: LanguageModel, ids: Int[Tensor, "row pos"], logits: Float[Tensor, "row pos vocab"]) -> None:
    if torch.isfinite(logits).all():
        return
    named = {module: name for name, module in model.module.named_modules()}
    with watched(named) as calls:
        model.logits(ids)
    first = next((named[m] for m, output in calls.outputs.items() if not torch.isfinite(output).all()), "the logits")
    raise ValueError(
        f"{model.name}: logits of a short prompt are not finite. The first output that is not is that of {first!r}. "
        "Load the model in float32, or check its weights."
    )


def _lengths(
    model: LanguageModel, short: Int[Tensor, "row pos"], alone: Float[Tensor, "row pos vocab"]
) -> PromptLengths:
    """Refuse a model that is not causal but should be; measure whether longer batches change logits."""
    if not model.causal:
        return PromptLengths("equal")
    other, longer = short.clone(), _random_ids(model, len(short), _LONG, seed=2)
    other[:, -2:] = (other[:, -2:] + 1) % model.d_vocab
    longer[:, :_SHORT] = short
    before = alone[:, :-2]
    changed = difference(model.logits(other)[:, :-2], before)
    if not changed <= tolerance(alone.dtype):
        raise ValueError(
            f"{model.name} is not causal: changing the tokens after a position changes its logits by {changed:.2g} of "
            "their spread. Circuits are found in left-to-right language models; in Python, LanguageModel(..., "
            "causal=False) takes one that is meant to look both ways."
        )
    if difference(model.logits(longer)[:, :_SHORT], alone) <= tolerance(alone.dtype):
        batched = model.logits(torch.cat([longer[1:], _padded(short[:1], _LONG)]))[-1:, :_SHORT]
        beside = max(difference(batched, alone[:1]), difference(model.logits(short[:1]), alone[:1]))
        if not beside <= tolerance(alone.dtype):
            raise ValueError(
                f"{model.name}: a prompt's logits change by {beside:.2g} of their spread when other prompts stand "
                "beside it in the batch, so no effect would be that prompt's own."
            )
        return lengths_by_configuration(model.configuration)
    return PromptLengths("equal")


def _padded(ids: Int[Tensor, "row pos"], length: int) -> Int[Tensor, "row longer"]:
    return torch.nn.functional.pad(ids, (0, length - ids.shape[1]))


def _calls(model: LanguageModel, ids: Int[Tensor, "row pos"]) -> tuple[Tensor, list[tuple[Tensor, BlockCall]]]:
    blocks: list[tuple[Tensor, BlockCall]] = []
    return logits_with(model, ids, {}, blocks=blocks), blocks


def _row_axes(model: LanguageModel) -> tuple[RowAxes, ...]:
    few, many = ([call for _, call in _calls(model, _random_ids(model, n, _SHORT, seed=3))[1]] for n in _ROWS)
    return axes_of_blocks(few, many, _ROWS) if len(few) == len(many) == model.n_layers else ()


def _resumes(model: LanguageModel, axes: Sequence[RowAxes]) -> bool:
    """True where blocks called one by one, with arguments for other rows, give the logits of the whole run."""
    heads = int(getattr(model.module.cfg, "n_heads", None) or 4)
    for recorded in (1, _ROWS[0]):
        whole, blocks = _calls(model, _random_ids(model, recorded, _SHORT, seed=4))
        if len(blocks) != model.n_layers or len(axes) != model.n_layers:
            return False
        calls = [BlockCall(c.arguments, c.keywords, a) for (_, c), a in zip(blocks, axes, strict=True)]
        for count in (1, 2, heads, 7):
            rows = torch.arange(count, device=whole.device).flip(0) % recorded
            try:
                hidden = model.run_blocks(blocks[0][0][rows], 0, [call.for_rows(rows) for call in calls])
                resumed = model.head(hidden)
            except (TypeError, AttributeError, RuntimeError, IndexError, ValueError):
                return False
            if not difference(resumed, whole[rows]) <= tolerance(whole.dtype):
                return False
    return True


def difference(found: Float[Tensor, "*batch vocab"], expected: Float[Tensor, "*batch vocab"]) -> float:
    """The largest difference of any logit, as a share of the spread of the expected ones; inf for unequal shapes.

    A single logit, as a probe's, has its size for a spread.
    """
    if found.shape != expected.shape:
        return float("inf")
    middle = expected.mean(-1, keepdim=True) if expected.shape[-1] > 1 else torch.zeros_like(expected)
    spread = float((expected - middle).abs().max())
    largest = float((found - expected).abs().max())
    return largest / spread if spread > 0 else float(largest > 0)


def tolerance(dtype: torch.dtype) -> float:
    """The largest `difference` that rounding makes."""
    return _TOLERANCES.get(dtype, _TOLERANCE_LOW_PRECISION)
