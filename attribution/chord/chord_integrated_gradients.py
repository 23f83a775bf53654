"""Chord IG: integrated gradients that account for the jumps of gates.

    effect(u) = M(u) · (p_u − c_u)           M(u): multiplier of u, from a sweep that starts at the metric

    between spliced sites    M(leaf) = Σ_k w_k J(α_k)ᵀ M(target) along the straight line from the clean to the patch
                             input of each stretch of network (`stretches.py`)
    through an encoder       M(f) times the secants of value and gate, which credit a gate that flips with its actual
                             change (`secant_gates.py`)

    Σ tokens + Σ errors + Σ undivided jumps = m(patch) − m(clean)

The sum is exact up to the quadrature error of smooth stretches, whatever the gates do, and it holds for every cut of
the network. q points cost q forwards and q backwards for all nodes of all sites, batched. A joint attribution divides
the total effect among the nodes; it does not say what patching one node alone does (see `exact_patching.py`).
Source: METHODS of this project; multipliers after DeepLIFT [Shrikumar 2017], paths after IG [Sundararajan 2017].
"""

from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from attribution.chord.chord_result import ChordAttribution, ChordPart, assemble_attribution
from attribution.chord.chord_sweep import Sweep, SweepPlan, run_sweep
from attribution.chord.stretches import Ends
from attribution.effects.effects import Effects
from attribution.effects.measurement import Method, Scores, Situation, measure_beside, node_columns, numpy_of
from attribution.effects.quadrature import Quadrature, gauss_legendre
from attribution.effects.scoring import score_features, scores_from_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual, refuse_without_patch_prompt
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import TOKENS, SplicedModel

SOURCES_AND_JUMPS = "total effect − Σ tokens, errors (in path mode) and undivided jumps"
METHOD_NAME = "chord_integrated_gradients"


def chord_integrated_gradients(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "path",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    batch_size: int = 4,
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> Effects:
    """Chord IG of every node: `chord_attribution(...).effects`, with the signature that all methods share."""
    return chord_attribution(
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        points=points,
        batch_size=batch_size,
        runs_at_once=runs_at_once,
        progress=progress,
    ).effects


def chord_attribution(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "path",
    patch_value: PatchValue = counterfactual,
    points: Quadrature = gauss_legendre(10),  # noqa: B008  (a frozen value)
    rtol: float | None = None,
    slope_cap: float = 4.0,
    split: bool = False,
    batch_size: int = 4,
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> ChordAttribution:
    """Chord IG with its ledger of jumps and the residual of every stretch.

    Args:
        spliced: the model with its SAEs, at any sites.
        pairs: prompt pairs; attributions are per pair, in units of the metric, positive where the metric rises.
        metric: what effects are measured on.
        error_mode: `path` (errors are sources), `zero` (there are no errors) or `live` (runs pass no encoder).
        patch_value: counterfactual only, because the path ends at a patch run.
        points: the quadrature rule of every stretch.
        rtol: if given, the points of a stretch are doubled, up to 80, until the residuals of all stretches together
            are at most rtol · |total effect|.
        slope_cap: the steepest secant of a flipped gate, in units of an open gate's slope; at least 1, math.inf for
            no cap.
        split: sweep a second time without the flow through flipped gates, which splits each node's attribution into
            a smooth and a jump part. Costs one more backward per point.
        batch_size: pairs per batch.
        runs_at_once: runs whose graphs are held at a time, one for each pair and point; by default all of a batch.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: another patch value, rtol <= 0 or slope_cap < 1, or a position that is spliced in only one of the
            two prompts (one opens with a BOS that is not spliced).
    """
    refuse_without_patch_prompt("Chord IG", patch_value)
    plan = SweepPlan(points, rtol, slope_cap, split)

    def score(situation: Situation) -> Scores:
        part, scores = score_chords(situation, plan, runs_at_once)
        return replace(scores, beside=part.arrays())

    method = Method(
        METHOD_NAME,
        score,
        ("path", "zero", "live"),
        SOURCES_AND_JUMPS,
        with_projections=error_mode != "live",
        settings=plan.settings(),
        depends_on=asdict(plan),
        pairs_in_chunk=4,
    )
    effects, beside = measure_beside(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )
    return assemble_attribution(effects, [ChordPart.of(arrays) for arrays in beside], spliced, rtol)


def score_chords(situation: Situation, plan: SweepPlan, runs_at_once: int | None = None) -> tuple[ChordPart, Scores]:
    """Scores of one batch from the sweep between its clean run and its patch run (`situation.changes.patch`)."""
    swept = run_sweep(chord_ends(situation, runs_at_once), situation.error_mode, plan, situation.progress)
    return _scored(situation, plan, swept)


def chord_ends(situation: Situation, runs_at_once: int | None = None) -> Ends:
    """The clean run and the patch run as the ends of a sweep; the situation must have a patch run."""
    clean, changes, batch = situation.clean, situation.changes, situation.batch
    assert changes.patch is not None
    return Ends(
        spliced=situation.spliced,
        clean=clean,
        rows=torch.arange(len(clean.last), device=clean.last.device),
        clean_sites=clean.sites,
        patch_sites=changes.patch.sites,
        tokens=(clean.entry, clean.entry if changes.entry is None else changes.entry),
        reached=batch.reached,
        metric=lambda logits, rows: situation.metric(logits, batch.rows(rows)),
        total=situation.total_effect,
        runs_at_once=runs_at_once,
    )


def _scored(situation: Situation, plan: SweepPlan, swept: Sweep) -> tuple[ChordPart, Scores]:
    full, *others = (_scores(situation, swept, number) for number in range(1 + plan.split))
    jumps = torch.zeros_like(situation.total_effect)
    columns: list[dict[str, Tensor]] = []
    for number, site in enumerate(situation.spliced.sites):
        flow = swept.sites.get(site)
        if flow is not None and flow.flips is not None:
            flips = flow.flips
            jumps = jumps.index_add(0, flips.row, flips.undivided.to(jumps.dtype))
            columns.append(
                {
                    "example": situation.batch.example[flips.row],
                    "site": torch.full_like(flips.row, number),
                    "position": flips.pos,
                    "index": flips.index,
                    "opened": flips.opened > 0,
                    "contribution": flips.contribution,
                    "undivided": flips.undivided,
                }
            )
    sources = jumps if full.tokens is None else jumps + full.tokens.sum(-1)
    if situation.error_mode == "path":
        sources = sources + sum(effect.sum(-1) for effect in full.errors.values())
    sites = (TOKENS, *situation.spliced.sites)
    part = ChordPart(
        stretches=swept.stretches,
        smooth=[c for scores in others for c in node_columns(situation, scores, sites)],
        ledger={name: np.concatenate([numpy_of(c[name]) for c in columns]) for name in (columns[0] if columns else ())},
        residual=numpy_of(swept.residual),
        points=numpy_of(swept.points),
    )
    return part, replace(full, residual=situation.total_effect - sources)


def _scores(situation: Situation, swept: Sweep, number: int) -> Scores:
    multipliers = {site: torch.zeros_like(record.output) for site, record in situation.clean.sites.items()}
    multipliers |= {site: flow.multiplier[number] for site, flow in swept.sites.items()}
    multipliers[TOKENS] = torch.zeros_like(situation.clean.entry) if swept.tokens is None else swept.tokens[number]
    scores = scores_from_gradients(situation, multipliers)
    ends, features = chord_ends(situation), dict(scores.features)
    for site, (change, _) in scores.features.items():
        frame = ends.mean_frame(site)
        if frame is not None:
            features[site] = change, score_features(situation, site, change, multipliers[site], frame=frame)
    return replace(scores, features=features)
