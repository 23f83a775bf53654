"""In words: at which sites a circuit was looked for, what other sites would let through, what is kept as it is."""

from collections.abc import Iterator, Sequence
from typing import Final

from graphs.circuit_graph import Measurement
from graphs.faithfulness import Faithfulness
from graphs.site_trial import LEAST_PASSING, MORE, SitesTried, TrialOfSites
from graphs.words.certificate_line import NO_RULE, CertificateLine
from graphs.words.number_formats import two_decimals, whole_percent
from graphs.words.part_words import OWN, part_in_words

ALL_PASSES: Final = 0.995
"""The share of the effect that counts as all of it."""


def kept_in_words(from_layer: int | None) -> str | None:
    """What is kept as it is, in finding and in judging: `layers below 2 kept as they are`; None if nothing is."""
    return None if from_layer is None else f"layers below {from_layer} kept as they are"


def alone_line(measured: Measurement, alone: Sequence[Faithfulness]) -> Iterator[CertificateLine]:
    """F where the layers below the boundary are at their reference too; no line without a boundary."""
    if measured.from_layer is None or not alone:
        return
    each = ", ".join(f"{two_decimals(f.faithfulness)} on {f.split.replace('_', ' ')}" for f in alone)
    yield CertificateLine(
        name="the circuit alone",
        value=f"F = {two_decimals(alone[0].faithfulness)}",
        reading=(
            f"With the layers below {measured.from_layer} at their {alone[0].reference} value too: {each}. What the "
            "circuit reads from them is not part of it."
        ),
        colour="grey",
        rule=NO_RULE,
    )


def trial_line(trial: TrialOfSites | None) -> Iterator[CertificateLine]:
    """What the chosen sites let through, and which kinds of them let clearly more through."""
    if trial is None:
        return
    proposed = trial.proposed
    yield CertificateLine(
        name="sites",
        value=f"F = {_f(trial.every.faithfulness)} of all nodes",
        reading=trial_in_words(trial),
        colour="amber" if proposed else "grey",
        rule=(
            f"amber where one kind of sites passes at least {LEAST_PASSING:.0%} of the effect and all its nodes, or "
            f"its features alone, are closer to F = 1 by {MORE}, else grey"
        ),
    )


def trial_in_words(trial: TrialOfSites) -> str:
    """What all sites and each kind of them let through, and what to choose instead."""
    where = "these" if trial.split == OWN else f"{trial.pairs} {part_in_words(trial.split)}"
    kinds = "; ".join(f"{tried.kind} {_reached(tried)}" for tried in trial.kinds)
    found = (
        f"All nodes that the training pairs know, on {where} pairs: at all {trial.every.sites} sites "
        f"{_reached(trial.every)}; at one kind of site: {kinds}."
    )
    clearly = trial.proposed
    if not clearly and not trial.as_good:
        return f"{found} No kind alone lets as much through."
    first, *others = (tried.kind for tried in clearly or trial.as_good)
    beside = f" (or {', '.join(others)})" if others else ""
    says = "would let clearly more through" if clearly else "would let as much through with fewer nodes"
    return f"{found} --sites {first}{beside} {says}; what runs between the sites is then outside the circuit."


def _reached(tried: SitesTried) -> str:
    passing = "" if tried.passing >= ALL_PASSES else f", {whole_percent(tried.passing)} of the effect passes"
    return f"F = {_f(tried.faithfulness)} (features alone {_f(tried.features_alone)}{passing})"


def _f(value: float | None) -> str:
    return "undefined" if value is None else two_decimals(value)
