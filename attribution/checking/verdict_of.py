"""From verified and flagged nodes to a Verdict: agreement by site and encoder, the bound, and what to show."""

import numpy as np

from attribution.checking.agreement import agreement, agreements
from attribution.checking.audit import most_large
from attribution.checking.verification import Chosen
from attribution.checking.verified import Verified
from attribution.chord.chord_integrated_gradients import ChordAttribution
from attribution.effects.effects import Effects
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import MissedBound, NodeVerdict, Verdict
from graphs.verdict import CHOSEN_BY
from graphs.words.method_names import method_name

CONFIDENCE = 0.95


def verdict_of(
    spliced: SplicedModel,
    pairs: PromptPairs,
    error_mode: ErrorMode,
    estimate: Effects,
    verified: Verified,
    flagged: dict[int, NodeVerdict],
    chords: ChordAttribution | None,
    chosen: Chosen,
    threshold: float,
    seed: int,
    top: int,
) -> Verdict:
    """The verdict on an estimate, from its verified and flagged nodes; see `Verdict` for what is in it."""
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
        estimate_name=_name(estimate),
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
        bound=_bound(verified, chosen, threshold),
        total_effect=tuple(map(float, estimate.total_effect)),
        flips=None if chords is None else len(chords.ledger),
        tokens=_tokens(spliced, pairs),
        names=tuple(position_names(pairs)),
    )


def _jump_shares(chords: ChordAttribution | None, encoders: dict[str, str]) -> dict[str, float | None]:
    """Σ|jump| / (Σ|jump| + Σ|smooth|) of chord IG over all nodes, over those of a site, of an encoder kind."""
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


def _bound(verified: Verified, chosen: Chosen, threshold: float) -> MissedBound | None:
    audited = verified.chosen_by == CHOSEN_BY.index("audit")
    count = int(audited.sum())
    if chosen.population == count:
        return None
    found = int((np.abs(verified.exact[audited]) >= threshold).sum())
    most = most_large(chosen.population, count, found, CONFIDENCE)
    return MissedBound(CONFIDENCE, count, found, chosen.population - count, most - found)


def _tokens(spliced: SplicedModel, pairs: PromptPairs) -> tuple[tuple[str, ...], ...]:
    """What stands at each position of each example; clean → patch where the prompts differ."""
    text = spliced.model.token_text
    return tuple(
        tuple(
            text(clean) if clean == patch else f"{text(clean)} → {text(patch)}"
            for clean, patch in zip(pair.clean_ids, pair.patch_ids, strict=True)
        )
        for pair in pairs
    )


def _name(estimate: Effects) -> str:
    name = method_name(estimate.method)
    points = estimate.settings.get("points")
    return name if points is None else f"{name} ({points} points)"
