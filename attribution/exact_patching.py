"""Exact activation patching: the truth that every estimate is measured against.

    effect(u) = m(do(u = p_u)) − m(clean)

One run per node, batched across nodes and examples; each run starts at the block the node lies in, where the
model allows it. In `live` mode nothing else is spliced into the run; in `frozen` and `zero` mode the encoders
downstream are in it. Source: Vig et al. 2020; Meng et al. 2022.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects import Effects
from attribution.measurement import SOURCES, Method, Progress, Scores, Situation, measure, silent
from attribution.metric import Metric
from attribution.patch_values import PatchValue, counterfactual
from attribution.prompt_pairs import PromptPairs
from attribution.splice import TOKENS, ErrorMode, SplicedModel


def exact_patching(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    runs_at_once: int = 256,
    progress: Progress = silent,
) -> Effects:
    """Exact effect of every feature, error and token whose clean and patch values differ.

    Arguments as in `attribution_patching`; `runs_at_once` is the number of patched runs in one forward.
    """
    if runs_at_once < 1:
        raise ValueError(f"runs_at_once must be at least 1; got {runs_at_once}.")
    method = Method("exact_patching", lambda s: _score(s, runs_at_once), ("live", "frozen", "zero"), SOURCES)
    return measure(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )


@dataclass(frozen=True)
class _Patches:
    """Patches at one site: run n adds `amount[n]` to the site's output at (row[n], pos[n])."""

    site: str
    kind: str
    row: Int[Tensor, " run"]
    pos: Int[Tensor, " run"]
    amount: Float[Tensor, "run width"]


def _score(situation: Situation, runs_at_once: int) -> Scores:
    patches = _all_patches(situation)
    total = sum(len(p.row) for p in patches)
    done = 0
    effects: dict[tuple[str, str], Tensor] = {}
    for patch in patches:
        chunks = []
        for start in range(0, len(patch.row), runs_at_once):
            chosen = slice(start, start + runs_at_once)
            chunks.append(_run(situation, patch, chosen))
            done += len(chunks[-1])
            situation.progress(done / total)
        effects[patch.site, patch.kind] = torch.cat(chunks) if chunks else patch.row.new_zeros(0).double()
    changes = situation.changes
    shape = situation.clean.spliced.shape
    spread = {(p.site, p.kind): _spread(effects[p.site, p.kind], p, shape) for p in patches if p.kind != "feature"}
    scores = Scores(
        features={s: (c, effects[s, "feature"]) for s, c in changes.features.items()},
        errors={s: spread[s, "error"] for s in changes.errors},
        tokens=spread.get((TOKENS, "token")),
    )
    return replace(scores, residual=situation.total_effect - scores.sum_of_sources(situation))


def _all_patches(situation: Situation) -> list[_Patches]:
    patches: list[_Patches] = []
    if situation.changes.entry is not None:
        patches.append(_whole_vectors(TOKENS, "token", situation.changes.entry - situation.clean.entry))
    for site, change in situation.changes.features.items():
        amount = (change.new - change.old)[:, None] * situation.feature_directions(site, change)
        patches.append(_Patches(site, "feature", change.row, change.pos, amount))
        error = situation.error_change(site)
        if error is not None:
            patches.append(_whole_vectors(site, "error", error))
    return patches


def _whole_vectors(site: str, kind: str, difference: Float[Tensor, "row pos width"]) -> _Patches:
    row, pos = torch.nonzero((difference != 0).any(-1), as_tuple=True)
    return _Patches(site, kind, row, pos, difference[row, pos])


def _run(situation: Situation, patch: _Patches, chosen: slice) -> Float[Tensor, " run"]:
    row, pos, clean = patch.row[chosen], patch.pos[chosen], situation.clean
    output = (clean.entry if patch.site == TOKENS else clean.sites[patch.site].output)[row]
    output[torch.arange(len(row)), pos] += patch.amount[chosen].to(output.dtype)
    with torch.no_grad():
        logits = situation.spliced.resume(clean, row, patch.site, output, situation.error_mode)
        return situation.metric(logits, situation.batch.rows(row)) - situation.clean_metric[row]


def _spread(effect: Tensor, patch: _Patches, shape: torch.Size) -> Float[Tensor, "row pos"]:
    spread = effect.new_zeros(shape)
    spread[patch.row, patch.pos] = effect
    return spread
