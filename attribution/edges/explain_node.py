"""Why a node matters: the exact effect of patching it, as a flow through all nodes downstream.

    exact(u) = attribution(u) + Σ undivided jumps downstream + residual

Chord IG (`chord_sweep.py`) between the clean run and the run with do(u = p_u): each downstream feature is credited with
its share of exact(u), and the ledger lists the gates that u opens and closes. Nothing upstream changes, so u is the
only source. One patched run and one sweep. Source: METHODS of this project.
"""

from dataclasses import replace

import torch
from torch import Tensor

from attribution.chord.chord_integrated_gradients import score_chords
from attribution.chord.chord_result import ChordAttribution, assemble_attribution
from attribution.chord.chord_sweep import SweepPlan
from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.effects.measurement import Collected, Method, Scores, Situation, effects_of_chunks, prepare
from attribution.effects.patches import Patches, all_patches
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.splice.patch_values import Changes, PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, FeatureChange, Recording, SiteRecord, SparseFeatures
from attribution.splice.resuming import TOKENS, resume_recorded
from attribution.splice.spliced_model import SplicedModel
from graphs import ErrorNode, FeatureNode, TokenNode

FLOW_LAW = "exact effect of the node − its attribution − Σ undivided jumps"


def explain_node(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    node: FeatureNode | ErrorNode | TokenNode,
    *,
    example: int = 0,
    error_mode: ErrorMode = "frozen",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    rtol: float = 1e-3,
    slope_cap: float = 4.0,
) -> ChordAttribution:
    """The flow of one node's exact effect in one example.

    In the result the pair is example 0 and the total effect is exact(u). The effects are those of u itself and of every
    node downstream that u changes. At any cut downstream of u they add up to exact(u) minus the undivided jumps between
    the cut and the metric.

    Args:
        spliced, pairs, metric, patch_value: as in `attribution_patching`.
        node: the node that is patched; its position is the token position in the example.
        example: number of the pair.
        error_mode: `frozen`, `zero` or `live`, as in exact patching.
        points, rtol, slope_cap: as in `chord_attribution`.

    Raises:
        LookupError: the node does not change between the two prompts, its site is not spliced, or there is no such
            example.
        ValueError: another error mode, rtol <= 0 or slope_cap < 1, or an SAE without a gradient.
    """
    refuse_other_types(pairs, metric)
    refuse_pursuits(spliced.saes, "explain_node")
    if error_mode not in ("live", "frozen", "zero"):
        raise ValueError(f"A node is patched in error mode live, frozen or zero; got {error_mode!r}.")
    if not 0 <= example < len(pairs):
        raise LookupError(f"There is no example {example}: the pairs are numbered 0 to {len(pairs) - 1}.")
    plan = SweepPlan(points, rtol, slope_cap)
    one = PromptPairs((pairs[example],))
    one.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    with spliced.model.frozen():
        batch = one.batch(device=spliced.model.device, reads=metric.positions)
        met = error_mode != "live"
        situation = prepare(spliced, batch, metric, error_mode, patch_value, with_projections=met)
        patch, number = _find_patch(situation, node)
        patched = _situation_after_patch(situation, patch, number)
        part, scores = score_chords(patched, replace(plan, down_to=patch.site))
    method = Method(f"flow of {node}", lambda _: scores, (error_mode,), FLOW_LAW)
    sites = (TOKENS, *spliced.sites)
    collected = Collected(FLOW_LAW, sites)
    collected.add(patched, replace(scores, residual=_residual(scores, patch)))
    effects = effects_of_chunks(method, metric, error_mode, patch_value, sites, [collected.arrays()])
    itself = isinstance(node, TokenNode) & (effects.position == node.position)
    return assemble_attribution(effects.subset(~effects.of_kind("token") | itself), [part], spliced, rtol)


def _find_patch(situation: Situation, node: FeatureNode | ErrorNode | TokenNode) -> tuple[Patches, int]:
    site = TOKENS if isinstance(node, TokenNode) else situation.spliced.site(node.site)
    index = node.index if isinstance(node, FeatureNode) else -1
    for patch in all_patches(situation):
        if (patch.site, patch.kind) == (site, node.kind):
            (place,) = torch.nonzero((patch.pos == node.position) & (patch.index == index), as_tuple=True)
            if len(place):
                return patch, int(place[0])
    raise LookupError(f"{node} has the same value in both prompts: patching it changes nothing.")


def _situation_after_patch(situation: Situation, patch: Patches, number: int) -> Situation:
    """The same situation, with the run do(u = p_u) as the patch run."""
    spliced, clean, chosen = situation.spliced, situation.clean, torch.tensor([number])
    rows = torch.zeros_like(chosen)
    with torch.no_grad():
        output = patch.outputs(situation, chosen)
        logits, later = resume_recorded(spliced, clean, rows, patch.site, output, situation.error_mode)
        metric = situation.metric(logits, situation.batch)
    sites = dict(clean.sites) | later
    entry = clean.entry
    if patch.site == TOKENS:
        entry = output
    else:
        sites[patch.site] = _own_record(situation, patch, number, output)
    end = replace(clean, sites=sites, entry=entry, logits=logits)
    return replace(situation, changes=_changes(situation, clean, end, metric))


def _own_record(situation: Situation, patch: Patches, number: int, output: Tensor) -> SiteRecord:
    record = situation.clean.sites[patch.site]
    pos, index = int(patch.pos[number]), int(patch.index[number])
    if patch.kind == "error":
        change = situation.error_change(patch.site)
        assert change is not None
        assert record.error is not None
        error = record.error.clone()
        error[0, pos] += change[0, pos]
        return replace(record, output=output, error=error)
    features = record.features.dense()
    features[0, pos, index] = situation.changes.features[patch.site].new[patch.number[number]]
    return replace(record, output=output, features=SparseFeatures.of(features))


def _changes(situation: Situation, clean: Recording, end: Recording, metric: Tensor) -> Changes:
    reached = situation.batch.reached
    return Changes(
        features={
            s: FeatureChange.between(clean.sites[s].features, end.sites[s].features, reached) for s in clean.sites
        },
        errors={s: error for s, record in end.sites.items() if (error := record.error) is not None},
        entry=end.entry,
        metric=metric,
        patch=end,
    )


def _residual(scores: Scores, patch: Patches) -> Tensor:
    """Exact effect minus the node's own attribution and the undivided jumps."""
    assert scores.residual is not None
    if patch.kind == "token":
        return scores.residual
    own = scores.features[patch.site][1] if patch.kind == "feature" else scores.errors[patch.site]
    return scores.residual - own.sum()
