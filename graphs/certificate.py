"""Certificate: what a reader needs to trust or distrust a circuit. Numbers; `certificate_lines.py` says them in words.

Part of every circuit. What was not measured is None or empty, and is said so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphs.faithfulness import Faithfulness, FaithfulnessCurve
from graphs.verdict import MissedBound
from graphs.versioned_json import made


@dataclass(frozen=True)
class SiteQuality:
    """One SAE alone on some text.

    Attributes:
        l0: mean number of active features a token.
        fvu: share of the activation's variance that the reconstruction misses.
        ce_recovered: (CE with the site at zero − CE spliced) / (CE at zero − CE clean); None where the two are equal.
        ce_increase: CE spliced − CE clean, in nats a token.
        kl: KL(model ‖ spliced), in nats a token.
    """

    site: str
    l0: float
    fvu: float
    ce_recovered: float | None
    ce_increase: float
    kl: float


@dataclass(frozen=True)
class SAEQuality:
    """The SAEs on some text, each alone in `sites`; all at once in the three other numbers, as in `SiteQuality`.

    `text` says what was read and `tokens` how many predictions were scored.
    """

    text: str
    tokens: int
    sites: tuple[SiteQuality, ...]
    ce_recovered: float | None
    ce_increase: float
    kl: float


@dataclass(frozen=True)
class Screening:
    """How the nodes were screened before exact patching, where not all of them were patched.

    Attributes:
        estimate: the method that screened, in words.
        verified, nodes: how many nodes of examples were patched, of how many.
        threshold: an effect is large from here on, in units of the metric.
        flags: verified nodes whose estimate was wrong, by flag.
        bound: what the audit says of the nodes that were not verified; None where all were.
    """

    estimate: str
    verified: int
    nodes: int
    threshold: float
    flags: Mapping[str, int]
    bound: MissedBound | None


@dataclass(frozen=True)
class Certificate:
    """Evidence for one circuit.

    Attributes:
        hashes: of the model, of every SAE and of the prompts.
        circuit_verified: share of the circuit's nodes, counted per example, whose effect is exact.
        error_share: Σ |effect| of the circuit's error nodes / Σ |effect| of its features and errors; None where errors
            are no nodes (zero mode), or effects are not in units of the metric.
        flow_shown: Σ weights of the circuit's edges into the metric / total effect; None where no flow was measured.
        screening: None where every node was patched.
        quality: the SAEs on the task, on general text.
        faithfulness: one entry a split.
        curves: one a split, of the ranking that the circuit was chosen from, at sizes around the circuit's. The circuit
            itself may differ from the ranking's first nodes by what was pruned.
        missing: what was not measured, and why, by name.
        gates_at_threshold: gates that stand at their threshold in the clean runs, within rounding, over all pairs; 0 in
            live mode.
    """

    hashes: Mapping[str, Any]
    circuit_verified: float
    error_share: float | None
    flow_shown: float | None = None
    screening: Screening | None = None
    quality: tuple[SAEQuality, ...] = ()
    faithfulness: tuple[Faithfulness, ...] = ()
    curves: tuple[FaithfulnessCurve, ...] = ()
    missing: Mapping[str, str] | None = None
    gates_at_threshold: int = 0


def certificate_from(content: dict[str, Any]) -> Certificate:
    """The inverse of `versioned_json.plain` on a certificate, checked."""
    return made(
        Certificate,
        content,
        screening=lambda found: found and made(Screening, found, bound=lambda b: b and made(MissedBound, b)),
        quality=lambda found: made(SAEQuality, found, sites=lambda site: made(SiteQuality, site)),
        faithfulness=Faithfulness.from_dict,
        curves=FaithfulnessCurve.from_dict,
    )
