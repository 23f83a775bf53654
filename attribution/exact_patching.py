"""Exact activation patching: the truth that every estimate is measured against.

    effect(u) = m(do(u = p_u)) − m(clean)

One run per node, batched across nodes and examples; each run starts at the block the node lies in, where the
model allows it. In `live` mode nothing else is spliced into the run; in `frozen` and `zero` mode the encoders
downstream are in it. Source: Vig et al. 2020; Meng et al. 2022.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects import Effects
from attribution.measurement import SOURCES, Method, Progress, Scores, Situation, measure, silent
from attribution.metric import Metric
from attribution.patch_values import PatchValue, counterfactual
from attribution.prompt_pairs import PromptPairs
from attribution.recording import FeatureChange
from attribution.resuming import resume
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
    """Patches at one site: run n adds `amount(n)` to the site's output at (row[n], pos[n])."""

    site: str
    kind: str
    row: Int[Tensor, " run"]
    pos: Int[Tensor, " run"]
    amount: Callable[[slice], Float[Tensor, "chosen width"]]


def _score(situation: Situation, runs_at_once: int) -> Scores:
    patches = _all_patches(situation)
    total = sum(len(p.row) for p in patches)
    done = 0
    effects: dict[tuple[str, str], Tensor] = {}
    for patch in patches:
        effect = situation.clean_metric.new_zeros(len(patch.row))
        for start in range(0, len(patch.row), runs_at_once):
            chosen = slice(start, start + runs_at_once)
            effect[chosen] = _run(situation, patch, chosen)
            done += len(effect[chosen])
            situation.progress(done / total)
        effects[patch.site, patch.kind] = effect if patch.kind == "feature" else _spread(situation, patch, effect)
    changes = situation.changes
    return Scores(
        features={s: (c, effects[s, "feature"]) for s, c in changes.features.items()},
        errors={s: effects[s, "error"] for s in changes.errors},
        tokens=effects.get((TOKENS, "token")),
    )


def _all_patches(situation: Situation) -> list[_Patches]:
    patches: list[_Patches] = []
    if situation.changes.entry is not None:
        patches.append(_whole_vectors(TOKENS, "token", situation.changes.entry - situation.clean.entry))
    for site, change in situation.changes.features.items():
        patches.append(_Patches(site, "feature", change.row, change.pos, _feature_amount(situation, site, change)))
        error = situation.error_change(site)
        if error is not None:
            patches.append(_whole_vectors(site, "error", error))
    return patches


def _feature_amount(situation: Situation, site: str, change: FeatureChange) -> Callable[[slice], Tensor]:
    def amount(chosen: slice) -> Tensor:
        part = FeatureChange(*(getattr(change, f.name)[chosen] for f in fields(change)))
        return (part.new - part.old)[:, None] * situation.feature_directions(site, part)

    return amount


def _whole_vectors(site: str, kind: str, difference: Float[Tensor, "row pos width"]) -> _Patches:
    row, pos = torch.nonzero((difference != 0).any(-1), as_tuple=True)
    return _Patches(site, kind, row, pos, lambda chosen: difference[row[chosen], pos[chosen]])


def _run(situation: Situation, patch: _Patches, chosen: slice) -> Float[Tensor, " chosen"]:
    row, pos, clean = patch.row[chosen], patch.pos[chosen], situation.clean
    output = (clean.entry if patch.site == TOKENS else clean.sites[patch.site].output)[row]
    place = torch.arange(len(row), device=row.device), pos
    amount = patch.amount(chosen)
    output[place] = (output[place].to(amount.dtype) + amount).to(output.dtype)
    with torch.no_grad():
        logits = resume(situation.spliced, clean, row, patch.site, output, situation.error_mode)
        return situation.metric(logits, situation.batch.rows(row)) - situation.clean_metric[row]


def _spread(situation: Situation, patch: _Patches, effect: Float[Tensor, " run"]) -> Float[Tensor, "row pos"]:
    spread = effect.new_zeros(situation.clean.spliced.shape)
    spread[patch.row, patch.pos] = effect
    return spread
