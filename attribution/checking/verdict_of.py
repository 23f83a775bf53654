"""The verdict on an estimate, from its verified and flagged nodes.

It holds the agreement over all nodes, by site and by encoder kind, and the bound on missed nodes. `with_details` adds
residual curves and traces.
"""

from dataclasses import replace

import numpy as np

from attribution.checking.agreement import agreement, agreements
from attribution.checking.audit import most_large
from attribution.checking.causes import with_own_paths
from attribution.checking.verification import ChosenNodes, VerifiedNodes
from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.chord.chord_result import ChordAttribution
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.prompts.metrics import Metric
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, progress_between, silent
from attribution.runs.time_limit import Limit, never
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, path_mode
from attribution.splice.spliced_model import SplicedModel
from graphs import MissedBound, NodeVerdict, ResidualCurve, Verdict
from graphs.verdict import CHOSEN_BY
from graphs.words.method_names import method_name

CONFIDENCE = 0.95
"""Confidence of the bound on missed nodes."""
_RESIDUAL_POINTS = (3, 5, 10, 20, 50)
"""Numbers of quadrature points of the residual curves."""


def verdict_of(
    spliced: SplicedModel,
    pairs: PromptPairs,
    error_mode: ErrorMode,
    estimate: Effects,
    verified: VerifiedNodes,
    flagged: dict[int, NodeVerdict],
    chords: ChordAttribution | None,
    chosen: ChosenNodes,
    threshold: float,
    seed: int,
    top: int,
) -> Verdict:
    """The verdict on an estimate.

    Args:
        flagged: the flagged nodes, by their number among the verified.
        chords: chord IG of the pairs; None where effects meet no gate.
        chosen: which nodes were to be verified, and why.
    """
    part, exact = verified.estimate, verified.exact
    is_flagged = np.isin(np.arange(len(part)), list(flagged))
    encoders = {site: sae.kind for site, sae in spliced.saes.items()}
    by_site = {site: part.at(site) for site in part.sites}
    by_encoder = {
        kind: np.isin(part.site, [part.sites.index(s) for s, k in encoders.items() if k == kind])
        for kind in sorted(set(encoders.values()))
    }
    shares = _jump_shares(chords, encoders)
    values = part.effect, exact, is_flagged
    return Verdict(
        estimate_name=_estimate_name(estimate),
        method=estimate.method,
        settings=estimate.settings,
        error_mode=estimate.error_mode,
        exact_error_mode=error_mode,
        metric=estimate.metric,
        unit=estimate.metric_unit,
        patch_value=estimate.patch_value,
        examples=len(estimate.total_effect),
        threshold=threshold,
        seed=seed,
        sites=part.sites,
        encoders=encoders,
        nodes=len(estimate),
        **{name: getattr(part, name) for name in ("example", "site", "position", "kind", "index")},
        estimate=part.effect,
        exact=exact,
        chosen_by=verified.chosen_by,
        flagged=tuple(sorted(flagged.values(), key=lambda v: -abs(v.error))),
        overall=agreement(
            "all", part.effect, exact, len(flagged), threshold=threshold, top=top, jump_share=shares.get("all")
        ),
        by_site=agreements(by_site, *values, shares, threshold=threshold, top=top),
        by_encoder=agreements(by_encoder, *values, shares, threshold=threshold, top=top),
        bound=_missed_bound(verified, chosen, threshold),
        total_effect=tuple(map(float, estimate.total_effect)),
        flips=None if chords is None else len(chords.ledger),
        tokens=_token_texts(spliced, pairs),
        names=tuple(position_names(pairs)),
    )


def _jump_shares(chords: ChordAttribution | None, encoders: dict[str, str]) -> dict[str, float | None]:
    """Σ|jump| / (Σ|jump| + Σ|smooth|) of chord IG: over all nodes, by site and by encoder kind."""
    if chords is None or chords.smooth is None or chords.jump is None:
        return {}
    sites = chords.effects.sites
    jump, smooth = (
        np.bincount(chords.effects.site, weights=np.abs(v), minlength=len(sites)) for v in (chords.jump, chords.smooth)
    )
    scopes = {site: [n] for n, site in enumerate(sites)} | {"all": list(range(len(sites)))}
    for kind in set(encoders.values()):
        scopes[kind] = [sites.index(site) for site, k in encoders.items() if k == kind]
    both = {scope: (jump[n].sum(), (jump[n] + smooth[n]).sum()) for scope, n in scopes.items()}
    return {scope: float(of / total) if total > 0 else None for scope, (of, total) in both.items()}


def _missed_bound(verified: VerifiedNodes, chosen: ChosenNodes, threshold: float) -> MissedBound | None:
    audited = verified.chosen_by == CHOSEN_BY.index("audit")
    count = int(audited.sum())
    if chosen.population == count:
        return None
    found = int((np.abs(verified.exact[audited]) >= threshold).sum())
    most = most_large(chosen.population, count, found, CONFIDENCE)
    return MissedBound(CONFIDENCE, count, found, chosen.population - count, most - found)


def _token_texts(spliced: SplicedModel, pairs: PromptPairs) -> tuple[tuple[str, ...], ...]:
    """The text of every token of every example; `clean → patch` where the prompts differ."""
    texts = spliced.model.shown_tokens
    return tuple(
        tuple(
            clean if clean == patch else f"{clean} → {patch}"
            for clean, patch in zip(texts(pair.clean_ids), texts(pair.patch_ids), strict=True)
        )
        for pair in pairs
    )


def _estimate_name(estimate: Effects) -> str:
    name = method_name(estimate.method)
    points = estimate.settings.get("points")
    return name if points is None else f"{name} ({points} points)"


def with_details(
    verdict: Verdict,
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    estimate: Effects,
    *,
    patch_value: PatchValue = counterfactual,
    examples: int = 8,
    traced: int = 3,
    room: Room | None = None,
    limit: Limit = never,
    progress: Progress = silent,
) -> Verdict:
    """The verdict with residual curves of input-path IG and chord IG, and with traces of the worst nodes.

    Args:
        verdict: the verdict of `check` on the other arguments.
        spliced, pairs, metric, estimate, patch_value: as they were given to `check`.
        examples: number of pairs that the residual curves are measured on.
        traced: number of flagged nodes, those with the largest errors, whose own paths are traced.
        room: batch sizes that fit into memory; by default into half of what is free.
        limit: no path is traced when the time is over.
        progress: is called with the share of the work that is done.
    """
    mode: ErrorMode = verdict.exact_error_mode  # pyright: ignore[reportAssignmentType]
    room = room or Room.of(spliced, pairs, mode)
    curves: tuple[ResidualCurve, ...] = ()
    if patch_value is counterfactual:
        curves = _residual_curves(room.fitted(spliced), pairs.head(examples), metric, mode, room)
    progress(0.6)
    chosen, paths = verdict.flagged[:traced], progress_between(progress, 0.6, 1.0)
    given = spliced, pairs, metric, estimate, chosen
    about = {"patch_value": patch_value, "room": room, "limit": limit}
    traces = with_own_paths(verdict, *given, **about, progress=paths).traces
    return replace(verdict, residuals=curves, traces=traces)  # `check` decided which causes are stated


def _residual_curves(
    spliced: SplicedModel, pairs: PromptPairs, metric: Metric, mode: ErrorMode, room: Room
) -> tuple[ResidualCurve, ...]:
    found: list[ResidualCurve] = []
    points = [n for n in _RESIDUAL_POINTS if n == _RESIDUAL_POINTS[0] or n * (room.graph + room.recorded) <= room.size]
    methods = {"IG": input_path_integrated_gradients, "chord IG": chord_integrated_gradients}
    for name, method in methods.items():
        size = room.pairs("ig-input" if name == "IG" else "chord-ig")
        shares: list[np.ndarray] = []
        for count in points:
            rule = gauss_legendre(count)
            effects = method(spliced, pairs, metric, error_mode=path_mode(mode), points=rule, batch_size=size)
            assert effects.residual is not None
            total = np.abs(effects.total_effect)
            shares.append(np.abs(effects.residual[total > 0]) / total[total > 0])
        if len(shares[0]):
            medians, largest = tuple(float(np.median(s)) for s in shares), tuple(float(s.max()) for s in shares)
            found.append(ResidualCurve(name, tuple(points), medians, largest))
    return tuple(found)
